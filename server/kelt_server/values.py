"""Values between stores, JSON and people.

JSON has no NaN and no infinities: `{"$float": "NaN"}` stands for them (`kelt_server.api`).
Integers of any size and texts with lone surrogates are written too, by the standard library where
orjson refuses them.
"""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

from kelt_proto.v1.rows import ColumnKind
from kelt_server.ingest.blocks import KIND_ESCAPED_TEXT
from kelt_server.metrics.store import Cell

_ALREADY_PLAIN = frozenset({str, int, bool, type(None)})
_NON_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def cell_value(cell: Cell) -> Any:
    """The value as it was logged."""
    return cell_parts_value(cell.kind, cell.value, cell.text)


def cell_parts_value(kind: int, value: float, text: str | None) -> Any:
    """As `cell_value`, from the parts."""
    if kind == ColumnKind.FLOAT:
        return value
    if kind == ColumnKind.INT:
        return int(text) if text else int(value)
    if kind == ColumnKind.BOOL:
        return bool(value)
    if kind == ColumnKind.TEXT:
        return text or ""
    if kind in (ColumnKind.JSON, KIND_ESCAPED_TEXT):
        return json.loads(text or "null")
    return None


def plain(value: Any) -> Any:
    """The value with what JSON lacks written out, all the way down."""
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": _NON_FINITE[repr(value)]}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {
            str(key): item if type(item) in _ALREADY_PLAIN else plain(item)
            for key, item in value.items()
        }
    return value


def to_json(document: Any) -> bytes:
    """A JSON document whose floats are finite (see `plain`)."""
    try:
        return orjson.dumps(document)
    except TypeError:  # an integer beyond 64 bits, or a lone surrogate
        return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
