"""Points brought into the order of reading: seen by nobody, whole or not at all, beside all else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import anyio
import duckdb
import pytest
from server.stand import Stand
from server.streams import Stream, simple_run, writer_id

from kelt_proto.v1 import record_pb2
from kelt_server.counters import Counters
from kelt_server.errors import StoreError
from kelt_server.metrics import duckdb_packing
from kelt_server.packing import Packer, due

Open = Callable[[], AbstractContextManager[Stand]]


def corrected_run(rows: int = 30) -> Stream:
    """Every row has two parts that name one metric; a fork's parent, too."""
    stream = Stream(writer_id(1))
    stream.opened("proj", "run", "b", started_at=1.0, created=record_pb2.Created())
    for step in range(rows):
        stream.row(step, {"loss": step + 0.5, "name": f"n{step}"})
        stream.row(step, {"loss": step + 0.25, "big": 2**60 + step})
    return stream


def fork_of(stream: Stream, step: int) -> Stream:
    fork = Stream(writer_id(2))
    point = record_pb2.BranchPoint(project="proj", run_id="run", branch_id="b", step=step)
    fork.opened("proj", "fork", "f", started_at=2.0, forked=point)
    for own in range(step + 1, step + 6):
        fork.row(own, {"loss": -1.0, "other": True})
    return fork


def answers(stand: Stand) -> list[Any]:
    found: list[Any] = []
    for run in ("run", "fork"):
        where = ("-", "proj", run)
        found += [stand.rows(run), stand.rows(run, limit=7), stand.rows(run, metrics=["loss"])]
        found += [stand.rows(run, step_min=3, step_max=11), stand.run(run)["summary"]]
        found += [stand.reader.rows.keys(*where), stand.reader.summary_at(*where, 4)]
        found.append(
            stand.reader.rows.buckets(
                where, ["loss", "big"], number=7, step_min=None, step_max=None
            )
        )
    return found


def table_counts(stand: Stand) -> tuple[int, int]:
    cursor = stand.stores.metrics._connection.cursor()
    sql = "SELECT (SELECT count(*) FROM points), (SELECT count(*) FROM packed)"
    ((points, packed),) = cursor.execute(sql).fetchall()
    return points, packed


@pytest.mark.parametrize("slice_points", [1, 7, 50, 10_000])
def test_no_answer_changes_by_packing(open_stand: Open, slice_points: int) -> None:
    stream = corrected_run()
    with open_stand() as stand:
        stand.push(stream.batches() + fork_of(stream, 12).batches())
        before, (points, _) = answers(stand), table_counts(stand)
        moved = stand.stores.metrics.pack(slice_points)
        assert moved == min(slice_points, points)
        assert table_counts(stand) == (points - moved, moved)
        assert answers(stand) == before
        while stand.stores.metrics.pack(slice_points):
            pass
        assert table_counts(stand) == (0, points)
        assert answers(stand) == before
    with open_stand() as stand:
        assert answers(stand) == before
        assert stand.stores.metrics.unpacked_points() == 0


def test_a_correction_that_comes_after_packing_holds(stand: Stand) -> None:
    stream = simple_run(row_count=5)
    stand.push(stream.batches())
    stand.stores.metrics.pack()
    first = stream.last_seq + 1
    stream.row(2, {"loss": -7.0})
    stand.push([stream.batch(first, stream.last_seq)])
    for _ in range(2):
        values = [row["values"]["loss"] for row in stand.rows("run")]
        assert values == [0.5, 1.5, -7.0, 3.5, 4.5]
        stand.stores.metrics.pack()


