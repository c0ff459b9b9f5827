"""What the columns of a table of rows are. Pure.

A metric's values may be of several kinds, and their kinds are known only once all rows are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

#: As `scan_history` gives it.
Row = Mapping[str, Any]
#: What every row has, first, under the names of `scan_history`.
ROW_COLUMNS = ("_step", "_timestamp", "_runtime")
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_EXACT_MAX = 2**53


class ColumnType(Enum):
    """How the values of a column are written."""

    INT = "int64"
    FLOAT = "float64"
    BOOL = "bool"
    TEXT = "text"
    JSON = "json"


@dataclass(slots=True)
class _Seen:
    """Which kinds of values a metric has had."""

    has_int: bool = False
    #: Integers that a float does not hold exactly.
    has_long_int: bool = False
    has_float: bool = False
    has_bool: bool = False
    has_text: bool = False
    has_other: bool = False

    def take(self, value: Any) -> None:
        kind = type(value)
        if kind is float:
            self.has_float = True
        elif kind is int and _INT_MIN <= value <= _INT_MAX:
            self.has_int = True
            self.has_long_int |= not -_EXACT_MAX <= value <= _EXACT_MAX
        elif kind is bool:
            self.has_bool = True
        elif kind is str and _is_unicode(value):
            self.has_text = True
        elif value is not None:
            self.has_other = True

    @property
    def type(self) -> ColumnType:
        has_number = self.has_int or self.has_float
        if self.has_other or has_number + self.has_bool + self.has_text > 1:
            return ColumnType.JSON
        if self.has_float:
            return ColumnType.JSON if self.has_long_int else ColumnType.FLOAT
        if self.has_int:
            return ColumnType.INT
        return ColumnType.BOOL if self.has_bool else ColumnType.TEXT


class ColumnTypes:
    """Learns the columns of a table from its rows."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def take(self, row: Row) -> None:
        """A row, as `scan_history` gives it."""
        for name, value in row.items():
            if (seen := self._seen.get(name)) is None:
                seen = self._seen[name] = _Seen()
            seen.take(value)

    def settled(
        self, wanted: Iterable[str] | None = None, *, row_columns: Iterable[str] = ROW_COLUMNS
    ) -> dict[str, ColumnType]:
        """Each column and its type: those of the row first, then the metrics by name.

        Args:
            wanted: these metrics in this order, whether or not they were logged.
            row_columns: what every row has.
        """
        metrics = sorted(self._seen.keys() - set(ROW_COLUMNS)) if wanted is None else wanted
        columns = {
            name: ColumnType.INT if name == "_step" else ColumnType.FLOAT for name in row_columns
        }
        return columns | {
            name: self._seen[name].type if name in self._seen else ColumnType.TEXT
            for name in metrics
            if name not in columns
        }


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates, which JSON alone can hold
        return False
    return True
