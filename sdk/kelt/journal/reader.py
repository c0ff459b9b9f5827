"""Reading the files of a run folder: segments that nobody writes any more, whatever befell them.

The daemon reads the journal that it is writing with its own positions; this module is for spools
of dead, forked or offline writers, and for journals at start, in replay and in local history.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kelt.journal.entries import ENTRY_HEADER_BYTES, ENTRY_MARK, Entry, read_entry
from kelt.journal.errors import DamagedSegmentError
from kelt.journal.segments import (
    JOURNAL_HEADER_BYTES,
    SPOOL_HEADER_BYTES,
    JournalHeader,
    SpoolHeader,
    decode_journal_header,
    decode_spool_header,
    segment_numbers,
    segment_path,
)
from kelt_proto.v1.frames import (
    FRAME_MARK,
    DamagedFrameError,
    Frame,
    crc_seed,
    is_intact,
    read_frame,
)

_ENTRY_MARK_OFFSET = 40


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a segment that could not be read.

    Which records they held is told by the sequence numbers before and after.
    """

    path: Path
    offset_bytes: int
    end_bytes: int
    reason: str


def _contents(path: Path) -> bytes:
    """A segment's bytes, copied: another process may cut the file short at any time, and touching
    a map beyond its file's end would kill this one (SIGBUS).
    """
    return path.read_bytes()


def read_spool_headers(folder: Path) -> list[SpoolHeader]:
    """The headers of a spool's segments that can be read, ascending."""
    headers = []
    for number in segment_numbers(folder, "spool"):
        path = segment_path(folder, "spool", number)
        with contextlib.suppress(DamagedSegmentError, FileNotFoundError), path.open("rb") as file:
            headers.append(decode_spool_header(file.read(SPOOL_HEADER_BYTES), path))
    return headers


def read_spool(folder: Path, *, after_seq: int = 0) -> Iterator[Frame | Damage]:
    """The frames of a spool in order, schemas included, and what is damaged between them.

    Segments that end at or before `after_seq` are passed over; frames in the first one read may
    still lie before it. Payloads are views: copy what is kept past the next step.

    Args:
        folder: the run folder.
        after_seq: what the caller already has.
    """
    numbers = segment_numbers(folder, "spool")
    followers = {h.number: h.previous_seq for h in read_spool_headers(folder) if h.first_seq}
    for index, number in enumerate(numbers):
        following = next((followers[n] for n in numbers[index + 1 :] if n in followers), None)
        if following is not None and following <= after_seq:
            continue
        path = segment_path(folder, "spool", number)
        try:
            raw = _contents(path)
        except FileNotFoundError:  # released in the meantime
            continue
        yield from _read_spool_segment(raw, path)


def _read_spool_segment(raw: bytes, path: Path) -> Iterator[Frame | Damage]:
    buffer = memoryview(raw)
    try:
        header = decode_spool_header(buffer, path)
    except DamagedSegmentError as error:
        if any(buffer[:SPOOL_HEADER_BYTES]):
            yield Damage(path, 0, len(buffer), error.reason)
        return
    seed = crc_seed(header.writer_id)
    offset = SPOOL_HEADER_BYTES
    while True:
        try:
            frame = read_frame(buffer, offset)
            reason = "zeros between records"
        except DamagedFrameError as error:
            frame, reason = None, error.reason
        if frame is not None and not is_intact(frame, seed):
            frame, reason = None, "a checksum that does not match"
        if frame is not None:
            yield frame
            offset = frame.end_bytes
            continue
        # A zero word ends a segment (behind it may lie what a killed process had begun to write),
        # unless damage put it there: look for a sealed frame further on.
        resumed = _next_frame(raw, offset + 8, seed)
        at_end = resumed == len(buffer)
        if not at_end or any(buffer[offset : offset + 8]):
            yield Damage(path, offset, resumed, reason)
        if at_end:
            return
        offset = resumed


