"""Metrics in one DuckDB file. One thread writes; readers use cursors of their own.

A file that does not open, or whose small tables cannot be read, is the caller's to set aside
(`open_store` raises `StoreError`). The tables of rows are read through at start while the file is
small; in a large one damage is met by whoever reads or writes there, and noted beside the file, so
that the next start sets it aside.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import duckdb
import numpy as np
import pyarrow as pa

from kelt_server.errors import NewerStoreError, StoreError
from kelt_server.ingest.apply import RoutedBlock
from kelt_server.metrics import duckdb_pages, duckdb_schema
from kelt_server.metrics.duckdb_names import raw_name, read_names, text_of
from kelt_server.metrics.duckdb_packing import SLICE_POINTS_MAX, pack_slice
from kelt_server.metrics.duckdb_points import TABLES, SpanRow, Steps, points_sql, rows_sql
from kelt_server.metrics.duckdb_writes import STEP_BOUND, CommitTables, StreamKey, StreamState
from kelt_server.metrics.store import (
    Aggregate,
    Band,
    Bucket,
    Page,
    PageRequest,
    RowTotals,
    Span,
    Stream,
)

_Result = TypeVar("_Result")
_READ_THROUGH_BYTES_MAX = 256 * 2**20


def open_store(path: Path, *, memory_bytes_max: int) -> DuckDBStore:
    """Opens or makes the file.

    Raises:
        StoreError: it is damaged, or held by another process.
        NewerStoreError: a newer kelt, or a newer DuckDB, wrote it.
    """
    try:
        connection = duckdb.connect(str(path))
        connection.execute(f"SET memory_limit = '{memory_bytes_max // 2**20}MiB'")
        connection.execute("SET TimeZone = 'UTC'")
        _bring_up_to_date(connection, path)
        if path.stat().st_size <= _READ_THROUGH_BYTES_MAX:
            for table in ("rows", *TABLES):
                connection.execute(f"SELECT bit_xor(hash(t)) FROM {table} t").fetchall()  # noqa: S608
        return DuckDBStore(connection, path=path)
    except duckdb.Error as error:
        if "newer version of DuckDB" in str(error):  # never from damage: the header has a checksum
            raise NewerStoreError(path) from error
        raise StoreError(f"{path} cannot be opened: {_first_line(error)}") from error


def _bring_up_to_date(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Makes what an older format lacks, which adds to it alone; both or neither are changed."""
    connection.execute(duckdb_schema.META)
    (found,) = connection.execute("SELECT max(format) FROM meta").fetchall()[0]
    if found is not None and found > duckdb_schema.FORMAT:
        raise NewerStoreError(path)
    connection.execute("BEGIN")
    for statement in duckdb_schema.STATEMENTS:
        connection.execute(statement)
    if found is None:
        connection.execute("INSERT INTO meta VALUES (?)", [duckdb_schema.FORMAT])
    elif found < duckdb_schema.FORMAT:
        connection.execute("UPDATE meta SET format = ?", [duckdb_schema.FORMAT])
    connection.execute("COMMIT")


