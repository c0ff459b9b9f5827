"""Values into rows of a spool. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from kelt.wandb_files.row_building import BuiltRow
from kelt_proto.v1.rows import (
    FLAG_STEP_WENT_DOWN,
    INLINE_SCHEMA_ID,
    NAME_BYTES_MAX,
    SCHEMAS_MAX,
    STEP_MAX,
    ColumnKind,
    RowHeader,
    Schema,
    Value,
    encode_row,
)

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_KINDS: Mapping[type, ColumnKind] = {
    float: ColumnKind.FLOAT,
    bool: ColumnKind.BOOL,
    type(None): ColumnKind.NONE,
    str: ColumnKind.TEXT,
}


def is_fit(step: int, name: str) -> bool:
    """Whether kelt can hold a value of this name at this step."""
    return 0 <= step <= STEP_MAX and bool(name) and len(name.encode()) <= NAME_BYTES_MAX


class RowPacker:
    """Packs the rows of one writer, in their order.

    Args:
        started_at: Unix seconds, from which runtimes count.
    """

    def __init__(self, *, started_at: float) -> None:
        self.highest_step = -1
        self._started_at = started_at
        self._schemas: dict[tuple[tuple[str, ...], tuple[int, ...]], Schema] = {}

    def pack(self, step: int, timestamp: float, values: Mapping[str, Value]) -> BuiltRow:
        """One row. Step and names are fit (`is_fit`)."""
        names = tuple(sorted(values))
        row = [values[name] for name in names]
        schema = self._schema(names, tuple(map(_kind, row)))
        flags = FLAG_STEP_WENT_DOWN if step < self.highest_step else 0
        self.highest_step = max(self.highest_step, step)
        runtime = max(0.0, timestamp - self._started_at)
        header = RowHeader(schema.schema_id, flags, step, timestamp, runtime)
        payload = encode_row(schema, header, row)
        is_inline = schema.schema_id == INLINE_SCHEMA_ID
        return BuiltRow(payload, None if is_inline else schema, step, timestamp, names, row)

    def _schema(self, names: tuple[str, ...], kinds: tuple[int, ...]) -> Schema:
        if (known := self._schemas.get((names, kinds))) is not None:
            return known
        if len(self._schemas) >= SCHEMAS_MAX:
            return Schema(INLINE_SCHEMA_ID, names, kinds)
        made = self._schemas[names, kinds] = Schema(len(self._schemas), names, kinds)
        return made


def _kind(value: Value) -> int:
    if type(value) is int:
        return ColumnKind.INT if _INT_MIN <= value <= _INT_MAX else ColumnKind.JSON
    return _KINDS.get(type(value), ColumnKind.JSON)
