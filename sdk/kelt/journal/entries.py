"""Journal entries: one batch of one writer, checksummed (format: the package's description)."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from kelt_proto.v1.frames import padded

ENTRY_HEADER_BYTES = 48
ENTRY_MARK = 0x4B45
#: One record of the largest size, with its schema and headers.
ENTRY_PAYLOAD_BYTES_MAX = 9 * 1024 * 1024

_HEADER = struct.Struct("<II16sQQHxxxxxx")


@dataclass(frozen=True, slots=True)
class Entry:
    """A batch in a journal segment, and where it lies there."""

    writer_id: bytes
    first_seq: int
    last_seq: int
    payload: bytes
    crc32: int = 0
    offset_bytes: int = 0
    end_bytes: int = 0


def encode_entry(
    crc_seed: int, writer_id: bytes, first_seq: int, last_seq: int, payload: bytes
) -> tuple[bytes, int]:
    """An entry's bytes, and its checksum for the next segment's header."""
    bare = _HEADER.pack(len(payload), 0, writer_id, first_seq, last_seq, ENTRY_MARK)
    crc32 = zlib.crc32(payload, zlib.crc32(bare, crc_seed))
    header = _HEADER.pack(len(payload), crc32, writer_id, first_seq, last_seq, ENTRY_MARK)
    return header + payload + bytes(padded(len(payload)) - len(payload)), crc32


def read_entry(buffer: memoryview, offset_bytes: int, crc_seed: int) -> Entry | None:
    """The entry at an offset.

    Returns:
        None where nothing was written yet (a zero word or the end of the buffer).

    Raises:
        ValueError: the bytes there are not a whole, intact entry.
    """
    if offset_bytes + ENTRY_HEADER_BYTES > len(buffer):
        if any(buffer[offset_bytes:]):
            raise ValueError("an entry's header cut short")
        return None
    header = buffer[offset_bytes : offset_bytes + ENTRY_HEADER_BYTES]
    length, crc32, writer_id, first_seq, last_seq, mark = _HEADER.unpack(header)
    if not length and not mark and not any(header):
        return None
    start = offset_bytes + ENTRY_HEADER_BYTES
    if mark != ENTRY_MARK or length > ENTRY_PAYLOAD_BYTES_MAX or first_seq > last_seq:
        raise ValueError("no entry's header")
    if start + padded(length) > len(buffer):
        raise ValueError("an entry cut short")
    payload = bytes(buffer[start : start + length])
    bare = _HEADER.pack(length, 0, writer_id, first_seq, last_seq, mark)
    if zlib.crc32(payload, zlib.crc32(bare, crc_seed)) != crc32:
        raise ValueError("an entry whose checksum does not match")
    end = start + padded(length)
    return Entry(writer_id, first_seq, last_seq, payload, crc32, offset_bytes, end)
