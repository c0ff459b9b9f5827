"""What a batch comes to: blocks of rows, control records, lost ranges; and how rows are stacked."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kelt_proto.v1 import rows
from kelt_proto.v1.frames import FRAME_HEADER_BYTES

Floats = npt.NDArray[np.float64]


Ints = npt.NDArray[np.int64]


#: Storage kind, after those of rows.ColumnKind: a text with lone surrogates, written as JSON.
KIND_ESCAPED_TEXT = 7


_INT64 = range(-(2**63), 2**63)


#: Up to here a float64 holds every integer.
EXACT_INT_MAX = 2**53


_ROW_WORDS = rows.ROW_HEADER_BYTES // 8


FRAME_WORDS = FRAME_HEADER_BYTES // 8


_ROW_HEADERS = np.dtype(
    [("schema", "<u4"), ("flags", "<u4"), ("step", "<i8"), ("timestamp", "<f8"), ("runtime", "<f8")]
)


_SLOT = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Column:
    """One metric's values in a block. `texts` is None where no value needs more than a float."""

    name: str
    kind: int
    values: Floats
    texts: list[str | None] | None


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Consecutive rows of one schema; all arrays have one entry a row."""

    seqs: Ints
    flags: Ints
    steps: Ints
    timestamps: Floats
    runtimes: Floats
    columns: tuple[Column, ...]

    def picked(self, rows: Ints) -> RowBlock:
        """Some of the rows, by index."""
        return RowBlock(
            self.seqs[rows],
            self.flags[rows],
            self.steps[rows],
            self.timestamps[rows],
            self.runtimes[rows],
            tuple(
                replace(
                    column,
                    values=column.values[rows],
                    texts=None
                    if column.texts is None
                    else [column.texts[r] for r in rows.tolist()],
                )
                for column in self.columns
            ),
        )


@dataclass(frozen=True, slots=True)
class ControlRecord:
    """A record that is not a row, still encoded."""

    seq: int
    kind: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class LostRange:
    """Sequence numbers whose records could not be read."""

    first_seq: int
    last_seq: int
    reason: str


Piece = RowBlock | ControlRecord | LostRange


def matrix_block(schema: rows.Schema, matrix: npt.NDArray[np.uint64]) -> RowBlock:
    """Rows without texts, one a line of words, frame headers included."""
    header = matrix[:, FRAME_WORDS : FRAME_WORDS + _ROW_WORDS]
    slots = matrix[:, FRAME_WORDS + _ROW_WORDS :]
    seqs = matrix[:, 1].astype(np.int64)
    by_column = np.ascontiguousarray(slots.T)
    columns = {  # by name: of two columns with one name the last holds
        name: _plain_column(name, kind, by_column[index])
        for index, (name, kind) in enumerate(zip(schema.names, schema.kinds, strict=True))
    }
    return RowBlock(
        seqs,
        (header[:, 0] >> np.uint64(32)).astype(np.int64),
        header[:, 1].astype(np.int64),
        np.ascontiguousarray(header[:, 2]).view("<f8"),
        np.ascontiguousarray(header[:, 3]).view("<f8"),
        tuple(columns.values()),
    )


def _plain_column(name: str, kind: int, slots: npt.NDArray[np.uint64]) -> Column:
    """A column whose values lie in their slots."""
    if kind == rows.ColumnKind.FLOAT:
        return Column(name, kind, slots.view("<f8"), None)
    if kind == rows.ColumnKind.NONE:
        return Column(name, kind, np.zeros(len(slots)), None)
    integers = slots.view("<i8")
    if kind == rows.ColumnKind.BOOL:
        return Column(name, kind, (integers != 0).astype(np.float64), None)
    large = (integers > EXACT_INT_MAX) | (integers < -EXACT_INT_MAX)
    texts: list[str | None] | None = None
    if bool(large.any()):
        texts = [
            str(value) if is_large else None
            for value, is_large in zip(integers.tolist(), large.tolist(), strict=True)
        ]
    return Column(name, kind, integers.astype(np.float64), texts)


def stack_rows(schema: rows.Schema, seqs: list[int], payloads: list[memoryview]) -> Iterator[Piece]:
    """One block of rows that may vary in length; rows that do not fit are lost one by one."""
    schemas = {schema.schema_id: schema}
    good_seqs: list[int] = []
    headers: list[memoryview] = []
    slots: list[memoryview] = []
    texts: list[dict[int, str]] = []
    lost: list[LostRange] = []
    for seq, payload in zip(seqs, payloads, strict=True):
        try:
            _, start = rows.row_schema(payload, schemas)
            end = start + schema.slots.size
            if end > len(payload):
                raise rows.DamagedRowError("a row shorter than its schema")  # noqa: TRY301
            texts.append(_texts(schema, payload, start, end))
        except rows.DamagedRowError as error:
            lost.append(LostRange(seq, seq, str(error)))
            continue
        good_seqs.append(seq)
        headers.append(payload[: rows.ROW_HEADER_BYTES])
        slots.append(payload[start:end])
    if good_seqs:
        yield _stacked_block(schema, good_seqs, (headers, slots), texts)
    yield from lost


def _texts(schema: rows.Schema, payload: memoryview, slots_at: int, tail_at: int) -> dict[int, str]:
    """The texts of one row by column, each checked: a bad one costs its row alone."""
    found: dict[int, str] = {}
    if not schema.has_tail:
        return found
    for index, kind in enumerate(schema.kinds):
        if kind < rows.ColumnKind.TEXT:
            continue
        (slot,) = _SLOT.unpack_from(payload, slots_at + 8 * index)
        begin = tail_at + (slot & 0xFFFFFFFF)
        raw = bytes(payload[begin : begin + (slot >> 32)])
        if len(raw) != slot >> 32:
            raise rows.DamagedRowError("a text cut short")
        try:
            found[index] = raw.decode("utf-8", "surrogatepass")
            if kind == rows.ColumnKind.JSON:
                json.loads(found[index])
        except (ValueError, RecursionError) as error:
            raise rows.DamagedRowError(f"not a text: {error}") from error
    return found


def _stacked_block(
    schema: rows.Schema,
    seqs: list[int],
    parts: tuple[list[memoryview], list[memoryview]],
    texts: list[dict[int, str]],
) -> RowBlock:
    headers = np.frombuffer(b"".join(parts[0]), dtype=_ROW_HEADERS)
    width = len(schema.names)
    matrix = np.frombuffer(b"".join(parts[1]), dtype="<u8").reshape(len(seqs), width)
    by_column = np.ascontiguousarray(matrix.T)
    columns: dict[str, Column] = {}
    for index, (name, kind) in enumerate(zip(schema.names, schema.kinds, strict=True)):
        if kind < rows.ColumnKind.TEXT:
            columns[name] = _plain_column(name, kind, by_column[index])
        else:
            column_texts: list[str | None] = [row[index] for row in texts]
            columns[name] = Column(name, kind, np.zeros(len(seqs)), column_texts)
    return RowBlock(
        np.array(seqs, dtype=np.int64),
        headers["flags"].astype(np.int64),
        headers["step"].astype(np.int64),
        headers["timestamp"].astype(np.float64),
        headers["runtime"].astype(np.float64),
        tuple(columns.values()),
    )


def kind_of(value: object) -> int:
    """The kind of column that holds a value out of JSON."""
    if value is None:
        return rows.ColumnKind.NONE
    if isinstance(value, bool):
        return rows.ColumnKind.BOOL
    if isinstance(value, int):
        return rows.ColumnKind.INT if value in _INT64 else rows.ColumnKind.JSON
    if isinstance(value, float):
        return rows.ColumnKind.FLOAT
    return rows.ColumnKind.TEXT if isinstance(value, str) else rows.ColumnKind.JSON