class Failing:
    """A cursor whose n-th statement fails."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, number: int) -> None:
        self._cursor = cursor
        self.left = number

    def execute(self, *arguments: Any) -> duckdb.DuckDBPyConnection:
        self.left -= 1
        if self.left == 0:
            raise duckdb.Error("no space left")
        return self._cursor.execute(*arguments)


@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_a_slice_that_fails_at_any_statement_changes_nothing(stand: Stand, number: int) -> None:
    stand.push(corrected_run().batches())
    before = table_counts(stand)
    failing = Failing(stand.stores.metrics._connection.cursor(), number)
    with pytest.raises(duckdb.Error, match="no space left"):
        duckdb_packing.pack_slice(failing, 20)  # type: ignore[arg-type]
    assert table_counts(stand) == before
    assert stand.stores.metrics.pack(20) == 20


def test_commits_and_readers_go_on_beside_packing(stand: Stand) -> None:
    stream = simple_run(row_count=2000)
    stand.push([stream.batch(1, 101)])
    is_done, seen, failures = threading.Event(), [], []

    def guarded(work: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            try:
                while not is_done.is_set():
                    work()
            except BaseException as error:  # noqa: BLE001 # told by the test
                failures.append(error)

        return run

    def read() -> None:
        steps = [row["step"] for row in stand.rows("run", metrics=["loss"])]
        assert steps == list(range(len(steps)))
        seen.append(len(steps))

    threads = [
        threading.Thread(target=guarded(work))
        for work in (read, lambda: stand.stores.metrics.pack(64))
    ]
    for thread in threads:
        thread.start()
    for first in range(102, 2002, 50):
        stand.push([stream.batch(first, min(first + 49, 2001))])
    is_done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert seen == sorted(seen)
    assert [row["step"] for row in stand.rows("run")] == list(range(2000))
    assert sum(table_counts(stand)) == 2000


def test_a_store_of_format_1_is_opened_read_and_packed(tmp_path: Path) -> None:
    stream = corrected_run()
    with Stand.opened(tmp_path) as stand:
        stand.push(stream.batches() + fork_of(stream, 12).batches())
        before = answers(stand)
    with duckdb.connect(str(tmp_path / "metrics.duckdb")) as connection:
        connection.execute("DROP TABLE packed")
        connection.execute("UPDATE meta SET format = 1")
    with Stand.opened(tmp_path) as stand:
        assert stand.stores.damaged == ()
        assert answers(stand) == before
        assert stand.stores.metrics.pack(10) == 10
        assert answers(stand) == before
    with duckdb.connect(str(tmp_path / "metrics.duckdb")) as connection:
        assert connection.execute("SELECT format FROM meta").fetchall() == [(2,)]


def test_a_closed_store_says_so_instead_of_packing(open_stand: Open) -> None:
    with open_stand() as stand:
        stand.push(simple_run(row_count=5).batches())
        metrics = stand.stores.metrics
    with pytest.raises(StoreError):
        metrics.pack()


def test_a_busy_server_packs_only_what_is_urgent() -> None:
    assert not due(0, 0.0)
    assert not due(1_000_000, 0.0)
    assert due(2_000_000, 0.1)
    assert not due(2_000_000, 0.9)
    assert due(40_000_000, 0.9)


class FakeMetrics:
    committing_s = 0.0

    def __init__(self, waiting: int, *, fails: bool = False) -> None:
        self.waiting = waiting
        self.fails = fails

    def unpacked_points(self) -> int:
        return self.waiting

    def pack(self) -> int:
        if self.fails:
            raise StoreError("full")
        moved = min(self.waiting, 4_000_000)
        self.waiting -= moved
        return moved


@pytest.mark.parametrize("fails", [False, True])
def test_the_packer_packs_until_little_is_left_and_outlives_a_failure(fails: bool) -> None:
    metrics, counters = FakeMetrics(9_000_000, fails=fails), Counters()

    async def run() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Packer(metrics=metrics, counters=counters, every_s=0.001).run)
            with anyio.fail_after(60):
                while not (counters.packs_failed or metrics.waiting < 2_000_000):  # noqa: ASYNC110 # counters tell nobody
                    await anyio.sleep(0.005)
            tasks.cancel_scope.cancel()

    anyio.run(run)
    assert (counters.points_packed, counters.packs_failed) == ((0, 1) if fails else (8_000_000, 0))
