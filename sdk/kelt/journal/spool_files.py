"""Writing a spool at leisure, from records that exist already: the same bytes each time.

Nothing is mapped, and memory holds one segment at a time. All frames are sealed.
"""

from __future__ import annotations

import os
from pathlib import Path

from kelt.journal.segments import (
    FIRST_SEQ_WORD,
    PREVIOUS_SEQ_WORD,
    SPOOL_HEADER_BYTES,
    STEP_MAX_WORD,
    encode_spool_header,
    segment_path,
)
from kelt_proto.v1.frames import Kind, crc_seed, encode_frame
from kelt_proto.v1.rows import Schema

_SEGMENT_BYTES = 8 * 1024 * 1024


class SpoolFiles:
    """Writes the segments of a spool, one after the other.

    Args:
        folder: where they go, which exists and holds none.
        writer_id: 16 bytes.
        segment_bytes: about how large they get.
    """

    def __init__(
        self, *, folder: Path, writer_id: bytes, segment_bytes: int = _SEGMENT_BYTES
    ) -> None:
        self.seq = 0
        self.step_max = -1
        self._passed = 0
        self._folder = folder
        self._writer_id = writer_id
        self._seed = crc_seed(writer_id)
        self._segment_bytes = segment_bytes
        self._number = 0
        self._begin()

    def _begin(self) -> None:
        self._number += 1
        self._previous_seq = self.seq
        self._buffer = bytearray(encode_spool_header(self._writer_id, self._number))
        self._schemas: set[int] = set()

    def add(self, kind: Kind, payload: bytes) -> None:
        """Adds a control record. An empty Config says nothing: its number alone is kept.

        Raises:
            OSError: a segment cannot be written.
        """
        if kind == Kind.CONFIG and not payload:
            self.pass_one()
            return
        self.seq += 1
        self._put(self._frame(kind, payload))

    def pass_one(self) -> None:
        """Leaves one number out: the next record says that it holds nothing."""
        self.seq += 1
        self._passed += 1

    def add_row(self, payload: bytes, schema: Schema | None, step: int) -> None:
        """Adds a row.

        Args:
            payload: as `kelt_proto.v1.rows` has it.
            schema: that it uses; None where it carries its own.
            step: the row's.

        Raises:
            OSError: as `add`.
        """
        self.seq += 1
        self.step_max = max(self.step_max, step)
        frame = self._frame(Kind.ROW, payload)
        if schema is not None and schema.schema_id not in self._schemas:
            if len(self._buffer) > self._segment_bytes:
                self._end()
            self._schemas.add(schema.schema_id)
            self._buffer += encode_frame(self._seed, Kind.SCHEMA, 0, schema.encode())
        self._buffer += frame
        if len(self._buffer) > self._segment_bytes:
            self._end()

    def _frame(self, kind: Kind, payload: bytes) -> bytes:
        passed, self._passed = self._passed, 0
        return encode_frame(self._seed, kind, self.seq, payload, passed)

    def _put(self, frame: bytes) -> None:
        self._buffer += frame
        if len(self._buffer) > self._segment_bytes:
            self._end()

    def _end(self) -> None:
        self._write()
        self._begin()

    def _write(self) -> None:
        words = ((FIRST_SEQ_WORD, self._previous_seq + 1), (PREVIOUS_SEQ_WORD, self._previous_seq))
        for word, value in (*words, (STEP_MAX_WORD, self.step_max)):
            self._buffer[word * 8 : word * 8 + 8] = value.to_bytes(8, "little", signed=True)
        self._buffer += bytes(8)
        path = segment_path(self._folder, "spool", self._number)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            file.write(self._buffer)
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Writes what is left.

        Raises:
            OSError: as `add`.
        """
        if self._passed:
            self._passed -= 1
            self._put(self._frame(Kind.CONFIG, b""))
        if len(self._buffer) > SPOOL_HEADER_BYTES or self._number == 1:
            self._write()
