"""Rows: the payload of the record that `log()` writes, and of the schema that explains it.

A row is packed against a *schema* (column names and kinds, interned per writer). Everything is
little-endian and every column takes one 8-byte slot, so that a run of rows of one schema is a
matrix that NumPy reads without a copy:

    ROW     schema id u32 | flags u32 | step i64 | timestamp f64 (Unix s) | runtime f64 (s)
            one slot a column, then the tail
    SCHEMA  schema id u32 | column count u32, then for each column
            kind u8 | name length u16 | name (UTF-8)

    kind    slot
    FLOAT   f64 (NaN and infinities as they are)
    INT     i64 (a larger integer is JSON)
    BOOL    i64, 0 or 1
    NONE    zero
    TEXT    offset u32 | length u32 of UTF-8 bytes in the tail (offset from the tail's start)
    JSON    as TEXT: a list, or whatever else has no slot of its own; JSON with the bare words
            NaN, Infinity and -Infinity, as Python's json writes them

A writer interns at most `SCHEMAS_MAX` schemas. Past that its rows carry their own: the schema
id is `INLINE_SCHEMA_ID`, and between header and slots stand u32 length, u32 zero and the SCHEMA
payload padded to eight bytes. Varying keys thus cost space, not memory.

Rows of one writer with the same step on the same branch are parts of one row; where they name
the same column, the one with the higher sequence number holds.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

from kelt_proto.v1.frames import padded

SCHEMAS_MAX = 256
INLINE_SCHEMA_ID = 0xFFFFFFFF
ROW_HEADER_BYTES = 32
STEP_OFFSET_BYTES = 8
NAME_BYTES_MAX = 1024
COLUMNS_MAX = 65536
#: Room is left above it for automatic steps, and for those of resumed runs.
STEP_MAX = 2**60

#: The step counts from the end of the history that a resumed run continues, which its host did
#: not know when it wrote the row.
FLAG_RELATIVE_STEP = 1
#: The step is below one that this writer logged before on the same branch.
FLAG_STEP_WENT_DOWN = 2
#: Written with `commit=False`.
FLAG_PARTIAL = 4

Value = float | int | bool | str | None | list[Any] | dict[str, Any]

_ROW_HEADER = struct.Struct("<IIqdd")
_STEP = struct.Struct("<q")
_PAIR = struct.Struct("<II")
_COLUMN = struct.Struct("<BH")


class ColumnKind(IntEnum):
    """How a column's slot is read. Numbers are on disk for ever."""

    FLOAT = 1
    INT = 2
    BOOL = 3
    NONE = 4
    TEXT = 5
    JSON = 6


#: The struct code of each kind's slot.
SLOT_CODES: Mapping[int, str] = {
    ColumnKind.FLOAT: "d",
    ColumnKind.INT: "q",
    ColumnKind.BOOL: "q",
    ColumnKind.NONE: "q",
    ColumnKind.TEXT: "Q",
    ColumnKind.JSON: "Q",
}


class DamagedRowError(ValueError):
    """A row or schema payload that does not fit its format."""


@dataclass(frozen=True)
class Schema:
    """Column names and kinds, with the number by which a writer's rows refer to them."""

    schema_id: int
    names: tuple[str, ...]
    kinds: tuple[int, ...]

    @cached_property
    def slots(self) -> struct.Struct:
        """The packing of the columns' slots alone."""
        return struct.Struct("<" + "".join(SLOT_CODES[kind] for kind in self.kinds))

    @cached_property
    def has_tail(self) -> bool:
        """Whether rows of this schema vary in length."""
        return any(kind >= ColumnKind.TEXT for kind in self.kinds)

    def encode(self) -> bytes:
        """The SCHEMA payload."""
        parts = [_PAIR.pack(self.schema_id, len(self.names))]
        for name, kind in zip(self.names, self.kinds, strict=True):
            raw = name.encode("utf-8", "surrogatepass")
            parts += (_COLUMN.pack(kind, len(raw)), raw)
        return b"".join(parts)


class RowHeader(NamedTuple):
    """What every row says of itself, whatever its columns."""

    schema_id: int
    flags: int
    step: int
    timestamp: float
    runtime: float


@dataclass(frozen=True, slots=True)
class Row:
    """One decoded row."""

    header: RowHeader
    values: dict[str, Value]


def decode_schema(payload: bytes | memoryview) -> Schema:
    """The schema in a SCHEMA payload.

    Raises:
        DamagedRowError: the payload is not one.
    """
    try:
        schema_id, count = _PAIR.unpack_from(payload, 0)
        if count > COLUMNS_MAX:
            raise DamagedRowError(f"a schema of {count} columns")
        offset = _PAIR.size
        names, kinds = [], []
        for _ in range(count):
            kind, length = _COLUMN.unpack_from(payload, offset)
            offset += _COLUMN.size
            raw = bytes(payload[offset : offset + length])
            if len(raw) != length or kind not in SLOT_CODES:
                raise DamagedRowError("a schema cut short or of unknown kinds")
            names.append(raw.decode("utf-8", "surrogatepass"))
            kinds.append(kind)
            offset += length
    except (struct.error, UnicodeDecodeError) as error:
        raise DamagedRowError(f"not a schema: {error}") from error
    return Schema(schema_id, tuple(names), tuple(kinds))