class DuckDBStore:
    """A `MetricsStore`.

    Mutable state, changed by the writing thread alone: the numbers of names, cursors and streams.
    Readers look into it without a lock. Names and cursors may be ahead of the file by one commit;
    streams are shown only once committed, as what is asked of the file is remembered by them.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, *, path: Path) -> None:
        self._path = path
        self._connection = connection
        self._writing = threading.Lock()
        self._packing = threading.Lock()
        self._packer: duckdb.DuckDBPyConnection | None = None
        self._committing_s = 0.0
        self._opening = threading.Lock()  # of cursors for readers
        self._load()

    def _load(self) -> None:
        fetch = self._connection.execute
        self._reader = self._connection.cursor()
        self._branches = read_names(fetch("SELECT number, name FROM branches").fetchall())
        self._writers = read_names(fetch("SELECT number, name FROM writers").fetchall())
        self._metrics = read_names(fetch("SELECT number, name FROM metrics").fetchall())
        self._cursors: dict[int, int] = dict(fetch("SELECT * FROM cursors").fetchall())
        self._streams: dict[StreamKey, StreamState] = {
            (row[0], row[1], row[2]): StreamState(*row[3:])
            for row in fetch("SELECT * FROM streams").fetchall()
        }
        self._visible: dict[int, dict[StreamKey, StreamState]] = {}
        self._show(self._streams)

    # -- writing -------------------------------------------------------------------------------

    def cursors(self, writer_ids: Collection[bytes]) -> dict[bytes, int]:
        """See MetricsStore."""
        numbers = {w: self._writers.numbers.get(w) for w in writer_ids}
        return {
            writer_id: self._cursors[number]
            for writer_id, number in numbers.items()
            if number is not None and number in self._cursors
        }

    def commit(self, blocks: Sequence[RoutedBlock], cursors: Mapping[bytes, int]) -> None:
        """See MetricsStore."""
        with self._writing:
            began = time.monotonic()
            try:
                self._commit(blocks, cursors)
            except (duckdb.Error, MemoryError, pa.ArrowException) as error:
                self._forget()
                raise self._failed("written", error) from error
            except BaseException:
                self._forget()
                raise
            finally:
                self._committing_s += time.monotonic() - began

    def _commit(self, blocks: Sequence[RoutedBlock], cursors: Mapping[bytes, int]) -> None:
        tables = CommitTables(
            branch_number=lambda name: self._branches.number(raw_name(name)),
            writer_number=self._writers.number,
            metric_number=lambda name: self._metrics.number(raw_name(name)),
            stream_state=self._stream_state,
        )
        for block in blocks:
            tables.add(block)
        for writer_id, committed_through in cursors.items():
            number = self._writers.number(writer_id)
            self._cursors[number] = max(committed_through, self._cursors.get(number, 0))
        connection = self._connection
        connection.execute("BEGIN")
        for table, names in (
            ("branches", self._branches),
            ("writers", self._writers),
            ("metrics", self._metrics),
        ):
            self._insert(table, names.new_rows())
        if blocks:
            self._insert("rows", tables.rows_table())
            self._insert("points", tables.points_table())
            self._insert("streams", self._stream_rows(tables.changed), replaces=True)
        numbers = [self._writers.numbers[writer_id] for writer_id in cursors]
        through = [self._cursors[number] for number in numbers]
        table = pa.table(
            {"writer": pa.array(numbers, pa.int32()), "through": pa.array(through, pa.int64())}
        )
        self._insert("cursors", table, replaces=True)
        connection.execute("COMMIT")
        self._show(tables.changed)
        for names in (self._branches, self._writers, self._metrics):
            names.settle()

    def _insert(self, name: str, table: pa.Table | None, *, replaces: bool = False) -> None:
        if table is None or not len(table):
            return
        self._connection.register("incoming", table)
        verb = "INSERT OR REPLACE" if replaces else "INSERT"
        sql = f"{verb} INTO {name} SELECT * FROM incoming"  # noqa: S608 # our own names
        self._connection.execute(sql)
        self._connection.unregister("incoming")

    def _stream_state(self, key: StreamKey) -> StreamState:
        return self._streams.setdefault(key, StreamState())

    def _show(self, changed: Collection[StreamKey]) -> None:
        """Lets readers see what has been committed; each look of theirs is at one whole dict."""
        for key in changed:
            of_branch = self._visible.get(key[0], {})
            self._visible[key[0]] = of_branch | {key: replace(self._streams[key])}

    def _stream_rows(self, changed: Collection[StreamKey]) -> pa.Table:
        states = [(key, self._streams[key]) for key in changed]
        return pa.table(
            {
                "branch": pa.array([key[0] for key, _ in states], pa.int32()),
                "writer": pa.array([key[1] for key, _ in states], pa.int32()),
                "relative": pa.array([key[2] for key, _ in states], pa.int8()),
                "parts": pa.array([state.parts for _, state in states], pa.int64()),
                "step_min": pa.array([state.step_min for _, state in states], pa.int64()),
                "step_max": pa.array([state.step_max for _, state in states], pa.int64()),
                "has_repeats": pa.array([state.has_repeats for _, state in states], pa.bool_()),
                "down": pa.array([state.rows_step_went_down for _, state in states], pa.int64()),
            }
        )

    def _forget(self) -> None:
        """After a failed commit what is in memory is taken from the file again."""
        with contextlib.suppress(duckdb.Error):  # no transaction, or a database to open again
            self._connection.rollback()
        try:
            self._load()
        except duckdb.Error:
            self._reopen()

    def _reopen(self) -> None:
        """DuckDB invalidates a database after a fatal error; what was committed is still there."""
        try:
            self._reader.close()
            self._connection.close()
            self._connection = duckdb.connect(str(self._path))
            self._load()
        except duckdb.Error as error:
            raise StoreError(f"{self._path} cannot be opened: {_first_line(error)}") from error

    def close(self) -> None:
        """See MetricsStore."""
        packer = self._packer
        if packer is not None:
            packer.interrupt()  # what it had not committed stays where it was
        with self._packing, self._writing, self._opening:
            self._reader.close()
            self._connection.close()

    # -- packing -------------------------------------------------------------------------------

    @property
    def committing_s(self) -> float:
        """See MetricsStore."""
        return self._committing_s

    def unpacked_points(self) -> int:
        """See MetricsStore."""
        ((count,),) = self._read(lambda c: c.execute("SELECT count(*) FROM points").fetchall())
        return int(count)

    def pack(self, points_max: int = SLICE_POINTS_MAX) -> int:
        """See MetricsStore."""
        with self._packing:
            try:
                with self._opening:
                    self._packer = self._reader.cursor()
                try:
                    return pack_slice(self._packer, points_max)
                finally:
                    packer, self._packer = self._packer, None
                    packer.close()
            except duckdb.Error as error:
                raise self._failed("packed", error) from error

    # -- reading -------------------------------------------------------------------------------

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
        reason = f"{self._path} cannot be {what}: {_first_line(error)}"
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


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
