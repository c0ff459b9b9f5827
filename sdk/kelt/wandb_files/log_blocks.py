"""The records of a `.wandb` file, as bytes (format: the package's description). Pure but for reads.

What cannot be read is *damage* only once a whole record was found behind it. Before that it is the
tail: perhaps a record that is still being written.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK_BYTES = 32 * 1024
FILE_HEADER_BYTES = 7
CHUNK_HEADER_BYTES = 7
#: W&B itself refuses far smaller ones; what claims to be larger is damage.
RECORD_BYTES_MAX = 64 * 1024 * 1024

_FILE_HEADER = struct.Struct("<4sHB")
_IDENT, _MAGIC, _VERSION = b":W&B", 0xBEE1, 0
FILE_HEADER = _FILE_HEADER.pack(_IDENT, _MAGIC, _VERSION)
_CHUNK = struct.Struct("<IHB")
#: Kinds of chunks.
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
#: The checksum of a chunk begins with its kind.
_KIND_CRCS = [zlib.crc32(bytes((kind,))) for kind in range(256)]
_READ_BLOCKS = 32


class NotAWandbFileError(ValueError):
    """The first bytes are not those of a `.wandb` file that is known here."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that hold no whole record."""

    offset_bytes: int
    size_bytes: int
    reason: str


def check_file_header(raw: bytes) -> None:
    """Looks at the first seven bytes of a file.

    Raises:
        NotAWandbFileError: they are not a `.wandb` file's; the message says what they are.
    """
    if not raw:
        raise NotAWandbFileError("it is empty: nothing was written to the disk before the end")
    if len(raw) < FILE_HEADER_BYTES:
        raise NotAWandbFileError("it is shorter than the header of a .wandb file")
    ident, magic, version = _FILE_HEADER.unpack_from(raw)
    if ident != _IDENT or magic != _MAGIC:
        raise NotAWandbFileError("it does not begin as a .wandb file does")
    if version != _VERSION:
        raise NotAWandbFileError(f"it is of version {version} of the format; version 0 is known")


class LogReader:
    """Reads the records of a file, from its beginning or from where an earlier reading ended.

    Args:
        file: the file, open for reading.
        offset_bytes: a former `end_bytes`.

    Attributes:
        end_bytes: just behind the last whole record; reading can go on there when the file grows.
        tail: what lies behind it, once the iteration is over.
        is_tail_damaged: whether that is more than a record cut short.
    """

    def __init__(self, file: BinaryIO, *, offset_bytes: int = FILE_HEADER_BYTES) -> None:
        self._file = file
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._start = 0
        self._bad = ""
        self.end_bytes = offset_bytes
        self.tail: Damage | None = None
        self.is_tail_damaged = False

    def __iter__(self) -> Iterator[bytes | Damage]:
        """The payloads in their order, with damage where it lies."""
        self._forget()
        self._bad, self.tail, self.is_tail_damaged = "", None, False
        start = self.end_bytes - self.end_bytes % BLOCK_BYTES
        skipped = self.end_bytes - start
        self._file.seek(start)
        end = start
        while buffer := self._file.read(BLOCK_BYTES * _READ_BLOCKS):
            for at in range(0, len(buffer), BLOCK_BYTES):
                yield from self._block(buffer[at : at + BLOCK_BYTES], end + at, skipped)
                skipped = 0
            end += len(buffer)
            if len(buffer) % BLOCK_BYTES:  # the end, for now: what comes later is read from there
                break
        if end > self.end_bytes:
            reason = self._bad or "a record cut short"
            self.tail = Damage(self.end_bytes, end - self.end_bytes, reason)
            self.is_tail_damaged = bool(self._bad)

    def _block(self, block: bytes, base: int, offset: int) -> Iterator[bytes | Damage]:
        size = len(block)
        if base == 0:
            offset = max(offset, FILE_HEADER_BYTES)
        while offset + CHUNK_HEADER_BYTES <= size:
            crc32, length, kind = _CHUNK.unpack_from(block, offset)
            end = offset + CHUNK_HEADER_BYTES + length
            if not kind and not length and not crc32:
                # A block that was given up, or that a disk lost. What the next record calls itself
                # tells whether anything was in it.
                self._lose("zeros")
                return
            if end > size:
                if end > BLOCK_BYTES:
                    self._lose("a length that does not fit its block")
                return
            payload = block[offset + CHUNK_HEADER_BYTES : end]
            if zlib.crc32(payload, _KIND_CRCS[kind]) != crc32:
                self._lose("a checksum that does not match")
            elif kind == FULL and not (self._parts or self._bad):  # most of them
                self.end_bytes = base + end
                yield payload
            else:
                record = self._take(kind, payload, base + offset)
                if record is not None:
                    yield from self._whole(record, base + end)
            offset = end

    def _take(self, kind: int, payload: bytes, at: int) -> bytes | None:
        """One chunk; returns the record that it completes."""
        if kind in {FULL, FIRST}:
            if self._parts:
                self._lose("a record without its end")
            self._start = at
            if kind == FULL:
                return payload
            self._parts, self._parts_bytes = [payload], len(payload)
        elif kind not in {MIDDLE, LAST}:
            self._lose("a chunk of an unknown kind")
        elif not self._parts:
            self._lose("a record without its beginning")
        elif self._parts_bytes + len(payload) > RECORD_BYTES_MAX:
            self._lose(f"a record of more than {RECORD_BYTES_MAX} bytes")
        else:
            self._parts.append(payload)
            self._parts_bytes += len(payload)
            if kind == LAST:
                record = b"".join(self._parts)
                self._forget()
                return record
        return None

    def _whole(self, record: bytes, end: int) -> Iterator[bytes | Damage]:
        if self._bad:
            yield Damage(self.end_bytes, self._start - self.end_bytes, self._bad)
            self._bad = ""
        self.end_bytes = end
        yield record

    def _lose(self, reason: str) -> None:
        self._bad = self._bad or reason
        self._forget()

    def _forget(self) -> None:
        self._parts, self._parts_bytes = [], 0
