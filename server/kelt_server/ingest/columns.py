"""A batch's frames, column-wise.

Rows without texts have one length per schema, so a run of them is a matrix: header words, row
header and slots are read by NumPy without touching a row. Rows with texts or an inline schema are
gathered and their slots joined. `rows.decode_row` is the plain reader that this one must agree
with.

Damage costs what it covers. A frame whose checksum fails is skipped where a frame with the next
number follows it; where none does, the rest of the batch is lost, for there is nothing to
find the next frame by. A row that does not fit its schema costs itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kelt_proto.v1 import rows
from kelt_proto.v1.frames import (
    FLAG_SEALED,
    FRAME_HEADER_BYTES,
    DamagedFrameError,
    Frame,
    Kind,
    crc_seed,
    frame_bytes,
    is_intact,
    read_frame,
    word0,
)
from kelt_server.ingest.blocks import (
    FRAME_WORDS,
    ControlRecord,
    LostRange,
    Piece,
    RowBlock,
    matrix_block,
    stack_rows,
)

_RUN_FRAMES_MAX = 8192


@dataclass(slots=True)
class _Gathered:
    """Payloads of consecutive rows of one schema, to be stacked."""

    schema: rows.Schema | None = None
    schema_id: int = 0
    seqs: list[int] = field(default_factory=list)
    payloads: list[memoryview] = field(default_factory=list)


def decode_batch(
    frames: bytes, *, writer_id: bytes, first_seq: int, last_seq: int, after_seq: int = 0
) -> Iterator[Piece]:
    """What a batch holds, in order, from the record after `after_seq` on.

    Every sequence number from `max(first_seq, after_seq + 1)` to `last_seq` is in exactly one
    piece, except those that hold nothing: of empty Config records, and those that a frame passes.
    """
    return _Decoder(frames, writer_id, first_seq, last_seq, after_seq).pieces()


class _Decoder:
    """One pass over a batch. Mutable state: the offset, the next number, the schemas seen."""

    def __init__(
        self, frames: bytes, writer_id: bytes, first_seq: int, last_seq: int, after_seq: int
    ) -> None:
        self._frames = frames
        self._view = memoryview(frames)
        self._words = np.frombuffer(frames, dtype="<u8", count=len(frames) // 8)
        self._seed = crc_seed(writer_id)
        self._next_seq = first_seq
        self._last_seq = last_seq
        self._after_seq = after_seq
        self._schemas: dict[int, rows.Schema] = {}
        self._offset = 0
        self._gathered = _Gathered()
        self._damage = ""

    def pieces(self) -> Iterator[Piece]:
        while self._next_seq <= self._last_seq:
            try:
                frame = read_frame(self._view, self._offset)
            except DamagedFrameError as error:
                self._damage = self._damage or str(error)
                break
            if frame is None:
                break
            if frame.kind == Kind.SCHEMA and frame.seq == 0:
                self._read_schema(frame)
                continue
            if self._damage and frame.first_seq <= self._next_seq:
                break  # what follows the damage does not continue the sequence
            run = None if self._damage else self._run_of_rows(frame)
            if run is not None:
                yield from self._flush()
                if len(run.seqs):  # else all of them are committed already
                    yield run
                continue
            yield from self._read_one(frame)
        yield from self._flush()
        if self._next_seq <= self._last_seq:
            reason = self._damage or "the batch ends before its last record"
            yield from self._lost_through(self._last_seq, reason)

    def _read_schema(self, frame: Frame) -> None:
        """A damaged schema costs the rows that use it, each of which says so."""
        self._offset = frame.end_bytes
        if not is_intact(frame, self._seed):
            return
        try:
            schema = rows.decode_schema(frame.payload)
        except rows.DamagedRowError:
            return
        self._schemas[schema.schema_id] = schema

    def _read_one(self, frame: Frame) -> Iterator[Piece]:
        start, self._offset = self._offset, frame.end_bytes
        if not is_intact(frame, self._seed):
            self._damage = self._damage or f"a checksum that does not match at byte {start}"
            return
        if not self._next_seq <= frame.first_seq or frame.seq > self._last_seq:
            self._offset = len(self._frames)
            self._damage = f"a record out of sequence at byte {start}"
            return
        if frame.first_seq > self._next_seq:
            yield from self._flush()
            reason = self._damage or "missing in its batch"
            yield from self._lost_through(frame.first_seq - 1, reason)
        self._damage = ""
        self._next_seq = frame.seq + 1
        if frame.seq <= self._after_seq:
            return
        if frame.kind == Kind.ROW:
            yield from self._gather(frame)
        elif frame.payload or frame.kind != Kind.CONFIG:
            yield from self._flush()
            yield ControlRecord(frame.seq, frame.kind, bytes(frame.payload))

    def _gather(self, frame: Frame) -> Iterator[Piece]:
        try:
            header = rows.decode_row_header(frame.payload)
            is_inline = header.schema_id == rows.INLINE_SCHEMA_ID
            if (
                self._gathered.schema is None
                or is_inline
                or (header.schema_id != self._gathered.schema_id)
            ):
                yield from self._flush()
                schema, _ = rows.row_schema(frame.payload, self._schemas)
                self._gathered = _Gathered(schema, header.schema_id)
            if is_inline:
                rows.decode_row(frame.payload, {})
        except rows.DamagedRowError as error:
            yield from self._flush()
            yield LostRange(frame.seq, frame.seq, str(error))
            return
        self._gathered.seqs.append(frame.seq)
        self._gathered.payloads.append(frame.payload)

    def _flush(self) -> Iterator[Piece]:
        gathered, self._gathered = self._gathered, _Gathered()
        if gathered.schema is not None and gathered.seqs:
            yield from stack_rows(gathered.schema, gathered.seqs, gathered.payloads)

    def _lost_through(self, last_seq: int, reason: str) -> Iterator[Piece]:
        first_seq = max(self._next_seq, self._after_seq + 1)
        self._next_seq = last_seq + 1
        if first_seq <= last_seq:
            yield LostRange(first_seq, last_seq, reason)

    def _run_of_rows(self, frame: Frame) -> RowBlock | None:
        """The rows from here on that lie as a matrix, or None where there are not two of them."""
        if frame.kind != Kind.ROW or frame.first_seq != self._next_seq or frame.offset_bytes % 8:
            return None
        if len(frame.payload) < rows.ROW_HEADER_BYTES:
            return None
        schema = self._schemas.get(rows.decode_row_header(frame.payload).schema_id)
        if schema is None or schema.has_tail:
            return None
        if len(frame.payload) != rows.ROW_HEADER_BYTES + schema.slots.size:
            return None
        length = self._run_length(frame)
        if length < 2:  # noqa: PLR2004 # one row is read as well by the plain way
            return None
        stride = frame_bytes(len(frame.payload)) // 8
        start = frame.offset_bytes // 8
        matrix = self._words[start : start + length * stride].reshape(length, stride)
        self._offset = (start + length * stride) * 8
        self._next_seq = frame.seq + (length - 1) * (frame.passed + 1) + 1
        skip = int((matrix[:, 1] <= self._after_seq).sum())
        return matrix_block(schema, matrix[skip:])

    def _run_length(self, first: Frame) -> int:
        """How many intact sealed rows of the first one's shape and schema follow one another.

        Each passes as many numbers as the first one.
        """
        if not first.is_sealed:
            return 0
        size_bytes = frame_bytes(len(first.payload))
        stride, start = size_bytes // 8, first.offset_bytes // 8
        room = min((len(self._words) - start) // stride, _RUN_FRAMES_MAX)
        step = first.passed + 1
        room = min(room, (self._last_seq - first.seq) // step + 1)
        if room < 2:  # noqa: PLR2004
            return room
        matrix = self._words[start : start + room * stride].reshape(room, stride)
        header = word0(Kind.ROW, len(first.payload), FLAG_SEALED)
        if matrix[1, 0] != header:
            return 1
        fits = matrix[:, 0] == header
        fits &= matrix[:, 1] == first.seq + step * np.arange(room, dtype=np.uint64)
        fits &= matrix[:, 2] >> 32 == first.passed
        fits &= (matrix[:, FRAME_WORDS] & 0xFFFFFFFF) == matrix[0, FRAME_WORDS] & 0xFFFFFFFF
        length = room if bool(fits.all()) else int(fits.argmin())
        return self._intact_length(first, matrix[:length], size_bytes)

    def _intact_length(self, first: Frame, matrix: npt.NDArray[np.uint64], size_bytes: int) -> int:
        # As `frame_crc32` has it: two words, and four bytes more where numbers are passed.
        prefixes = np.empty((len(matrix), 3), dtype="<u8")
        prefixes[:, 0] = word0(Kind.ROW, len(first.payload))
        prefixes[:, 1] = matrix[:, 1]
        prefixes[:, 2] = first.passed
        prefix_bytes, view, crc32, seed = prefixes.tobytes(), self._view, zlib.crc32, self._seed
        prefix_end = 20 if first.passed else 16
        stated = (matrix[:, 2] & 0xFFFFFFFF).tolist()
        start, payload_bytes = first.offset_bytes + FRAME_HEADER_BYTES, len(first.payload)
        for index, expected in enumerate(stated):
            begin = start + index * size_bytes
            prefix = prefix_bytes[index * 24 : index * 24 + prefix_end]
            if crc32(view[begin : begin + payload_bytes], crc32(prefix, seed)) != expected:
                return index
        return len(stated)
