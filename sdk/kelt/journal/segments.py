"""Segment files: their names and headers (formats: the package's description)."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from kelt.journal.errors import DamagedSegmentError
from kelt.journal.files import DISK, SegmentFiles

SPOOL_MAGIC = b"KELTSPL1"
JOURNAL_MAGIC = b"KELTJRN1"
SPOOL_HEADER_BYTES = 256
JOURNAL_HEADER_BYTES = 64
#: An open journal segment is allocated in multiples of this; a closed one has another length.
ALLOCATED_IN_BYTES = 4096

# Offsets of the fields that the trainer stores while it runs, as 8-byte words.
FIRST_SEQ_WORD = 40 // 8
PREVIOUS_SEQ_WORD = 48 // 8
BEAT_WORD = 128 // 8
STEP_MAX_WORD = 136 // 8
LOST_ROWS_WORD = 144 // 8
TOLD_ROWS_WORD = 152 // 8

_PREAMBLE = struct.Struct("<8sII")
_SPOOL_FIXED = struct.Struct("<16sQ")
_SPOOL_LIVE = struct.Struct("<QQ")
_SPOOL_COUNTERS = struct.Struct("<QqQQ")
_JOURNAL_FIXED = struct.Struct("<16sQQIxxxxxxxxxxxx")
_NAME = re.compile(r"(spool|journal)-(\d{6,15})\.kelt")


@dataclass(frozen=True, slots=True)
class SpoolHeader:
    """What a spool segment says of itself."""

    writer_id: bytes
    number: int
    first_seq: int
    previous_seq: int
    beat: int
    step_max: int
    lost_rows: int
    told_rows: int


@dataclass(frozen=True, slots=True)
class JournalHeader:
    """What a journal segment says of itself and of the one before."""

    journal_id: bytes
    number: int
    previous_entries: int
    previous_crc32: int

    @property
    def crc_seed(self) -> int:
        """Where the CRC of every entry in this segment starts."""
        return zlib.crc32(self.number.to_bytes(8, "little"), zlib.crc32(self.journal_id))


def segment_path(folder: Path, stem: str, number: int) -> Path:
    """The path of a segment; `stem` is `spool` or `journal`."""
    return folder / f"{stem}-{number:06d}.kelt"


def segment_numbers(folder: Path, stem: str, *, files: SegmentFiles = DISK) -> list[int]:
    """The numbers of the segments in a folder, ascending; empty where there is no folder."""
    try:
        names = files.names(folder)
    except FileNotFoundError:
        return []
    matches = (_NAME.fullmatch(name) for name in names)
    return sorted(int(m.group(2)) for m in matches if m is not None and m.group(1) == stem)


def encode_spool_header(writer_id: bytes, number: int) -> bytes:
    """The header of a segment that is prepared and not yet in use."""
    fixed = _SPOOL_FIXED.pack(writer_id, number)
    preamble = _PREAMBLE.pack(SPOOL_MAGIC, SPOOL_HEADER_BYTES, zlib.crc32(fixed))
    header = bytearray(preamble + fixed)
    header += bytes(SPOOL_HEADER_BYTES - len(header))
    _SPOOL_COUNTERS.pack_into(header, BEAT_WORD * 8, 0, -1, 0, 0)
    return bytes(header)


def decode_spool_header(buffer: bytes | memoryview, path: Path) -> SpoolHeader:
    """The header of a spool segment.

    Raises:
        DamagedSegmentError: it is too short, not a spool's, or its checksum does not match.
    """
    fixed = _decode_preamble(buffer, SPOOL_MAGIC, SPOOL_HEADER_BYTES, _SPOOL_FIXED.size, path)
    writer_id, number = _SPOOL_FIXED.unpack(fixed)
    first_seq, previous_seq = _SPOOL_LIVE.unpack_from(buffer, FIRST_SEQ_WORD * 8)
    counters = _SPOOL_COUNTERS.unpack_from(buffer, BEAT_WORD * 8)
    return SpoolHeader(writer_id, number, first_seq, previous_seq, *counters)


def encode_journal_header(header: JournalHeader) -> bytes:
    """The first 64 bytes of a journal segment."""
    fixed = _JOURNAL_FIXED.pack(
        header.journal_id, header.number, header.previous_entries, header.previous_crc32
    )
    return _PREAMBLE.pack(JOURNAL_MAGIC, JOURNAL_HEADER_BYTES, zlib.crc32(fixed)) + fixed


def decode_journal_header(buffer: bytes | memoryview, path: Path) -> JournalHeader:
    """The header of a journal segment.

    Raises:
        DamagedSegmentError: as `decode_spool_header`.
    """
    size = _JOURNAL_FIXED.size
    fixed = _decode_preamble(buffer, JOURNAL_MAGIC, JOURNAL_HEADER_BYTES, size, path)
    return JournalHeader(*_JOURNAL_FIXED.unpack(fixed))


def _decode_preamble(
    buffer: bytes | memoryview, magic: bytes, header_bytes: int, fixed_bytes: int, path: Path
) -> bytes:
    if len(buffer) < header_bytes:
        raise DamagedSegmentError("shorter than a segment's header", path=path)
    found, length, crc32 = _PREAMBLE.unpack_from(buffer, 0)
    fixed = bytes(buffer[_PREAMBLE.size : _PREAMBLE.size + fixed_bytes])
    if found != magic or length != header_bytes:
        raise DamagedSegmentError("not a segment of this kind and version", path=path)
    if crc32 != zlib.crc32(fixed):
        raise DamagedSegmentError("the header's checksum does not match", path=path)
    return fixed
