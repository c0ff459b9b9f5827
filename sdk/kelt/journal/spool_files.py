"""Writing a spool at leisure, from records that exist already: the same bytes each time.

Nothing is mapped, and memory holds one segment at a time. All frames are sealed. A segment is there
whole or not at all, so that what reads the folder meanwhile finds no torn one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kelt.journal.segments import (
    FIRST_SEQ_WORD,
    PREVIOUS_SEQ_WORD,
    SPOOL_HEADER_BYTES,
    STEP_MAX_WORD,
    encode_spool_header,
    segment_path,
)
from kelt.private_files import replace_private
from kelt_proto.v1.frames import Kind, crc_seed, encode_frame
from kelt_proto.v1.rows import Schema

_SEGMENT_BYTES = 2 * 1024 * 1024


class SpoolFiles:
    """Writes the segments of a spool, one after the other.

    Args:
        folder: where they go, which exists and holds none.
        writer_id: 16 bytes.
        segment_bytes: about how large they get.
        on_segment: called behind each; it may move the folder, which is where the next one goes.

    Attributes:
        folder: where the next segment goes.
    """

    def __init__(
        self,
        *,
        folder: Path,
        writer_id: bytes,
        segment_bytes: int | None = None,
        on_segment: Callable[[], None] | None = None,
    ) -> None:
        self.folder = folder
        self.seq = 0
        self.step_max = -1
        self._on_segment = on_segment
        self._passed = 0
        self._writer_id = writer_id
        self._seed = crc_seed(writer_id)
        self._segment_bytes = segment_bytes or _SEGMENT_BYTES
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
        self.seq += 1
        if not payload and kind is Kind.CONFIG:
            self._passed += 1
            return
        self._put(self._frame(kind, payload))

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
        if schema is not None and schema.schema_id not in self._schemas:
            self._schemas.add(schema.schema_id)
            self._buffer += encode_frame(self._seed, Kind.SCHEMA, 0, schema.encode())
        self._buffer += encode_frame(self._seed, Kind.ROW, self.seq, payload, self._passed)
        self._passed = 0
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
        path = segment_path(self.folder, "spool", self._number)
        replace_private(path, self._buffer, is_synced=True)
        if self._on_segment is not None:
            self._on_segment()

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