def _next_frame(raw: bytes, offset_bytes: int, seed: int) -> int:
    """Where the next sealed, intact frame starts, or the end of the buffer."""
    mark = struct.pack("<H", FRAME_MARK)
    found = offset_bytes
    buffer = memoryview(raw)
    while (found := raw.find(mark, found)) >= 0:
        start = found - 6
        if start >= offset_bytes and start % 8 == 0:
            with contextlib.suppress(DamagedFrameError):
                frame = read_frame(buffer, start)
                if frame is not None and frame.is_sealed and is_intact(frame, seed):
                    return start
        found += 1
    return len(buffer)


@dataclass(frozen=True, slots=True)
class JournalSegment:
    """A journal segment's header, or None where it is damaged, and its file."""

    number: int
    path: Path
    header: JournalHeader | None


def read_journal_headers(folder: Path) -> list[JournalSegment]:
    """The segments of a journal, ascending."""
    segments = []
    for number in segment_numbers(folder, "journal"):
        path = segment_path(folder, "journal", number)
        header = None
        with contextlib.suppress(DamagedSegmentError, FileNotFoundError), path.open("rb") as file:
            header = decode_journal_header(file.read(JOURNAL_HEADER_BYTES), path)
        segments.append(JournalSegment(number, path, header))
    return segments


def read_journal(folder: Path) -> Iterator[Entry | Damage]:
    """The entries of a journal in the order of writing, and what is damaged between them."""
    for segment in read_journal_headers(folder):
        yield from read_journal_segment(segment.path)


def read_journal_segment(
    path: Path, *, offset_bytes: int = JOURNAL_HEADER_BYTES, end_bytes: int | None = None
) -> Iterator[Entry | Damage]:
    """The entries of one journal segment from an offset on, and no bytes of it past `end_bytes`.

    A segment deleted in the meantime has none.
    """
    try:
        with path.open("rb") as file:
            header = file.read(JOURNAL_HEADER_BYTES)
            file.seek(offset_bytes)
            rest = file.read(-1 if end_bytes is None else max(0, end_bytes - offset_bytes))
    except FileNotFoundError:
        return
    skipped_bytes = offset_bytes - JOURNAL_HEADER_BYTES
    for item in _read_journal_entries(header + rest, path):
        yield replace(
            item,
            offset_bytes=item.offset_bytes + skipped_bytes,
            end_bytes=item.end_bytes + skipped_bytes,
        )


def _read_journal_entries(raw: bytes, path: Path) -> Iterator[Entry | Damage]:
    buffer = memoryview(raw)
    try:
        seed = decode_journal_header(buffer, path).crc_seed
    except DamagedSegmentError as error:
        if any(buffer[:JOURNAL_HEADER_BYTES]):
            yield Damage(path, 0, len(buffer), error.reason)
        return
    offset = JOURNAL_HEADER_BYTES
    while True:
        try:
            entry = read_entry(buffer, offset, seed)
            reason = "zeros between entries"
        except ValueError as error:
            entry, reason = None, str(error)
        if entry is not None:
            yield entry
            offset = entry.end_bytes
            continue
        resumed = _next_entry(raw, offset + 8, seed)
        if resumed == len(buffer):
            # Nothing intact behind: the end, or a torn tail, which was never acknowledged.
            return
        yield Damage(path, offset, resumed, reason)
        offset = resumed


def _next_entry(raw: bytes, offset_bytes: int, seed: int) -> int:
    mark = struct.pack("<H", ENTRY_MARK)
    buffer = memoryview(raw)
    found = offset_bytes
    while (found := raw.find(mark, found)) >= 0:
        start = found - _ENTRY_MARK_OFFSET
        if start >= offset_bytes and start % 8 == 0 and start + ENTRY_HEADER_BYTES <= len(buffer):
            with contextlib.suppress(ValueError):
                if read_entry(buffer, start, seed) is not None:
                    return start
        found += 1
    return len(buffer)
