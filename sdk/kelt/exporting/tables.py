"""A run's rows as one file of JSON lines or CSV (formats: the package's description)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kelt.exporting.columns import ColumnType, ColumnTypes, Row


def write_jsonl(path: Path, rows: Iterable[Row], types: ColumnTypes | None = None) -> int:
    """Writes rows as JSON lines; returns how many they were.

    Args:
        path: the new file.
        rows: what goes into it.
        types: learns the columns, where somebody wants to know them.
    """
    count = 0
    with path.open("x", encoding="ascii") as out:
        for row in rows:
            if types is not None:
                types.take(row)
            out.write(json.dumps(row) + "\n")
            count += 1
    return count


def read_jsonl(path: Path) -> Iterator[Row]:
    """The rows that `write_jsonl` wrote."""
    with path.open(encoding="ascii") as lines:
        yield from map(json.loads, lines)


def write_csv(path: Path, rows: Iterable[Row], columns: Mapping[str, ColumnType]) -> None:
    """Writes rows as CSV, in UTF-8."""
    with path.open("x", encoding="utf-8", errors="backslashreplace", newline="") as out:
        out.write(_csv_line(columns))
        for row in rows:
            out.write(_csv_line(row.get(name) for name in columns))


def _csv_line(values: Iterable[Any]) -> str:
    return ",".join(map(_csv_cell, values)) + "\n"


def _csv_cell(value: Any) -> str:
    """Texts are quoted, and nothing else is: "" is a text, and not what is missing."""
    if value is None:
        return ""
    if isinstance(value, str | list | dict):
        text = value if isinstance(value, str) else json.dumps(value)
        return '"' + text.replace('"', '""') + '"'
    return json.dumps(value)
