"""The spool's segments: mapped files, made and deleted within a quota.

A refused allocation is remembered: until the background thread has found room again, `log()` does
not ask the disk, because every such question costs system calls. What waits for room is woken when
a segment was deleted or prepared, and looks by itself from time to time, as nobody tells when
another program frees some disk.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import queue
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kelt.journal.errors import NoSpaceError
from kelt.journal.segments import SPOOL_HEADER_BYTES, encode_spool_header, segment_path
from kelt_proto.v1.frames import Kind, frame_bytes, word0
from kelt_proto.v1.rows import ROW_HEADER_BYTES, Schema

CONTROL_RESERVE_BYTES = 16 * 1024
SEGMENT_BYTES_MIN = 256 * 1024
SEGMENT_BYTES_MAX = 16 * 1024 * 1024
#: Instead of a step: one above the highest, given as the row is written.
NEXT_STEP = -1
_LOOK_AGAIN_S = 0.05


@dataclass(frozen=True, kw_only=True)
class RoomPolicy:
    """What becomes of a row that finds no room.

    Attributes:
        wait_max_s: how long its append waits for room.
        raises: then it is refused with `NoSpaceError`, instead of being counted as lost.
    """

    wait_max_s: float = 0.0
    raises: bool = False


class InternedSchema:
    """A schema as the hot path wants it: everything that does not change from row to row.

    Attributes:
        newest: the newest row that was kept: (seq, step, values, timestamp, runtime).
    """

    __slots__ = (
        "frame_bytes", "has_tail", "newest", "pack_into", "schema", "schema_id", "segment_number",
        "word0",
    )  # fmt: skip

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.schema_id = schema.schema_id
        self.has_tail = schema.has_tail
        self.newest: tuple[int, int, Sequence[Any], float, float] | None = None
        payload_bytes = ROW_HEADER_BYTES + 8 * len(schema.names)
        codes = schema.slots.format.removeprefix("<")
        # All of a frame behind its first word, which commits it: number, room for the checksum,
        # row, and a zero word, as what an interrupted, longer append left must not be taken for a
        # frame.
        self.pack_into = struct.Struct("<Q8xIIqdd" + codes + "8x").pack_into
        self.word0 = word0(Kind.ROW, payload_bytes)
        self.frame_bytes = frame_bytes(payload_bytes)
        #: The segment that holds this schema's frame, 0 for none.
        self.segment_number = 0


class SpoolSegment:
    """One mapped segment. `words` is the same memory as signed 8-byte integers."""

    __slots__ = ("bytes_max", "end", "last_seq", "map", "number", "path", "pos", "row_end", "words")

    def __init__(self, *, number: int, path: Path, mapped: mmap.mmap) -> None:
        self.number = number
        self.path = path
        self.map = mapped
        self.bytes_max = len(mapped)
        self.words = memoryview(mapped).cast("q")
        #: Where the next frame goes, and how far rows and control records may reach; one zero
        #: word always ends a segment.
        self.pos = SPOOL_HEADER_BYTES
        self.end = self.bytes_max - 8
        self.row_end = self.end - CONTROL_RESERVE_BYTES
        #: Known once the writer has moved on and no frame will be added.
        self.last_seq: int | None = None

    def close(self) -> None:
        """Unmaps the memory; whoever still holds a view of it keeps it alive."""
        self.words.release()
        with contextlib.suppress(BufferError):  # a batch being cut: the collector closes the map
            self.map.close()


class SegmentStore:
    """Makes and deletes the segments of one spool. Appends and the background thread share it.

    Args:
        folder: the run folder, which exists.
        writer_id: 16 random bytes.
        quota_bytes: how much of them may lie on disk.
    """

    def __init__(self, *, folder: Path, writer_id: bytes, quota_bytes: int) -> None:
        self.quota_bytes = quota_bytes
        #: Segments on disk, prepared ones included.
        self.bytes_on_disk = 0
        #: Why the disk refused the last segment, until it gave one again.
        self.refusal = ""
        #: Why there was no room when there was none last.
        self.shortage = ""
        self._folder = folder
        self._writer_id = writer_id
        self._numbers = itertools.count(1)  # taken atomically
        self._counting = threading.RLock()  # held for additions alone
        # No Event: an interrupt inside one leaves its lock taken, and the next row waits for ever.
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()

    @property
    def quota_left_bytes(self) -> int:
        """What may still be made."""
        return self.quota_bytes - self.bytes_on_disk

    def create(self, bytes_max: int) -> SpoolSegment:
        """Makes a segment.

        Raises:
            NoSpaceError: the disk or the quota is full.
        """
        number = next(self._numbers)
        path = segment_path(self._folder, "spool", number)
        if self.bytes_on_disk and bytes_max > self.quota_left_bytes:
            self.shortage = f"the spool's quota of {self.quota_bytes} bytes is used up"
            raise NoSpaceError(self.shortage, path=path)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, bytes_max)
                flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
                mapped = mmap.mmap(fd, bytes_max, flags=flags)
            finally:
                os.close(fd)
        except OSError as error:
            with contextlib.suppress(OSError):  # such as a disk that is read-only by now
                path.unlink(missing_ok=True)
            self.refusal = self.shortage = f"no room for a segment ({error.strerror})"
            raise NoSpaceError(self.refusal, path=path) from error
        mapped[:SPOOL_HEADER_BYTES] = encode_spool_header(self._writer_id, number)
        self._count(bytes_max)
        self.refusal = ""
        self._tell()
        return SpoolSegment(number=number, path=path, mapped=mapped)

    def discard(self, segment: SpoolSegment) -> None:
        """Deletes a segment.

        Raises:
            OSError: its file cannot be deleted; its room counts as used.
        """
        segment.close()
        segment.path.unlink(missing_ok=True)
        self._count(-segment.bytes_max)
        self.refusal = ""
        self._tell()

    def wait_for_room(self, timeout_s: float) -> None:
        """Waits until there may be room, and a short time at most."""
        with contextlib.suppress(queue.Empty):
            while True:  # what was told before
                self._news.get_nowait()
        with contextlib.suppress(queue.Empty):
            self._news.get(timeout=min(timeout_s, _LOOK_AGAIN_S))
        self.refusal = ""  # whoever waits may as well ask the disk

    def _tell(self) -> None:
        if self._news.empty():
            self._news.put(None)

    def _count(self, change_bytes: int) -> None:
        with self._counting:
            self.bytes_on_disk += change_bytes


def wait_deadline(policy: RoomPolicy, deadline_s: float | None) -> float | None:
    """Until when a row that found no room may wait, None where it may not or no longer.

    Args:
        policy: of the spool.
        deadline_s: the answer to the row's first question; None for the first.
    """
    now_s = time.monotonic()
    if deadline_s is None:
        deadline_s = now_s + policy.wait_max_s
    return deadline_s if now_s < deadline_s else None
