"""A copy of a spool in ordinary files, for whoever cannot see the disk that the spool lies on.

The spool of a run whose folder is on a network filesystem lies elsewhere, because it is mapped into
memory. What is sealed of it is written here, byte for byte under the same names, with `pwrite` and
a sync, so that another node reads it as it reads any spool. A file is opened for each writing:
closing is what makes other nodes see it, and a forked child inherits no descriptor. What fails is
written again later, all of the segment where a sync failed. What the journal has by then is not.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from pathlib import Path

from kelt.journal.segments import SPOOL_HEADER_BYTES
from kelt.journal.spool_segments import SpoolSegment

COPY_INTERVAL_S = 0.5
RETRY_S = 5.0
#: Written at a time, so that a slow server does not keep the background thread from its work.
WRITE_BYTES_MAX = 4 * 1024 * 1024


class _Part:
    """A segment: sealed to one place, copied to another."""

    __slots__ = ("copied", "is_header_due", "sealed", "segment")

    def __init__(self, segment: SpoolSegment) -> None:
        self.segment = segment
        self.sealed = self.copied = 0
        self.is_header_due = False


class SpoolCopy:
    """Copies a spool as it is sealed; for the background thread alone.

    Args:
        folder: where to.
    """

    def __init__(self, *, folder: Path) -> None:
        #: Why the last writing failed; empty if it did not.
        self.problem = ""
        self._folder = folder
        self._parts: deque[_Part] = deque()
        self._next_s = 0.0
        self._written: list[Path] = []

    def sealed(self, segment: SpoolSegment, end_bytes: int) -> None:
        """Says that a segment is sealed up to there; segments come in their order."""
        if not self._parts or self._parts[-1].segment is not segment:
            self._parts.append(_Part(segment))
        self._parts[-1].sealed = end_bytes

    @property
    def is_whole(self) -> bool:
        """Whether everything that is sealed is copied."""
        return not self.problem and all(part.copied == part.sealed for part in self._parts)

    def write(self, now_s: float, *, is_last: bool) -> None:
        """Copies what is due.

        Args:
            now_s: the monotonic time.
            is_last: whether the run ends: then everything is.
        """
        if now_s < self._next_s and not is_last:
            return
        self._next_s = now_s + COPY_INTERVAL_S
        left_bytes = WRITE_BYTES_MAX
        try:
            while self._parts:
                part = self._parts[0]
                if part.copied < part.sealed or part.is_header_due:
                    if left_bytes <= 0 and not is_last:
                        self._next_s = now_s
                        break
                    left_bytes -= self._write(part, min(part.sealed, part.copied + WRITE_BYTES_MAX))
                elif len(self._parts) > 1:
                    self._parts.popleft()
                else:
                    break
        except OSError as error:
            self.problem = error.strerror or str(error)
            self._next_s = now_s + RETRY_S
        else:
            self.problem = ""

    def _write(self, part: _Part, end_bytes: int) -> int:
        """Copies a segment up to there, and its header with it; how many bytes that took."""
        segment, start = part.segment, part.copied
        try:
            data = segment.map[start:end_bytes]
            header = segment.map[:SPOOL_HEADER_BYTES]
        except ValueError:  # released: the journal has it
            part.copied, part.is_header_due = part.sealed, False
            return 0
        path = self._folder / segment.path.name
        if path not in self._written:
            self._written.append(path)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _write_at(fd, data, start)
            _write_at(fd, header, 0)
            part.copied = 0  # what a sync that failed has done with them nobody knows
            os.fdatasync(fd)
            part.copied, part.is_header_due = end_bytes, False
        finally:
            os.close(fd)
        return len(data)

    def refresh(self) -> None:
        """Has the newest header written, which tells the beat and the losses."""
        if self._parts:
            self._parts[-1].is_header_due = True

    def release(self, first_number: int) -> None:
        """Deletes the copies of segments below that number: the spool has released them."""
        for path in list(self._written):
            if int(path.stem.rpartition("-")[2]) < first_number:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
                self._written.remove(path)


def _write_at(fd: int, data: bytes, offset_bytes: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, memoryview(data)[done:], offset_bytes + done)
