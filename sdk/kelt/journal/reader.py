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
from kelt.journal.files import DISK, SegmentFiles
from kelt.journal.segments import (
    ALLOCATED_IN_BYTES,
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
    Kind,
    crc_seed,
    is_intact,
    read_frame,
)

_ENTRY_MARK_OFFSET = 40
_LENGTH = struct.Struct("<I")
#: What a search behind damage may spend on checksums in one segment: a file made to look like
#: millions of records must not hold up a start for hours.
_SEARCH_BYTES_MAX = 512 * 1024 * 1024


@dataclass(slots=True)
class _Search:
    """What is left to spend on looking for records behind damage in one segment."""

    left_bytes: int = _SEARCH_BYTES_MAX

    def may_check(self, payload_bytes: int) -> bool:
        """Whether another candidate may be checked; what lies behind the last one is damage."""
        self.left_bytes -= min(payload_bytes, _SEARCH_BYTES_MAX) + ENTRY_HEADER_BYTES
        return self.left_bytes >= 0


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a segment that could not be read.

    Which records they held is told by the sequence numbers before and after.
    """

    path: Path
    offset_bytes: int
    end_bytes: int
    reason: str


def read_spool_headers(folder: Path, *, files: SegmentFiles = DISK) -> list[SpoolHeader]:
    """The headers of a spool's segments that can be read, ascending."""
    headers = []
    for number in segment_numbers(folder, "spool", files=files):
        path = segment_path(folder, "spool", number)
        with contextlib.suppress(DamagedSegmentError, FileNotFoundError):
            headers.append(decode_spool_header(files.read(path, 0, SPOOL_HEADER_BYTES), path))
    return headers


def read_spool(
    folder: Path, *, after_seq: int = 0, files: SegmentFiles = DISK
) -> Iterator[Frame | Damage]:
    """The frames of a spool in order, schemas included, and what is damaged between them.

    Segments that end at or before `after_seq` are passed over; frames in the first one read may
    still lie before it. Payloads are views: copy what is kept past the next step.

    Args:
        folder: the run folder.
        after_seq: what the caller already has.
        files: the disk.
    """
    numbers = segment_numbers(folder, "spool", files=files)
    headers = read_spool_headers(folder, files=files)
    # Both numbers, which no checksum covers: damage to one of them must not pass a segment over.
    followers = {h.number: h.previous_seq for h in headers if h.first_seq == h.previous_seq + 1}
    for index, number in enumerate(numbers):
        following = next((followers[n] for n in numbers[index + 1 :] if n in followers), None)
        if following is not None and following <= after_seq:
            continue
        path = segment_path(folder, "spool", number)
        try:
            # Copied: its owner may cut the file short at any time, and touching a map beyond its
            # file's end would kill this process (SIGBUS).
            raw = files.read(path)
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
    search = _Search()
    # As above: one number alone proves nothing.
    next_seq = header.first_seq if header.first_seq == header.previous_seq + 1 else 0
    while True:
        try:
            frame = read_frame(buffer, offset)
            reason = "zeros between records"
        except DamagedFrameError as error:
            frame, reason = None, error.reason
        if frame is not None and not is_intact(frame, seed):
            frame, reason = None, "a checksum that does not match"
        if frame is not None:
            if not _follows(frame, next_seq):
                reason = "a number that does not follow, which no checksum covers"
                yield Damage(path, offset, frame.end_bytes, reason)
                next_seq += 1
            else:
                yield frame
                next_seq = frame.seq + 1 if frame.kind != Kind.SCHEMA else next_seq
            offset = frame.end_bytes
            continue
        # A zero word ends a segment (behind it may lie what a killed process had begun to write),
        # unless damage put it there: look for a sealed frame further on.
        resumed = _next_frame(raw, offset + 8, seed, search)
        at_end = resumed == len(buffer)
        if not at_end or any(buffer[offset : offset + 8]):
            yield Damage(path, offset, resumed, reason)
        if at_end:
            return
        offset = resumed


def _follows(frame: Frame, next_seq: int) -> bool:
    """Whether a record may have its number: a sealed one is believed, another must be the next."""
    return frame.is_sealed or frame.kind == Kind.SCHEMA or next_seq in {0, frame.seq}


