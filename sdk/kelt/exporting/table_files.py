"""A run as tables: its rows, and what else was asked for, in one folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kelt.exporting.columns import ROW_COLUMNS, ColumnTypes, Row
from kelt.exporting.formats import ExportFormat
from kelt.exporting.parquet import check_parquet, tables_of_rows, write_parquet
from kelt.exporting.server_run import ServerRun
from kelt.exporting.tables import read_jsonl, write_csv, write_jsonl

_SAMPLE_COLUMNS = ("_timestamp", "_runtime")


@dataclass(frozen=True, kw_only=True)
class TableWriter:
    """Writes tables of one format.

    Attributes:
        chosen: the format.
        scratch: a folder for what waits until all columns are known.
        about: what else is known of the run, as JSON, for formats that can hold it.
    """

    chosen: ExportFormat
    scratch: Path
    about: str

    def history(self, path: Path, source: ServerRun, keys: Sequence[str] | None) -> int:
        """The rows; returns how many. With keys, those that have any of them, with these alone."""
        if self.chosen is ExportFormat.PARQUET:
            check_parquet()
            if (pages := source.arrow_pages()) is not None:
                return self._from_pages(path, pages, keys)
        rows = source.rows()
        if keys is not None:
            rows = with_any(rows, keys)
        return self._rows(path, rows, keys)

    def samples(self, path: Path, source: ServerRun) -> int:
        """What was measured of the machine."""
        return self._rows(path, source.samples(), row_columns=_SAMPLE_COLUMNS)

    def _from_pages(self, path: Path, pages: Iterator[bytes], keys: Sequence[str] | None) -> int:
        from kelt.exporting.arrow_pages import PageSpool  # noqa: PLC0415 # optional

        place = self.scratch / "pages"
        spool = PageSpool(place, wanted=keys)
        spool.fill(pages)
        columns = spool.types.settled(keys)
        rows = write_parquet(path, spool.tables(columns), columns, self.about)
        place.unlink()
        return rows

    def _rows(
        self,
        path: Path,
        rows: Iterable[Row],
        keys: Sequence[str] | None = None,
        *,
        row_columns: Sequence[str] = ROW_COLUMNS,
    ) -> int:
        if self.chosen is ExportFormat.JSONL:
            return write_jsonl(path, rows)
        lines = self.scratch / "rows"
        types = ColumnTypes()
        count = write_jsonl(lines, rows, types)
        columns = types.settled(keys, row_columns=row_columns)
        if self.chosen is ExportFormat.CSV:
            write_csv(path, read_jsonl(lines), columns)
        else:
            write_parquet(path, tables_of_rows(read_jsonl(lines), columns), columns, self.about)
        lines.unlink()
        return count


def write_console(path: Path, source: ServerRun) -> int:
    """The lines of the console as JSON lines; returns how many."""
    count = 0
    with path.open("x", encoding="ascii") as out:
        for count, line in enumerate(source.console(), start=1):  # noqa: B007 # the last is wanted
            at = None if line.timestamp is None else line.timestamp.timestamp()
            said = {
                "number": line.number,
                "timestamp": at,
                "stream": "stderr" if line.level == "error" else "stdout",
                "label": line.label,
                "text": line.content,
            }
            out.write(json.dumps(said) + "\n")
    return count


def write_files(folder: Path, source: ServerRun) -> int:
    """The files of a run under their paths; returns how many."""
    found = source.files()
    for file in found:
        file.download(folder)
    return len(found)


def with_any(rows: Iterator[Row], keys: Sequence[str]) -> Iterator[Row]:
    """The rows that have any of some metrics, with these alone."""
    wanted = set(keys)
    kept = wanted.union(ROW_COLUMNS)
    return (
        {name: value for name, value in row.items() if name in kept}
        for row in rows
        if not wanted.isdisjoint(row)
    )