def encode_row(schema: Schema, header: RowHeader, values: Sequence[Value]) -> bytes:
    """A ROW payload for values that already have the schema's kinds.

    This is the general encoder; `log()` packs rows without a tail straight into the spool.
    `header.schema_id` of `INLINE_SCHEMA_ID` makes the row carry its schema.
    """
    slots: list[float | int] = []
    tail = bytearray()
    for kind, value in zip(schema.kinds, values, strict=True):
        if kind >= ColumnKind.TEXT:
            text = value if kind == ColumnKind.TEXT else json.dumps(value)
            raw = str(text).encode("utf-8", "surrogatepass")
            slots.append(len(tail) | len(raw) << 32)
            tail += raw
        else:
            slots.append(0 if value is None else value)  # type: ignore[arg-type] # kinds rule out the rest
    inline = b""
    if header.schema_id == INLINE_SCHEMA_ID:
        raw = schema.encode()
        inline = _PAIR.pack(len(raw), 0) + raw + bytes(padded(len(raw)) - len(raw))
    start = _ROW_HEADER.pack(
        header.schema_id, header.flags, header.step, header.timestamp, header.runtime
    )
    return start + inline + schema.slots.pack(*slots) + bytes(tail)


def with_step(payload: bytes, step: int) -> bytes:
    """A ROW payload with another step."""
    changed = bytearray(payload)
    _STEP.pack_into(changed, STEP_OFFSET_BYTES, step)
    return bytes(changed)


def decode_row_header(payload: bytes | memoryview) -> RowHeader:
    """The fixed part of a ROW payload.

    Raises:
        DamagedRowError: the payload is shorter than that.
    """
    try:
        return RowHeader(*_ROW_HEADER.unpack_from(payload, 0))
    except struct.error as error:
        raise DamagedRowError(f"not a row: {error}") from error


def row_schema(payload: bytes | memoryview, schemas: Mapping[int, Schema]) -> tuple[Schema, int]:
    """A row's schema and the offset at which its slots start.

    Args:
        payload: a ROW payload.
        schemas: the schemas seen so far in the batch or segment, by id.

    Raises:
        DamagedRowError: the schema is unknown, or the inline one damaged.
    """
    schema_id = decode_row_header(payload).schema_id
    if schema_id != INLINE_SCHEMA_ID:
        try:
            return schemas[schema_id], ROW_HEADER_BYTES
        except KeyError:
            raise DamagedRowError(f"a row of the unknown schema {schema_id}") from None
    try:
        length, _ = _PAIR.unpack_from(payload, ROW_HEADER_BYTES)
    except struct.error as error:
        raise DamagedRowError(f"not a row: {error}") from error
    start = ROW_HEADER_BYTES + _PAIR.size
    if start + padded(length) > len(payload):
        raise DamagedRowError("an inline schema cut short")
    return decode_schema(payload[start : start + length]), start + padded(length)


def decode_row(payload: bytes | memoryview, schemas: Mapping[int, Schema]) -> Row:
    """One row, value by value: the plain reader that the column-wise one is tested against.

    Raises:
        DamagedRowError: the payload does not fit its schema.
    """
    header = decode_row_header(payload)
    schema, offset = row_schema(payload, schemas)
    try:
        slots = schema.slots.unpack_from(payload, offset)
    except struct.error as error:
        raise DamagedRowError(f"not a row of its schema: {error}") from error
    tail = offset + schema.slots.size
    values: dict[str, Value] = {}
    for name, kind, slot in zip(schema.names, schema.kinds, slots, strict=True):
        values[name] = _slot_value(payload, kind, slot, tail)
    return Row(header, values)


def _slot_value(payload: bytes | memoryview, kind: int, slot: Any, tail_bytes: int) -> Value:
    if kind == ColumnKind.NONE:
        return None
    if kind == ColumnKind.BOOL:
        return bool(slot)
    if kind < ColumnKind.TEXT:
        number: float | int = slot
        return number
    start = tail_bytes + (slot & 0xFFFFFFFF)
    raw = bytes(payload[start : start + (slot >> 32)])
    if len(raw) != slot >> 32:
        raise DamagedRowError("a text cut short")
    try:
        text = raw.decode("utf-8", "surrogatepass")
        decoded: Value = text if kind == ColumnKind.TEXT else json.loads(text)
    except ValueError as error:
        raise DamagedRowError(f"not a text: {error}") from error
    return decoded
