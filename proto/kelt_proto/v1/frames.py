"""Frames: how one record lies in a spool and travels in a batch.

A *frame* is a 24-byte header of three little-endian 64-bit words, then the payload, then
zero bytes up to the next multiple of eight:

    word 0   payload length (u32) | kind (u8) | flags (u8) | mark (u16, `FRAME_MARK`)
    word 1   sequence number (u64; 0 for a schema, which is not part of the sequence)
    word 2   CRC-32 (u32) | how many numbers right before this one hold nothing (u32)

Word 0 is written last, as one aligned 8-byte store. A zero word 0 therefore means "nothing
was written here yet", and a process killed in the middle of a write leaves no torn frame.

The CRC covers word 0 with its flags cleared, word 1, the count in word 2 where that is not 0, and
the payload. It starts from `crc_seed(writer_id)`, so that a frame of another writer is not taken
for one of ours. It is filled in by the sender thread, off the path of `log()`, which then sets
`FLAG_SEALED`; a frame without that flag was written by a process that died before sealing it and
is taken as it lies.

Numbers that hold nothing belong to the frame behind them, and are never parted from it. Where
records of another format keep their numbers, most may have nothing to say (`kelt.wandb_files`).

A *batch* is a run of consecutive frames of one writer, preceded by the schema frames that its
rows use, so that each batch can be read alone.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

FRAME_HEADER_BYTES = 24
FRAME_MARK = 0x4B4C  # "LK" on disk
FLAG_SEALED = 1
#: A larger payload is refused by the writer, and by every reader as damage.
PAYLOAD_BYTES_MAX = 8 * 1024 * 1024
WRITER_ID_BYTES = 16

_HEADER = struct.Struct("<IBBHQII")
_WORD0 = struct.Struct("<IBBH")
_CRC_PREFIX = struct.Struct("<IBBHQ")
_PASSED = struct.Struct("<I")


class Kind(IntEnum):
    """What a frame's payload is. Numbers are on disk for ever; zero is never used."""

    SCHEMA = 1  # rows.Schema; sequence number 0
    ROW = 2  # rows.Row
    RUN_OPENED = 3  # record.proto from here on
    CONFIG = 4
    SUMMARY = 5
    METRIC_DEFINITION = 6
    RUN_INFO = 7
    REWIND = 8
    EXIT = 9
    LOSS = 10
    ASSERTION = 11
    CONSOLE = 12
    SYSTEM = 13
    FILE_PIECE = 14
    ARTIFACT = 15


class DamagedFrameError(ValueError):
    """Bytes that cannot be a frame, or whose checksum does not match.

    Args:
        reason: what does not fit.
        offset_bytes: where the frame would start.
    """

    def __init__(self, reason: str, *, offset_bytes: int) -> None:
        super().__init__(f"{reason} at byte {offset_bytes}")
        self.reason = reason
        self.offset_bytes = offset_bytes


class Frame(NamedTuple):
    """One record as it lies on disk. `memory` (all of it) and `payload` view the buffer read.

    `passed` numbers before `seq` hold nothing.
    """

    kind: int
    flags: int
    seq: int
    crc32: int
    passed: int
    payload: memoryview
    memory: memoryview
    offset_bytes: int
    end_bytes: int

    @property
    def is_sealed(self) -> bool:
        """Whether the sender has filled in the checksum."""
        return bool(self.flags & FLAG_SEALED)

    @property
    def first_seq(self) -> int:
        """The first of its numbers."""
        return self.seq - self.passed


def padded(length_bytes: int) -> int:
    """`length_bytes` rounded up to a multiple of eight."""
    return (length_bytes + 7) & ~7


def frame_bytes(payload_bytes: int) -> int:
    """The room that a frame with such a payload takes."""
    return FRAME_HEADER_BYTES + padded(payload_bytes)


def word0(kind: int, payload_bytes: int, flags: int = 0) -> int:
    """The first header word as an integer, for one aligned store."""
    return payload_bytes | kind << 32 | flags << 40 | FRAME_MARK << 48


def crc_seed(writer_id: bytes) -> int:
    """Where the CRC of every frame of this writer starts."""
    return zlib.crc32(writer_id)


def frame_crc32(
    seed: int, kind: int, seq: int, payload: bytes | memoryview, passed: int = 0
) -> int:
    """The checksum of a frame (see the module's description)."""
    prefix = _CRC_PREFIX.pack(len(payload), kind, 0, FRAME_MARK, seq)
    if passed:
        prefix += _PASSED.pack(passed)
    return zlib.crc32(payload, zlib.crc32(prefix, seed))


def encode_frame(seed: int, kind: int, seq: int, payload: bytes, passed: int = 0) -> bytes:
    """A sealed frame, as the daemon writes for its own records."""
    length = len(payload)
    prefix = _CRC_PREFIX.pack(length, kind, 0, FRAME_MARK, seq)
    if passed:
        prefix += _PASSED.pack(passed)
    crc32 = zlib.crc32(payload, zlib.crc32(prefix, seed))  # `frame_crc32`, for every row
    header = _HEADER.pack(length, kind, FLAG_SEALED, FRAME_MARK, seq, crc32, passed)
    return header + payload + bytes(-length & 7)


def read_frame(buffer: memoryview, offset_bytes: int) -> Frame | None:
    """The frame at an offset, without checking its CRC.

    Returns:
        None where nothing has been written yet (a zero word, or the end of the buffer).

    Raises:
        DamagedFrameError: the bytes there cannot be a frame.
    """
    limit = len(buffer)
    if offset_bytes + FRAME_HEADER_BYTES > limit:
        if any(buffer[offset_bytes:limit]):
            raise DamagedFrameError("a header cut short", offset_bytes=offset_bytes)
        return None
    length, kind, flags, mark, seq, crc32, passed = _HEADER.unpack_from(buffer, offset_bytes)
    if not (length or kind or flags or mark):
        return None
    if mark != FRAME_MARK or not kind or flags & ~FLAG_SEALED:
        raise DamagedFrameError("no frame mark", offset_bytes=offset_bytes)
    if passed and (passed >= seq or not flags):
        raise DamagedFrameError("numbers that cannot be passed", offset_bytes=offset_bytes)
    if length > PAYLOAD_BYTES_MAX:
        raise DamagedFrameError(f"a payload of {length} bytes", offset_bytes=offset_bytes)
    start = offset_bytes + FRAME_HEADER_BYTES
    end = start + padded(length)
    if end > limit:
        raise DamagedFrameError("a payload cut short", offset_bytes=offset_bytes)
    payload, memory = buffer[start : start + length], buffer[offset_bytes:end]
    return Frame(kind, flags, seq, crc32, passed, payload, memory, offset_bytes, end)


def is_intact(frame: Frame, seed: int) -> bool:
    """Whether the checksum matches; a frame that never got one is taken as it lies."""
    if not frame.is_sealed and not frame.crc32:
        return True
    return frame.crc32 == frame_crc32(seed, frame.kind, frame.seq, frame.payload, frame.passed)


def iter_frames(buffer: memoryview, offset_bytes: int = 0) -> Iterator[Frame]:
    """The frames of a batch, in order, schemas included.

    Raises:
        DamagedFrameError: as `read_frame`.
    """
    while (frame := read_frame(buffer, offset_bytes)) is not None:
        yield frame
        offset_bytes = frame.end_bytes
