"""Questions to the metrics file: what readers ask of it, on cursors of their own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import duckdb
import numpy as np
import pyarrow as pa

from kelt_proto.v1.rows import ColumnKind
from kelt_server.errors import StoreError
from kelt_server.metrics import duckdb_pages, duckdb_schema
from kelt_server.metrics.duckdb_last_values import read_last_values
from kelt_server.metrics.duckdb_names import Names, raw_name, text_of
from kelt_server.metrics.duckdb_points import SpanRow, Steps, points_sql, rows_sql
from kelt_server.metrics.duckdb_writes import STEP_BOUND, StreamKey, StreamState
from kelt_server.metrics.store import (
    Aggregate,
    Band,
    Bucket,
    LastValues,
    MetricKind,
    Page,
    PageRequest,
    RowAt,
    RowTotals,
    Span,
    StampedRow,
    Stream,
)

_Result = TypeVar("_Result")


class DuckDBReading:
    """The reading half of a `MetricsStore`; `DuckDBStore` opens the file and changes what is here.

    Readers look into names and streams without a lock, at one whole dict of `_visible` each time.
    """

    _path: Path
    _reader: duckdb.DuckDBPyConnection
    _opening: threading.Lock
    _branches: Names
    _writers: Names
    _metrics: Names
    _visible: dict[int, dict[StreamKey, StreamState]]

    def streams(self, branch_ids: Collection[str]) -> dict[str, tuple[Stream, ...]]:
        """See MetricsStore."""
        found: dict[str, tuple[Stream, ...]] = {}
        for branch_id in branch_ids:
            number = self._branches.numbers.get(raw_name(branch_id))
            of_branch = {} if number is None else self._visible.get(number, {})
            found[branch_id] = tuple(
                Stream(
                    branch_id,
                    self._writers.names[key[1]],
                    bool(key[2]),
                    state.parts,
                    state.step_min,
                    state.step_max,
                    state.has_repeats,
                    state.rows_step_went_down,
                )
                for key, state in sorted(of_branch.items())
            )
        return found

    def highest_step(self, spans: Sequence[Span]) -> int:
        """See MetricsStore."""
        rows = self._span_rows(spans)
        if not rows:
            return -1
        sql = f"SELECT max(t.step + s.shift) FROM {rows_sql(rows)} t {duckdb_schema.JOIN_SPANS}"  # noqa: S608
        found = self._read(lambda c: c.execute(sql).fetchone(), spans=_spans_table(rows))
        return -1 if found is None or found[0] is None else int(found[0])

    def rows_at(self, spans: Sequence[Span], step: int) -> list[RowAt]:
        """See MetricsStore."""
        rows = self._span_rows(spans)
        sql = f"""SELECT t.writer, t.seq, t.timestamp
            FROM {rows_sql(rows, (step, step))} t {duckdb_schema.JOIN_SPANS}
            WHERE t.step + s.shift = {step}"""  # noqa: S608 # integers of our own
        found = self._read(lambda c: c.execute(sql).fetchall(), spans=_spans_table(rows))
        writers = self._writers.names
        return sorted(
            (RowAt(writers[writer], seq, at) for writer, seq, at in found),
            key=lambda row: (row.writer_id, row.seq),
        )

    def stamps(
        self,
        branch_ids: Collection[str],
        *,
        step_min: int,
        step_max: int,
        times: tuple[float, float] | None = None,
    ) -> list[StampedRow]:
        """See MetricsStore."""
        rows = self._span_rows([Span(branch_id, 0) for branch_id in branch_ids])
        sql = f"""SELECT t.branch, t.step, t.timestamp, t.writer
            FROM {rows_sql(rows, (step_min, step_max))} t {duckdb_schema.JOIN_SPANS}
            WHERE t.step BETWEEN {step_min} AND {step_max}"""  # noqa: S608 # integers of our own
        if times is not None:
            sql += " AND t.timestamp BETWEEN ? AND ?"
        found = self._read(lambda c: c.execute(sql, times).fetchall(), spans=_spans_table(rows))
        names, writers = self._branches.names, self._writers.names
        return [
            StampedRow(text_of(names[branch]), step, at, writers[writer])
            for branch, step, at, writer in found
        ]

    def totals(self, spans: Sequence[Span]) -> list[RowTotals]:
        """See MetricsStore."""
        rows = self._span_rows(spans)
        sql = duckdb_schema.TOTALS.format(rows=rows_sql(rows))
        found = self._read(lambda c: c.execute(sql).fetchall(), spans=_spans_table(rows))
        return [
            RowTotals(
                text_of(self._branches.names[b]), self._writers.names[w], bool(relative), *rest
            )
            for b, w, relative, *rest in found
        ]

    def aggregates(self, spans: Sequence[Span]) -> list[Aggregate]:
        """See MetricsStore."""
        rows = self._span_rows(spans)
        points = points_sql(rows, is_merged=self._have_repeats(spans))
        sql = duckdb_schema.AGGREGATES.format(points=points)
        found = self._read(lambda c: c.execute(sql).fetchall(), spans=_spans_table(rows))
        branches, writers = self._branches.names, self._writers.names
        metrics = self._metrics.names
        return [
            Aggregate(
                text_of(branches[branch]),
                writers[writer],
                bool(lane),
                text_of(metrics[metric]),
                *rest,
            )
            for branch, writer, lane, metric, *rest in found
        ]

    def last_values(self, spans: Sequence[Span]) -> list[LastValues]:
        """See MetricsStore."""
        rows = self._span_rows(spans)
        branches, writers, metrics = self._branches.names, self._writers.names, self._metrics.names
        return self._read(
            lambda c: read_last_values(
                c, rows, branches=branches, writers=writers, metrics=metrics
            ),
            spans=_spans_table(rows),
        )

    def page(self, request: PageRequest) -> Page:
        """See MetricsStore."""
        metrics = None
        if request.metrics is not None:
            metrics = [self._metrics.numbers.get(raw_name(name)) for name in request.metrics]
            if any(number is None for number in metrics):
                return duckdb_pages.empty_page()
        rows = self._span_rows(request.spans)
        ranks = self._ranks_table(request.ranks)
        names = duckdb_pages.Names(self._branches.names, self._writers.names, self._metrics.names)
        return self._read(
            lambda c: duckdb_pages.read_page(c, request, rows, metrics, names),
            spans=_spans_table(rows),
            ranks=ranks,
        )

    def _ranks_table(self, ranks: Mapping[bytes, int]) -> pa.Table:
        numbers = self._writers.numbers
        known = [(numbers[w], rank) for w, rank in ranks.items() if w in numbers]
        return pa.table(
            {
                "writer": pa.array([number for number, _ in known], pa.int32()),
                "rank": pa.array([rank for _, rank in known], pa.int64()),
            }
        )

    def buckets(
        self, spans: Sequence[Span], metrics: Sequence[str], *, start: int, width: int, number: int
    ) -> list[Bucket]:
        """See MetricsStore."""
        rows, known = self._span_rows(spans), self._numbers_of(metrics)
        if not known:
            return []
        merged = self._have_repeats(spans)
        steps = self._narrowed(spans, start, start + width * number - 1)
        points = points_sql(rows, known, steps=steps, is_merged=merged)
        metric = str(known[0]) if len(known) == 1 else "metric"  # grouping by one number is free
        sql = duckdb_schema.BUCKETS.format(points=points, metric=metric)
        arguments = {"start": start, "width": width}
        table = _spans_table(rows)
        found = self._read(lambda c: c.execute(sql, arguments).fetchall(), spans=table)
        return [Bucket(text_of(self._metrics.names[metric]), *rest) for metric, *rest in found]

    def bands(
        self,
        groups: Sequence[Sequence[Sequence[Span]]],
        metrics: Sequence[str],
        *,
        start: int,
        width: int,
        number: int,
        quantiles: Sequence[float],
    ) -> list[Band]:
        """See MetricsStore."""
        runs = [(group, one) for group, of_group in enumerate(groups) for one in of_group]
        spans = [replace(span, position=run) for run, (_, one) in enumerate(runs) for span in one]
        rows, known = self._span_rows(spans), self._numbers_of(metrics)
        if not known:
            return []
        steps = self._narrowed(spans, start, start + width * number - 1)
        points = points_sql(rows, known, steps=steps, is_merged=self._have_repeats(spans))
        metric = str(known[0]) if len(known) == 1 else "metric"
        sql = duckdb_schema.BANDS.format(points=points, metric=metric)
        arguments = {"start": start, "width": width, "quantiles": list(quantiles)}
        members = pa.table({"run": range(len(runs)), "group": [group for group, _ in runs]})
        found = self._read(
            lambda c: c.execute(sql, arguments).fetchall(),
            spans=_spans_table(rows),
            members=members,
        )
        names = self._metrics.names
        return [Band(text_of(names[metric]), *rest) for metric, *rest in found]

    def names_total(self) -> int:
        """See MetricsStore."""
        return len(self._metrics.numbers)

    def metric_names(self, spans: Sequence[Span]) -> list[str]:
        """See MetricsStore."""
        rows = self._span_rows(spans)
        sql = f"SELECT DISTINCT metric FROM ({points_sql(rows)})"  # noqa: S608
        found = self._read(lambda c: c.execute(sql).fetchall(), spans=_spans_table(rows))
        return sorted(text_of(self._metrics.names[number]) for (number,) in found)

    def metric_kinds(self, spans: Sequence[Span]) -> list[MetricKind]:
        """See MetricsStore."""
        rows = self._span_rows(spans)
        first_char = f"CASE kind WHEN {ColumnKind.JSON} THEN left(text, 1) ELSE '' END"
        points = points_sql(rows)
        sql = f"""SELECT metric, kind, {first_char}, count(*) FROM ({points})
            GROUP BY ALL ORDER BY ALL"""  # noqa: S608
        found = self._read(lambda c: c.execute(sql).fetchall(), spans=_spans_table(rows))
        names = self._metrics.names
        return [MetricKind(text_of(names[metric]), *rest) for metric, *rest in found]

    def _numbers_of(self, metrics: Sequence[str]) -> list[int]:
        numbers = (self._metrics.numbers.get(raw_name(name)) for name in metrics)
        return [number for number in numbers if number is not None]

    def _narrowed(self, spans: Sequence[Span], first: int, last: int) -> Steps:
        """The range as far as it leaves anything out: a test that all rows pass is not cheap."""
        streams = self.streams({span.branch_id for span in spans})
        known = [(span, stream) for span in spans for stream in streams[span.branch_id]]
        lowest = min((stream.step_min + span.offset for span, stream in known), default=first)
        highest = max(
            (
                min(stream.step_max, stream.step_max if span.step_max is None else span.step_max)
                + span.offset
                for span, stream in known
            ),
            default=last,
        )
        return first if lowest < first else None, last if highest > last else None

    def _have_repeats(self, spans: Sequence[Span]) -> bool:
        streams = self.streams({span.branch_id for span in spans})
        return any(stream.has_repeats for of in streams.values() for stream in of)

    def _span_rows(self, spans: Sequence[Span]) -> list[SpanRow]:
        rows = []
        for span in spans:
            branch = self._branches.numbers.get(raw_name(span.branch_id))
            only = span.writer_id or span.absolute_of
            writer = -1 if only is None else self._writers.numbers.get(only)
            if branch is None or writer is None:
                continue
            limit = STEP_BOUND if span.step_max is None else min(span.step_max, STEP_BOUND)
            relative = int(span.writer_id is not None)
            rows.append((branch, relative, writer, span.offset, limit, span.position))
        return rows

    def _read(
        self, ask: Callable[[duckdb.DuckDBPyConnection], _Result], **tables: pa.Table
    ) -> _Result:
        try:
            with self._opening:
                cursor = self._reader.cursor()
            try:
                for name, table in tables.items():
                    cursor.register(name, table)
                return ask(cursor)
            finally:
                cursor.close()
        except duckdb.Error as error:
            raise self._failed("read", error) from error

    def _failed(self, what: str, error: BaseException) -> StoreError:
        """What is said of an error; damage is noted for the next start."""
        reason = f"{self._path} cannot be {what}: {first_line(error)}"
        if isinstance(error, duckdb.Error) and _is_damage(error, self._path):
            with contextlib.suppress(OSError):
                damage_note(self._path).write_text(reason, encoding="utf-8")
            reason += "; the server sets it aside when it is started again"
        return StoreError(reason)


def _spans_table(rows: Sequence[SpanRow]) -> pa.Table:
    columns = np.array(rows, dtype=np.int64).reshape(len(rows), 6)
    names = ("branch", "relative", "writer", "shift", "step_max", "position")
    return pa.table({name: columns[:, index] for index, name in enumerate(names)})


def damage_note(path: Path) -> Path:
    """Where it is noted that damage was met in a store while it was in use."""
    return path.with_name(f"{path.name}.damage-note")


def _is_damage(error: duckdb.Error, path: Path) -> bool:
    text = str(error).replace(str(path), "").lower()  # a folder may be called anything
    return "corrupt" in text or "checksum" in text


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return str(error).strip().split("\n", 1)[0]
