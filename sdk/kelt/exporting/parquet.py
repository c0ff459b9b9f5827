"""A run's rows as a Parquet file (format: the package's description). pyarrow is optional."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from kelt.exporting.columns import ColumnType, Row
from kelt.exporting.placing import ExportError

#: Of a row group, so that many columns do not make it large.
_GROUP_CELLS_MAX = 2_000_000
_GROUP_ROWS_MAX = 65_536


def check_parquet() -> None:
    """Looks whether Parquet files can be written here.

    Raises:
        ExportError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415 # optional, and slow to load
    except ImportError:
        raise ExportError(
            "Parquet files need pyarrow, which is not installed here. Run: pip install "
            "'kelt[parquet]', or choose --format csv or jsonl."
        ) from None


def write_parquet(
    path: Path, tables: Iterable[Any], columns: Mapping[str, ColumnType], about: str
) -> int:
    """Writes tables below each other, and returns how many rows they have.

    Args:
        path: the new file.
        tables: of Arrow, with these columns.
        columns: all that the file shall have.
        about: what else is known of the run, as JSON.
    """
    import pyarrow as pa  # noqa: PLC0415 # optional
    import pyarrow.parquet as pq  # noqa: PLC0415 # as above

    from kelt.exporting.arrow_pages import ARROW_TYPES  # noqa: PLC0415 # as above

    fields = [
        pa.field(
            name.encode("utf-8", "backslashreplace").decode(),
            ARROW_TYPES[column],
            metadata={"kelt": "json"} if column is ColumnType.JSON else None,
        )
        for name, column in columns.items()
    ]
    schema = pa.schema(fields, metadata={"kelt": about})
    group_rows = max(1, min(_GROUP_ROWS_MAX, _GROUP_CELLS_MAX // len(columns)))
    rows = 0
    with pq.ParquetWriter(path, schema) as writer:
        for group in _groups(tables, group_rows):
            writer.write_table(pa.Table.from_arrays(group.columns, schema=schema), len(group))
            rows += len(group)
    return rows


def _groups(tables: Iterable[Any], rows_min: int) -> Iterator[Any]:
    """Tables joined until they are worth a row group: a page is a small one."""
    import pyarrow as pa  # noqa: PLC0415 # optional

    waiting: list[Any] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= rows_min:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def tables_of_rows(rows: Iterable[Row], columns: Mapping[str, ColumnType]) -> Iterator[Any]:
    """Rows as tables of Arrow."""
    import pyarrow as pa  # noqa: PLC0415 # optional

    from kelt.exporting.arrow_pages import ARROW_TYPES  # noqa: PLC0415 # as above

    rows = iter(rows)
    group_rows = max(1, min(_GROUP_ROWS_MAX, _GROUP_CELLS_MAX // len(columns)))
    while group := list(islice(rows, group_rows)):
        arrays = [
            pa.array(_cells(group, name, column), type=ARROW_TYPES[column])
            for name, column in columns.items()
        ]
        yield pa.Table.from_arrays(arrays, names=list(columns))


def _cells(rows: Sequence[Row], name: str, column: ColumnType) -> list[Any]:
    values = [row.get(name) for row in rows]
    if column is ColumnType.JSON:
        return [json.dumps(row[name]) if name in row else None for row in rows]
    if column is ColumnType.FLOAT:
        return [None if value is None else float(value) for value in values]
    return values
