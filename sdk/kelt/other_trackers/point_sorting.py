"""Single values of a run into rows, in the order of time. SQLite sorts them, on the disk.

Trackers keep a series a metric. Values of one step that follow each other in time become one row;
should others of that step come later, they are further parts of it. Time is the order in which a
store only grows.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from kelt.errors import StorageError
from kelt.other_trackers.foreign_run import Tally
from kelt.other_trackers.rows import RowPacker, is_fit
from kelt.wandb_files.row_building import BuiltRow

_ROW_VALUES_MAX = 10_000
_ADD = "INSERT INTO points VALUES (?, ?, ?, ?)"
_TABLE = "CREATE TABLE points (at REAL, step INTEGER, name TEXT, value)"
_ORDERED = "SELECT at, step, name, value FROM points ORDER BY at, step, name, value"
_AGAIN = "SELECT COALESCE(SUM(n - 1), 0) FROM (SELECT COUNT(*) n FROM points GROUP BY name, step)"


class Point(NamedTuple):
    """One value of a metric.

    Attributes:
        at: Unix seconds.
        value: a float, a text, or JSON as bytes of what is neither.
    """

    at: float
    step: int
    name: str
    value: float | str | bytes


def sorted_rows(
    points: Iterable[Point],
    *,
    scratch: Path,
    packer: RowPacker,
    tally: Tally,
    settled_before: float = math.inf,
) -> Iterator[BuiltRow]:
    """The rows that points make.

    Args:
        points: of one run, in any order.
        scratch: a folder to sort in.
        packer: of the run.
        tally: to count in.
        settled_before: later points may not be all there yet, and wait for another time.

    Raises:
        StorageError: there is no room to sort in.
    """
    place = scratch / "points.db"
    try:
        with closing(sqlite3.connect(place, isolation_level=None)) as db:
            _fill(db, _fit(points, tally, settled_before))
            yield from _joined(db, packer, tally)
    except sqlite3.Error as error:
        raise StorageError(
            f"The points of a run cannot be sorted in {scratch} ({error}); free some disk."
        ) from error
    place.unlink()


def _fill(db: sqlite3.Connection, points: Iterator[Point]) -> None:
    # It is made anew each time, so nothing of it needs to survive.
    db.execute("PRAGMA journal_mode = OFF")
    db.execute("PRAGMA synchronous = OFF")
    db.execute(_TABLE)
    db.execute("BEGIN")
    db.executemany(_ADD, points)
    db.execute("COMMIT")


def _joined(db: sqlite3.Connection, packer: RowPacker, tally: Tally) -> Iterator[BuiltRow]:
    (highest,) = db.execute("SELECT MAX(step) FROM points").fetchone()
    (again,) = db.execute(_AGAIN).fetchone()
    # Who never says a step logs all at 0; their values are told apart by their order alone.
    is_counted = highest == 0 and again > 0
    if again and not is_counted:
        tally.not_carried["value that was logged again at its step"] += again
    at, step, count = 0.0, -1, 0
    values: dict[str, Any] = {}
    for found_at, found_step, name, raw in db.execute(_ORDERED):
        is_other = found_step != step or name in values or len(values) >= _ROW_VALUES_MAX
        if values and is_other:
            yield packer.pack(count if is_counted else step, at, values)
            values = {}
            count += 1
        at, step = found_at, found_step
        values[name] = _value(raw)
    if values:
        yield packer.pack(count if is_counted else step, at, values)
    tally.rows += count + bool(values)
    tally.ended_at = max(tally.ended_at, at)


def _value(raw: float | str | bytes | None) -> Any:
    if isinstance(raw, bytes):
        return json.loads(raw)
    return math.nan if raw is None else raw


def _fit(points: Iterable[Point], tally: Tally, settled_before: float) -> Iterator[Point]:
    """Points that can be rows. SQLite keeps NaN as NULL, which no point is otherwise."""
    waiting = 0
    for point in points:
        if point.at >= settled_before:
            waiting += 1
        elif not is_fit(point.step, point.name):
            tally.lost_rows += 1
            tally.damage = f"a value {point.name!r:.60} at step {point.step} cannot be one"
        else:
            yield point
    if waiting:
        tally.remarks.append(f"{waiting:,} of its newest values wait for the next sync")
