"""What the reading sections ask about: runs as they are logged, interleaved by commits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kelt_proto.v1 import record_pb2
from measuring.feed import BEGAN_AT, Door, Run, curves

PROJECT = "bench"
TABLE_PROJECT = "table"
METRICS = tuple(f"train/metric_{number:02}" for number in range(20))
#: About a second of a fast loop; every commit holds rows of all metrics.
_ROWS_A_PUSH = 1_000
_RUNS_A_PUSH = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Of the data sets.

    Attributes:
        long_rows: rows of the one long run.
        runs, run_rows: runs of one chart, logged side by side, and the rows of each.
        depth, depth_rows: forks of forks, and the rows that each adds to the history.
        table_runs, columns: runs of a table; so many config values and as many metrics.
    """

    long_rows: int
    runs: int
    run_rows: int
    depth: int
    depth_rows: int
    table_runs: int
    columns: int


FULL = Sizes(
    long_rows=1_000_000,
    runs=100,
    run_rows=10_000,
    depth=100,
    depth_rows=1_000,
    table_runs=10_000,
    columns=100,
)
QUICK = Sizes(
    long_rows=5_000, runs=5, run_rows=200, depth=5, depth_rows=50, table_runs=50, columns=5
)


def fill(door: Door, sizes: Sizes) -> None:
    """All of them."""
    long_run(door, sizes.long_rows)
    side_by_side(door, sizes.runs, sizes.run_rows)
    forks(door, sizes.depth, sizes.depth_rows)
    table(door, sizes.table_runs, sizes.columns)


def long_run(door: Door, rows: int, *, run_id: str = "long") -> None:
    """One run of many rows."""
    run = Run(PROJECT, run_id, METRICS)
    door.push([run.opened()])
    for batch in _row_batches(run, 0, rows):
        door.push([batch])
    door.push([run.ended()])


def side_by_side(door: Door, count: int, rows: int) -> None:
    """Runs that log at the same time."""
    runs = [Run(PROJECT, f"seed-{number:03}", METRICS) for number in range(count)]
    door.push([run.opened({"seed": number}) for number, run in enumerate(runs)])
    share = max(1, _ROWS_A_PUSH // 10)
    for start in range(0, rows, share):
        size = min(share, rows - start)
        batches = [
            run.rows(*curves(start, size, len(METRICS), seed=number))
            for number, run in enumerate(runs)
        ]
        door.push(batches)
    door.push([run.ended() for run in runs])


def forks(door: Door, depth: int, rows: int) -> None:
    """A fork of a fork ..., each from before its parent's end, and a plain run of as many rows."""
    parent: Run | None = None
    for level in range(depth):
        run = Run(PROJECT, f"fork-{level:03}", METRICS, parent, level * rows - 1, BEGAN_AT + level)
        beyond = rows // 2 if level < depth - 1 else 0
        door.push([run.opened()])
        for batch in _row_batches(run, level * rows, rows + beyond):
            door.push([batch])
        door.push([run.ended()])
        parent = run
    long_run(door, depth * rows, run_id="plain")


def table(door: Door, runs: int, columns: int) -> None:
    """Short runs with much config and a summary value for each metric."""
    metrics = tuple(f"eval/metric_{number:03}" for number in range(columns))
    waiting: list[record_pb2.Batch] = []
    for number in range(runs):
        run = Run(TABLE_PROJECT, f"run-{number:05}", metrics, began_at=BEGAN_AT + 10 * number)
        config = {f"param_{key:03}": (number * (key + 7)) % 1009 / 8 for key in range(columns)}
        waiting += [
            run.opened({**config, "optimizer": ("adam", "sgd", "lion")[number % 3]}),
            run.rows(*curves(number, 2, columns, seed=number)),
            run.ended(),
        ]
        if len(waiting) >= 3 * _RUNS_A_PUSH:
            door.push(waiting)
            waiting = []
    if waiting:
        door.push(waiting)


def _row_batches(run: Run, first_step: int, rows: int) -> Iterator[record_pb2.Batch]:
    for start in range(first_step, first_step + rows, _ROWS_A_PUSH):
        size = min(_ROWS_A_PUSH, first_step + rows - start)
        yield run.rows(*curves(start, size, len(run.metrics)))
