"""The records of a `.wandb` file, written (format: the package's description). Pure but for writes.

`log_blocks` is the other half.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from kelt.wandb_files.log_blocks import (
    BLOCK_BYTES,
    CHUNK_HEADER_BYTES,
    FILE_HEADER,
    FIRST,
    FULL,
    LAST,
    MIDDLE,
    RECORD_BYTES_MAX,
)

_CHUNK_START = struct.Struct("<IH")


class LogWriter:
    """Writes a file's header, and its records one after the other.

    Args:
        file: new, empty and open for writing.

    Raises:
        OSError: as `add`.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._file.write(FILE_HEADER)
        self._size_bytes = len(FILE_HEADER)

    def add(self, record: bytes) -> None:
        """Writes a record, in as many chunks as its blocks need.

        Raises:
            ValueError: it is empty, or larger than a reader takes.
            OSError: it cannot be written.
        """
        if not 0 < len(record) <= RECORD_BYTES_MAX:
            raise ValueError(f"a record of {len(record)} bytes")
        begin, is_first = 0, True
        while begin < len(record):
            room = BLOCK_BYTES - self._size_bytes % BLOCK_BYTES
            if room < CHUNK_HEADER_BYTES:  # none for a chunk's header: zeros
                self._put(bytes(room))
                continue
            # Where there is room for a header alone, the first chunk is an empty one.
            end = min(len(record), begin + room - CHUNK_HEADER_BYTES)
            self._chunk(_kind(is_first=is_first, is_last=end == len(record)), record[begin:end])
            begin, is_first = end, False

    def _chunk(self, kind: int, payload: bytes) -> None:
        body = bytes((kind,)) + payload
        self._put(_CHUNK_START.pack(zlib.crc32(body), len(payload)) + body)

    def _put(self, raw: bytes) -> None:
        self._file.write(raw)
        self._size_bytes += len(raw)


def _kind(*, is_first: bool, is_last: bool) -> int:
    if is_first:
        return FULL if is_last else FIRST
    return LAST if is_last else MIDDLE
