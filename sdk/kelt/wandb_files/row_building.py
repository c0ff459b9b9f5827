"""History records into kelt rows. Pure.

W&B writes the values of a row in any order, and a whole number without its point (1.0 is `1`). So
that the rows of a run have few schemas, columns are sorted, and a metric that once was a fraction
is one from then on.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kelt.wandb_files.number_rows import (
    RUNTIME_KEY,
    STEP_KEY,
    TIMESTAMP_KEY,
    NumberRow,
    NumberRows,
)
from kelt.wandb_files.row_shapes import RowShape
from kelt_proto.v1.frames import PAYLOAD_BYTES_MAX
from kelt_proto.v1.rows import (
    COLUMNS_MAX,
    FLAG_RELATIVE_STEP,
    FLAG_STEP_WENT_DOWN,
    INLINE_SCHEMA_ID,
    NAME_BYTES_MAX,
    SCHEMAS_MAX,
    STEP_MAX,
    ColumnKind,
    RowHeader,
    Schema,
    encode_row,
)
from kelt_proto.wandb.wandb_record_pb2 import History, HistoryItem

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_EXACT_MAX = 2**53
_DEPTH_MAX = 64
_GUESSES_MAX = 1024
#: The key by which W&B tells a description of a file from a user's dict.
_MEDIA_TYPE = "._type"
_KINDS: Mapping[type, ColumnKind] = {
    float: ColumnKind.FLOAT,
    int: ColumnKind.INT,
    bool: ColumnKind.BOOL,
    type(None): ColumnKind.NONE,
    str: ColumnKind.TEXT,
    list: ColumnKind.JSON,
    dict: ColumnKind.JSON,
}


class UnfitRowError(ValueError):
    """A row that kelt cannot hold; the message says why."""


class BuiltRow(NamedTuple):
    """A row as a spool holds it. `schema` is None where the row carries its own."""

    payload: bytes
    schema: Schema | None
    step: int
    timestamp: float
    names: Sequence[str]
    values: Sequence[Any]


class RowBuilder:
    """Builds the rows of one file, in their order.

    Args:
        may_be_relative: the run may go on another, so that steps from 0 count from that one's end.
        numbers: reads the rows of numbers.
    """

    def __init__(self, *, may_be_relative: bool, numbers: NumberRows | None = None) -> None:
        self.highest_step = -1
        self.media = 0
        self._may_be_relative = may_be_relative
        self._flags: int | None = None
        self._fractions: set[str] = set()
        self._names: set[str] = set()
        self._media_types: set[str] = set()
        self._shapes: dict[tuple[tuple[str, ...], tuple[int, ...]], RowShape] = {}
        #: By the names and Python types: the shape, how many metrics were fractions then, and
        #: which columns are whole numbers.
        self._guesses: dict[
            tuple[tuple[str, ...], tuple[type, ...]], tuple[RowShape, int, tuple[int, ...]]
        ] = {}
        self._interned = 0
        self._numbers = numbers or NumberRows()

    def build(self, raw: bytes, *, timestamp: float) -> BuiltRow:
        """One row.

        Args:
            raw: W&B's `History` message.
            timestamp: what to take where it has none.

        Raises:
            UnfitRowError: it cannot be a row.
            DecodeError: it is no such message.
        """
        numbers = self._numbers.read(raw, fractions=len(self._fractions))
        if numbers is not None and (plain := self._pack_plain(numbers)) is not None:
            return plain
        history = History.FromString(raw)
        values = self._values(history)
        step = values.pop(STEP_KEY, None)
        step = history.step.num if step is None else step
        timestamp = _number(values.pop(TIMESTAMP_KEY, None), timestamp)
        runtime = _number(values.pop(RUNTIME_KEY, None), 0.0)
        if type(step) is float and step.is_integer():
            step = int(step)
        if type(step) is not int or not 0 <= step <= STEP_MAX:
            raise UnfitRowError(f"the step {step!r:.40} cannot be one")
        if len(values) > COLUMNS_MAX:
            raise UnfitRowError(f"{len(values)} values, more than {COLUMNS_MAX}")
        names = tuple(sorted(values))
        row = [values[name] for name in names]
        payload, schema = self._pack(names, row, step, timestamp, runtime)
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise UnfitRowError(f"{len(payload)} bytes, more than {PAYLOAD_BYTES_MAX}")
        self.highest_step = max(self.highest_step, step)
        return BuiltRow(payload, schema, step, timestamp, names, row)

    def _pack_plain(self, numbers: NumberRow) -> BuiltRow | None:
        """The row; None where a metric of whole numbers is a fraction from here on."""
        step, timestamp, runtime, names, row, shape = numbers
        if shape.pack is None:
            raise AssertionError
        flags = self._row_flags(step)
        try:
            packed = shape.pack(shape.schema.schema_id, flags, step, timestamp, runtime, *row)
        except struct.error:
            return None
        self.highest_step = max(self.highest_step, step)
        return BuiltRow(packed, shape.schema, step, timestamp, names, row)

    def _row_flags(self, step: int) -> int:
        if self._flags is None:
            is_relative = self._may_be_relative and step == 0
            self._flags = FLAG_RELATIVE_STEP if is_relative else 0
        return self._flags | (FLAG_STEP_WENT_DOWN if step < self.highest_step else 0)

    def _pack(
        self, names: tuple[str, ...], row: list[Any], step: int, timestamp: float, runtime: float
    ) -> tuple[bytes, Schema | None]:
        flags = self._row_flags(step)
        shape = self._shape(names, row)
        if shape.pack is not None:
            self._numbers.learn(names, shape, fractions=len(self._fractions))
            packed = shape.pack(shape.schema.schema_id, flags, step, timestamp, runtime, *row)
            return packed, shape.schema
        schema_id = INLINE_SCHEMA_ID if shape.is_inline else shape.schema.schema_id
        header = RowHeader(schema_id, flags, step, timestamp, runtime)
        return encode_row(shape.schema, header, row), None if shape.is_inline else shape.schema

    def _shape(self, names: tuple[str, ...], row: list[Any]) -> RowShape:
        types = tuple(map(type, row))
        guess = self._guesses.get((names, types))
        # What whole numbers become depends on what their metrics were before, and on their size.
        if guess is not None and guess[1] == len(self._fractions):
            for column in guess[2]:
                if not -_EXACT_MAX <= row[column] <= _EXACT_MAX:
                    break
            else:
                return guess[0]
        kinds = tuple(self._kind(name, value) for name, value in zip(names, row, strict=True))
        shape = self._shapes.get((names, kinds)) or self._new_shape(names, kinds)
        if not shape.is_inline and ColumnKind.JSON not in kinds:
            whole = tuple(column for column, kind in enumerate(types) if kind is int)
            if len(self._guesses) >= _GUESSES_MAX:
                self._guesses.clear()
            self._guesses[names, types] = (shape, len(self._fractions), whole)
        return shape

    def _kind(self, name: str, value: Any) -> int:
        kind = type(value)
        if kind is float:
            self._fractions.add(name)
            return ColumnKind.FLOAT
        if kind is int:
            if not _INT_MIN <= value <= _INT_MAX:
                return ColumnKind.JSON
            if name in self._fractions and -_EXACT_MAX <= value <= _EXACT_MAX:
                return ColumnKind.FLOAT
            return ColumnKind.INT
        return _KINDS[kind]

    def _new_shape(self, names: tuple[str, ...], kinds: tuple[int, ...]) -> RowShape:
        is_inline = self._interned >= SCHEMAS_MAX
        if is_inline:
            return RowShape(Schema(INLINE_SCHEMA_ID, names, kinds), is_inline=True)
        shape = RowShape(Schema(self._interned, names, kinds), is_inline=False)
        self._interned += 1
        self._shapes[names, kinds] = shape
        return shape

    def _values(self, history: History) -> dict[str, Any]:
        values: dict[str, Any] = {}
        known = self._names
        # All values of a row are written in the same forms. A typed one knows 1.0 from 1.
        is_typed = bool(history.item) and history.item[0].WhichOneof("value") is not None
        for item in history.item:
            path = item.nested_key
            name = (path[0] if len(path) == 1 else ".".join(path)) if path else item.key
            text = "" if is_typed else item.value_json
            value: Any
            try:  # most values are numbers
                value = float(text) if "." in text else int(text)
            except ValueError:
                value = decode_value(text) if text else _typed(item)
            if type(value) is dict:
                self.media += "_type" in value
                for inner, plain in flattened(name, value):
                    self._put(values, inner, plain)
            elif name in known and name not in values:
                values[name] = value
            else:
                self._put(values, name, value)
        for name in sorted(self._media_types.intersection(values), reverse=True):
            self._gather_media(values, name.removesuffix(_MEDIA_TYPE))
        return values

    def _gather_media(self, values: dict[str, Any], name: str) -> None:
        """What describes a file or a table, and was taken apart by W&B, becomes one value."""
        prefix = f"{name}."
        parts = sorted(key for key in values if key.startswith(prefix))
        if name not in values:
            values[name] = {part.removeprefix(prefix): values.pop(part) for part in parts}
            self.media += 1

    def _put(self, values: dict[str, Any], name: str, value: Any) -> None:
        if name not in self._names:
            if not name:
                raise UnfitRowError("a value has no name")
            if len(name.encode("utf-8", "surrogatepass")) > NAME_BYTES_MAX:
                raise UnfitRowError(f"the name {name[:40]!r}… takes over {NAME_BYTES_MAX} bytes")
            self._names.add(name)
            if name.endswith(_MEDIA_TYPE) and name != _MEDIA_TYPE:
                self._media_types.add(name)
        while name in values:  # once written with a dot and once nested: both are kept
            name += "'"
        values[name] = value


def decode_value(text: str) -> Any:
    """A JSON value with the bare words NaN and Infinity; what is none is kept as text."""
    try:
        if text[0] in "-0123456789" and ("." in text or "e" in text):
            return float(text)
        return json.loads(text)
    except (ValueError, RecursionError, IndexError):
        return text


def flattened(name: str, value: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """A nested dict by names joined with dots. What describes a file or a table stays one value."""
    if not value or "_type" in value or depth >= _DEPTH_MAX:
        yield name, dict(value)
        return
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from flattened(f"{name}.{key}", inner, depth + 1)
        else:
            yield f"{name}.{key}", inner


def _typed(item: HistoryItem) -> Any:
    kind = item.WhichOneof("value")
    if kind is None or kind == "none":
        return decode_value(item.value_json) if kind is None and item.value_json else None
    if kind == "json":
        return decode_value(item.json)
    return getattr(item, kind)


def _number(value: Any, default: float) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return default