def _next_frame(raw: bytes, offset_bytes: int, seed: int, search: _Search) -> int:
    """Where the next sealed, intact frame starts, or the end of the buffer."""
    mark = struct.pack("<H", FRAME_MARK)
    found = offset_bytes
    buffer = memoryview(raw)
    while (found := raw.find(mark, found)) >= 0:
        start = found - 6
        if start >= offset_bytes and start % 8 == 0:
            with contextlib.suppress(DamagedFrameError):
                frame = read_frame(buffer, start)
                if frame is not None and frame.is_sealed:
                    if not search.may_check(len(frame.payload)):
                        break
                    if is_intact(frame, seed):
                        return start
        found += 1
    return len(buffer)


@dataclass(frozen=True, slots=True)
class JournalSegment:
    """A journal segment's header, or None where it is damaged, and its file."""

    number: int
    path: Path
    header: JournalHeader | None


def read_journal_headers(folder: Path, *, files: SegmentFiles = DISK) -> list[JournalSegment]:
    """The segments of a journal, ascending."""
    segments = []
    for number in segment_numbers(folder, "journal", files=files):
        path = segment_path(folder, "journal", number)
        header = None
        with contextlib.suppress(DamagedSegmentError, FileNotFoundError):
            header = decode_journal_header(files.read(path, 0, JOURNAL_HEADER_BYTES), path)
        segments.append(JournalSegment(number, path, header))
    return segments


def read_journal(folder: Path, *, files: SegmentFiles = DISK) -> Iterator[Entry | Damage]:
    """The entries of a journal in the order of writing, and what is damaged between them."""
    for segment in read_journal_headers(folder, files=files):
        yield from read_journal_segment(segment.path, files=files)


def read_journal_segment(
    path: Path,
    *,
    offset_bytes: int = JOURNAL_HEADER_BYTES,
    end_bytes: int | None = None,
    files: SegmentFiles = DISK,
) -> Iterator[Entry | Damage]:
    """The entries of one journal segment from an offset on, and no bytes of it past `end_bytes`.

    A segment deleted in the meantime has none.
    """
    bytes_max = -1 if end_bytes is None else max(0, end_bytes - offset_bytes)
    try:
        if offset_bytes == JOURNAL_HEADER_BYTES and end_bytes is None:
            header, rest = files.read(path), b""
        else:
            header = files.read(path, 0, JOURNAL_HEADER_BYTES)
            rest = files.read(path, offset_bytes, bytes_max)
    except FileNotFoundError:
        return
    skipped_bytes = offset_bytes - JOURNAL_HEADER_BYTES
    items = read_journal_bytes(header + rest, path, is_whole=not rest)
    if not skipped_bytes:
        yield from items
        return
    for item in items:
        yield replace(
            item,
            offset_bytes=item.offset_bytes + skipped_bytes,
            end_bytes=item.end_bytes + skipped_bytes,
        )


def read_journal_bytes(raw: bytes, path: Path, *, is_whole: bool) -> Iterator[Entry | Damage]:
    """The entries in a segment's bytes.

    Args:
        raw: the segment, header first.
        path: where it comes from.
        is_whole: whether it is all of the file, which then tells by its length whether it was
            closed: nothing in a closed segment can be a torn tail.
    """
    buffer = memoryview(raw)
    search = _Search()
    try:
        seed = decode_journal_header(buffer, path).crc_seed
    except DamagedSegmentError as error:
        # Of a segment that was being made when the power failed nothing but the header is there.
        if any(buffer[JOURNAL_HEADER_BYTES:]):
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
        resumed = _next_entry(raw, offset + 8, seed, search)
        if resumed == len(buffer):
            # Nothing intact behind: the end, or a torn tail, which was never acknowledged.
            # What is shorter than an entry's header is the zeros at the end.
            is_closed = is_whole and len(raw) % ALLOCATED_IN_BYTES != 0
            rest = buffer[offset:]
            if is_closed and len(rest) >= ENTRY_HEADER_BYTES and any(rest):
                yield Damage(path, offset, resumed, reason)
            return
        yield Damage(path, offset, resumed, reason)
        offset = resumed


def _next_entry(raw: bytes, offset_bytes: int, seed: int, search: _Search) -> int:
    mark = struct.pack("<H", ENTRY_MARK)
    buffer = memoryview(raw)
    found = offset_bytes
    while (found := raw.find(mark, found)) >= 0:
        start = found - _ENTRY_MARK_OFFSET
        if start >= offset_bytes and start % 8 == 0 and start + ENTRY_HEADER_BYTES <= len(buffer):
            (length,) = _LENGTH.unpack_from(buffer, start)
            if not search.may_check(length):
                break
            with contextlib.suppress(ValueError):
                if read_entry(buffer, start, seed) is not None:
                    return start
        found += 1
    return len(buffer)
