"""A run's rows as one file: JSON lines, CSV or Parquet (formats: the package's description)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from kelt.exporting.columns import ColumnType, ColumnTypes
from kelt.exporting.placing import ExportError

#: Of a Parquet row group, so that many columns do not make it large.
_GROUP_CELLS_MAX = 2_000_000
_GROUP_ROWS_MAX = 65_536

Row = Mapping[str, Any]


def write_jsonl(path: Path, rows: Iterable[Row]) -> tuple[int, ColumnTypes]:
    """Writes rows as JSON lines; returns how many they were, and the columns that they have."""
    types = ColumnTypes()
    count = 0
    with path.open("x", encoding="ascii") as out:
        for row in rows:
            types.take(row)
            out.write(json.dumps(row) + "\n")
            count += 1
    return count, types


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


def write_parquet(
    path: Path, rows: Iterable[Row], columns: Mapping[str, ColumnType], about: str
) -> None:
    """Writes rows as Parquet.

    Args:
        path: the new file.
        rows: the run's.
        columns: all that it shall have.
        about: what else is known of the run, as JSON.

    Raises:
        ExportError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 # optional, and slow to load
        import pyarrow.parquet as pq  # noqa: PLC0415 # as above
    except ImportError:
        raise ExportError(
            "Parquet files need pyarrow, which is not installed here. Run: pip install "
            "'kelt[parquet]', or choose --format csv or jsonl."
        ) from None
    types = {
        ColumnType.INT: pa.int64(), ColumnType.FLOAT: pa.float64(), ColumnType.BOOL: pa.bool_(),
        ColumnType.TEXT: pa.string(), ColumnType.JSON: pa.string(),
    }  # fmt: skip
    fields = [
        pa.field(
            name.encode("utf-8", "backslashreplace").decode(),
            types[column],
            metadata={"kelt": "json"} if column is ColumnType.JSON else None,
        )
        for name, column in columns.items()
    ]
    schema = pa.schema(fields, metadata={"kelt": about})
    rows = iter(rows)
    group_rows = max(1, min(_GROUP_ROWS_MAX, _GROUP_CELLS_MAX // len(columns)))
    with pq.ParquetWriter(path, schema) as writer:
        while group := list(islice(rows, group_rows)):
            arrays = [
                pa.array(_cells(group, name, column), type=types[column])
                for name, column in columns.items()
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), len(group))


def _cells(rows: Sequence[Row], name: str, column: ColumnType) -> list[Any]:
    values = [row.get(name) for row in rows]
    if column is ColumnType.JSON:
        return [json.dumps(row[name]) if name in row else None for row in rows]
    if column is ColumnType.FLOAT:
        return [None if value is None else float(value) for value in values]
    return values
