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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa

from kelt_server.errors import NewerStoreError, StoreError
from kelt_server.ingest.apply import RoutedBlock
from kelt_server.metrics import duckdb_schema
from kelt_server.metrics.duckdb_names import raw_name, read_names
from kelt_server.metrics.duckdb_packing import SLICE_POINTS_MAX, pack_slice, remove_rows
from kelt_server.metrics.duckdb_points import TABLES
from kelt_server.metrics.duckdb_reading import DuckDBReading, first_line
from kelt_server.metrics.duckdb_writes import CommitTables, StreamKey, StreamState

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
        raise StoreError(f"{path} cannot be opened: {first_line(error)}") from error


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


class DuckDBStore(DuckDBReading):
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

    def rename_branches(self, renamed: Mapping[str, str]) -> None:
        """See MetricsStore."""
        with self._writing:
            known = self._branches.numbers
            names = [
                (known[raw_name(former)], raw_name(new))
                for former, new in renamed.items()
                if raw_name(former) in known and raw_name(new) not in known
            ]
            if not names:
                return
            try:
                self._connection.execute("BEGIN")
                for number, name in names:
                    self._connection.execute(
                        "UPDATE branches SET name = ? WHERE number = ?", [name, number]
                    )
                self._connection.execute("COMMIT")
            except duckdb.Error as error:
                self._forget()
                raise self._failed("written", error) from error
            for number, name in names:
                self._branches.rename(number, name)

    def remove_branches(self, branch_ids: Collection[str]) -> None:
        """See MetricsStore."""
        found = (self._branches.numbers.get(raw_name(branch_id)) for branch_id in branch_ids)
        numbers = [number for number in found if number is not None]
        if not numbers:
            return
        with self._packing:  # which moves points of theirs otherwise
            try:
                with self._opening:
                    remover = self._reader.cursor()
                try:
                    remove_rows(remover, numbers)
                finally:
                    remover.close()
            except duckdb.Error as error:
                raise self._failed("removed", error) from error
        with self._writing:
            gone = {key for key in self._streams if key[0] in numbers}
            self._connection.execute("DELETE FROM streams WHERE branch IN $b", {"b": numbers})
            for key in gone:
                del self._streams[key]
                self._visible.pop(key[0], None)

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
            raise StoreError(f"{self._path} cannot be opened: {first_line(error)}") from error

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
