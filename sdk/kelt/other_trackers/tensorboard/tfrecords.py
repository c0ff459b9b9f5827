"""The records of an event file, as bytes (format: the package). Pure but for reads."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

from kelt.wandb_files.log_blocks import Damage

HEADER_BYTES = 12
_FOOTER_BYTES = 4
#: What claims to be larger is damage.
RECORD_BYTES_MAX = 256 * 1024 * 1024
_HEADER = struct.Struct("<QI")
_CRC = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8
_POLYNOMIAL = 0x82F63B78
_SEARCH_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_BAD_LENGTH = "a length whose checksum does not match"


@dataclass(frozen=True, slots=True)
class DamagedRecord:
    """One record whose payload is not what was written."""

    offset_bytes: int
    size_bytes: int


class TFRecordReader:
    """Reads the records of a file from its beginning.

    Attributes:
        end_bytes: behind the last whole record.
        tail: what lies behind it, once the iteration is over.
        is_tail_damaged: whether that is more than a record cut short.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.end_bytes = 0
        self.tail: Damage | None = None
        self.is_tail_damaged = False

    def __iter__(self) -> Iterator[bytes | DamagedRecord | Damage]:
        """The payloads in their order, with damage where it lies."""
        size_bytes = self._file.seek(0, 2)
        at = 0
        self._file.seek(at)
        while at < size_bytes:
            header = self._file.read(HEADER_BYTES)
            length = _length(header)
            if length is None:
                if (found := self._next_record(at + 1, size_bytes)) is None:
                    self.is_tail_damaged = len(header) == HEADER_BYTES
                    break
                yield Damage(at, found - at, _BAD_LENGTH)
                at = found
                self._file.seek(at)
                continue
            payload = self._file.read(length) if length <= RECORD_BYTES_MAX else b""
            footer = self._file.read(_FOOTER_BYTES)
            end = at + HEADER_BYTES + length + _FOOTER_BYTES
            if end > size_bytes:
                break
            is_whole = len(footer) == _FOOTER_BYTES and length <= RECORD_BYTES_MAX
            if is_whole and _CRC.unpack(footer)[0] == masked_crc32c(payload):
                yield payload
            else:
                yield DamagedRecord(at, end - at)
            at = self.end_bytes = self._file.seek(end)
        if size_bytes > self.end_bytes:
            reason = _BAD_LENGTH if self.is_tail_damaged else "a record cut short"
            self.tail = Damage(self.end_bytes, size_bytes - self.end_bytes, reason)

    def _next_record(self, begin: int, size_bytes: int) -> int | None:
        """Where a length with its checksum lies next, and a record that fits behind it."""
        for base in range(begin, size_bytes, _SEARCH_BYTES):
            self._file.seek(base)
            window = self._file.read(_SEARCH_BYTES + HEADER_BYTES - 1)
            for at in range(len(window) - HEADER_BYTES + 1):
                # Lengths are small: most offsets are ruled out without a checksum.
                if window[at + 4 : at + 8] != b"\0\0\0\0":
                    continue
                length = _length(window[at : at + HEADER_BYTES])
                if length is not None and base + at + HEADER_BYTES + length <= size_bytes:
                    return base + at
        return None


def encode_record(payload: bytes) -> bytes:
    """A record as it lies in a file."""
    raw = len(payload).to_bytes(8, "little")
    return raw + _CRC.pack(masked_crc32c(raw)) + payload + _CRC.pack(masked_crc32c(payload))


def _length(header: bytes) -> int | None:
    if len(header) < HEADER_BYTES:
        return None
    length, stated = _HEADER.unpack(header)
    return int(length) if masked_crc32c(header[:8]) == stated else None


def masked_crc32c(data: bytes) -> int:
    """The checksum as records state it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32 by Castagnoli's polynomial, which the standard library does not have."""
    one, two = _tables()
    crc = 0xFFFFFFFF
    for begin in range(0, len(data), _CHUNK_BYTES):
        chunk = data[begin : begin + _CHUNK_BYTES]
        pairs = len(chunk) // 2
        for pair in struct.unpack_from(f"<{pairs}H", chunk):  # twice as fast as byte by byte
            crc = two[(crc ^ pair) & 0xFFFF] ^ crc >> 16
        if len(chunk) % 2:
            crc = one[(crc ^ chunk[-1]) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


@cache
def _tables() -> tuple[array[int], array[int]]:
    """What one byte, and two bytes, make of a checksum."""
    one = array("I", range(256))
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        one[byte] = crc
    halves = (one[pair & 0xFF] ^ pair >> 8 for pair in range(65536))
    return one, array("I", (one[half & 0xFF] ^ half >> 8 for half in halves))
