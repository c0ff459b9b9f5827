"""Segments of a run folder's journal: what is known of one, and the one that is being written."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kelt.journal.entries import ENTRY_HEADER_BYTES
from kelt.journal.segments import (
    ALLOCATED_IN_BYTES,
    JOURNAL_HEADER_BYTES,
    JournalHeader,
    encode_journal_header,
)
from kelt_daemon.filesystem import Filesystem
from kelt_proto.v1.frames import padded

#: A zero word always follows the last entry.
_END_BYTES = 8


@dataclass(frozen=True, slots=True)
class NewEntry:
    """A batch that waits to be written."""

    writer_id: bytes
    first_seq: int
    last_seq: int
    payload: bytes

    @property
    def size_bytes(self) -> int:
        """What it takes in a segment."""
        return ENTRY_HEADER_BYTES + padded(len(self.payload))


@dataclass(slots=True)
class Segment:
    """What is known of a segment: only what has been synced counts."""

    number: int
    path: Path
    #: None where the header is damaged: nothing can be read.
    crc_seed: int | None
    end_bytes: int = JOURNAL_HEADER_BYTES
    entries: int = 0
    last_crc32: int = 0
    #: For each writer the first and the last sequence number in it.
    ranges: dict[bytes, tuple[int, int]] = field(default_factory=dict)

    def count(self, entry: NewEntry, *, crc32: int, end_bytes: int) -> None:
        """Takes an entry into account."""
        first_seq, last_seq = self.ranges.get(entry.writer_id, (entry.first_seq, 0))
        self.ranges[entry.writer_id] = (
            min(first_seq, entry.first_seq),
            max(last_seq, entry.last_seq),
        )
        self.entries += 1
        self.last_crc32 = crc32
        self.end_bytes = end_bytes


@dataclass(slots=True)
class OpenSegment:
    """The segment that is being written, which takes `bytes_max` on the disk meanwhile."""

    segment: Segment
    fd: int
    bytes_max: int

    @property
    def room_bytes(self) -> int:
        """What its entries may still take."""
        return self.bytes_max - self.segment.end_bytes - _END_BYTES

    def finish(self, filesystem: Filesystem) -> None:
        """Leaves it, its entries being synced, and gives back its room."""
        end_bytes = self.segment.end_bytes
        # The length says that it is closed: never one that could be an allocated segment's.
        closed_bytes = end_bytes + _END_BYTES
        if closed_bytes % ALLOCATED_IN_BYTES == 0:
            closed_bytes += _END_BYTES
        with contextlib.suppress(OSError):
            # Down first, so that nothing of a write that found no room stays behind the end.
            filesystem.truncate(self.fd, end_bytes)
            filesystem.truncate(self.fd, closed_bytes)
        with contextlib.suppress(OSError):
            filesystem.close(self.fd)

    def abandon(self, filesystem: Filesystem) -> None:
        """Leaves it after a failure: what it was acknowledged for stays readable in it."""
        with contextlib.suppress(OSError):
            filesystem.truncate(self.fd, self.segment.end_bytes)
        with contextlib.suppress(OSError):
            filesystem.close(self.fd)
        if not self.segment.entries:
            with contextlib.suppress(OSError):
                filesystem.unlink(self.segment.path)


def segment_bytes_for(entry_bytes: int) -> int:
    """How long a segment must be to hold an entry."""
    return allocated_bytes(JOURNAL_HEADER_BYTES + entry_bytes + _END_BYTES)


def allocated_bytes(size_bytes: int) -> int:
    """The length that an open segment has on the disk."""
    return -(-size_bytes // ALLOCATED_IN_BYTES) * ALLOCATED_IN_BYTES


def create_segment(
    path: Path,
    *,
    filesystem: Filesystem,
    journal_id: bytes,
    number: int,
    bytes_max: int,
    before: Sequence[Segment],
) -> OpenSegment:
    """Makes a segment with its header, its name on the disk.

    Raises:
        FileExistsError: the name is taken.
        OSError: it cannot be made; nothing is left of it.
    """
    fd = filesystem.create(path, bytes_max)
    header = JournalHeader(
        journal_id,
        number,
        before[-1].entries if before else 0,
        before[-1].last_crc32 if before else 0,
    )
    try:
        filesystem.write_at(fd, encode_journal_header(header), 0)
        # Before any entry: where there are entries, a header that cannot be read is damage.
        filesystem.sync(fd)
        filesystem.sync_folder(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            filesystem.close(fd)
        with contextlib.suppress(OSError):
            filesystem.unlink(path)
        raise
    return OpenSegment(Segment(number, path, header.crc_seed), fd, bytes_max)
