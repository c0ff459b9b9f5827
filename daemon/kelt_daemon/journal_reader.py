"""Reading the journal that is being written: at start, and behind the upstream's cursor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kelt.journal.entries import Entry
from kelt.journal.files import DISK, SegmentFiles
from kelt.journal.reader import Damage, read_journal_headers, read_journal_segment
from kelt.journal.segments import JOURNAL_HEADER_BYTES
from kelt_daemon.journal_segments import NewEntry, Segment
from kelt_daemon.records import (
    find_assertions,
    find_unknown_losses,
    notice,
    told_for_a_writer,
)
from kelt_proto.v1.record_pb2 import Assertion, Exit

#: Read beyond what was asked for, so that an entry that begins within it mostly ends there too.
_READ_AHEAD_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a journal: everything before it has been read."""

    number: int = 0
    offset_bytes: int = JOURNAL_HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Extent:
    """A segment as it stood when the reading began."""

    number: int
    path: Path
    end_bytes: int


@dataclass(kw_only=True)
class Recovered:
    """What a journal told at start."""

    segments: list[Segment] = field(default_factory=list)
    #: The highest record of each writer.
    durable: dict[bytes, int] = field(default_factory=dict)
    exit: Exit | None = None
    assertion: Assertion | None = None
    lost_rows: int = 0
    untold_losses_told: int = 0
    damages: list[Damage] = field(default_factory=list)
    #: The reasons of losses whose extent nobody knows, as they were told.
    unknown_losses: set[str] = field(default_factory=set)
    #: Damage behind which nothing follows: which records it took, no number tells.
    tail_damage: Damage | None = None


def recover(folder: Path, *, writer_id: bytes, files: SegmentFiles = DISK) -> Recovered:
    """Reads a journal through. Damage is noted and passed over.

    Args:
        folder: the run folder.
        writer_id: the trainer's; all other writers in the journal are daemons.
        files: the disk.
    """
    found = Recovered()
    for known in read_journal_headers(folder, files=files):
        seed = known.header.crc_seed if known.header is not None else None
        segment = Segment(known.number, known.path, seed)
        found.segments.append(segment)
        for item in read_journal_segment(known.path, files=files):
            if isinstance(item, Damage):
                found.damages.append(item)
                found.tail_damage = item
                continue
            found.tail_damage = None
            _take(found, segment, item, writer_id=writer_id)
    return found


def _take(found: Recovered, segment: Segment, entry: Entry, *, writer_id: bytes) -> None:
    new = NewEntry(entry.writer_id, entry.first_seq, entry.last_seq, b"")
    segment.count(new, crc32=entry.crc32, end_bytes=entry.end_bytes)
    before = found.durable.get(entry.writer_id, 0)
    if entry.last_seq <= before:
        return  # rewritten after a failed sync
    found.durable[entry.writer_id] = entry.last_seq
    lost_rows, said, _ = notice(entry.payload, entry.writer_id)
    found.lost_rows += lost_rows
    if entry.writer_id == writer_id:
        found.exit = said or found.exit
        return
    found.untold_losses_told += told_for_a_writer(entry.payload, entry.writer_id)
    found.unknown_losses.update(find_unknown_losses(entry.payload, entry.writer_id))
    for assertion in find_assertions(entry.payload, entry.writer_id):
        if assertion.writer_id == writer_id:
            found.assertion = assertion


def extents(segments: Sequence[Segment]) -> list[Extent]:
    """What may be read now: what is synced, of segments that can be read."""
    # A copy, as retention takes segments away in another thread meanwhile.
    known = tuple(segments)
    return [Extent(s.number, s.path, s.end_bytes) for s in known if s.crc_seed is not None]


def start_position(segments: Sequence[Segment], cursors: dict[bytes, int]) -> Position:
    """A place before which the journal holds nothing above the cursors."""
    segments = tuple(segments)  # the original shrinks in another thread
    for segment in segments:
        if any(last > cursors.get(writer, 0) for writer, (_, last) in segment.ranges.items()):
            return Position(segment.number)
    # The last segment may be written on.
    return Position(segments[-1].number, segments[-1].end_bytes) if segments else Position()


def read_entries(
    parts: Sequence[Extent], position: Position, *, bytes_max: int, files: SegmentFiles = DISK
) -> tuple[list[Entry], Position]:
    """The entries from a place on, as many as go into `bytes_max`, at least one if there is any.

    Returns:
        The entries, and the place behind them.
    """
    entries: list[Entry] = []
    size_bytes = 0
    for part, entry in _entries_from(parts, position, bytes_max + _READ_AHEAD_BYTES, files):
        if entries and size_bytes + len(entry.payload) > bytes_max:
            break
        entries.append(entry)
        size_bytes += len(entry.payload)
        position = Position(part.number, entry.end_bytes)
    else:
        # What lies at the end and cannot be read, or is gone, counts as read: nothing else would
        # lead past it. The sequence numbers tell that it is missing.
        if parts and (parts[-1].number, parts[-1].end_bytes) > (
            position.number,
            position.offset_bytes,
        ):
            position = Position(parts[-1].number, parts[-1].end_bytes)
    return entries, position


def _entries_from(
    parts: Sequence[Extent], position: Position, window_bytes: int, files: SegmentFiles
) -> Iterator[tuple[Extent, Entry]]:
    for part in parts:
        if part.number < position.number:
            continue
        offset = position.offset_bytes if part.number == position.number else JOURNAL_HEADER_BYTES
        window = window_bytes
        # A piece of the segment at a time: all of it may be 64 MiB, read for one push of 4. Not
        # past what is synced, and not into the zeros behind.
        while offset < part.end_bytes:
            before, end_bytes = offset, min(part.end_bytes, offset + window)
            items = read_journal_segment(
                part.path, offset_bytes=offset, end_bytes=end_bytes, files=files
            )
            for item in items:
                if isinstance(item, Damage):  # the sequence numbers tell what is missing
                    continue
                yield part, item
                offset = item.end_bytes
            if end_bytes == part.end_bytes:
                break
            # Nothing whole in it: a larger entry, or damage, behind which something may follow.
            window = window if offset > before else 4 * window
