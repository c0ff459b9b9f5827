"""MLflow's database, if it is SQLite: it is opened for reading alone."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from kelt.other_trackers.foreign_run import ForeignRunError, Tally
from kelt.other_trackers.mlflow.besides import KINDS, TRACE, Besides, local_folder
from kelt.other_trackers.mlflow.mlflow_run import MlflowRun
from kelt.other_trackers.point_sorting import Point

_MAGIC = b"SQLite format 3\0"
_TABLES = frozenset(("experiments", "runs", "metrics", "params", "tags"))
_FAR = 1.7976931348623157e308  # for infinity, which some of MLflow's databases cannot hold
_RUNS = """
    SELECT run_uuid FROM runs JOIN experiments USING (experiment_id)
    WHERE runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active'
    ORDER BY start_time, run_uuid
"""
_RUN = """
    SELECT experiments.name, runs.name, status, start_time, end_time
    FROM runs JOIN experiments USING (experiment_id) WHERE run_uuid = ?
"""
_ARTIFACTS = "SELECT COALESCE(artifact_uri, '') FROM runs WHERE run_uuid = ?"
#: Of tables that older versions do not have.
_INPUTS = "SELECT source_type FROM inputs WHERE :run IN (source_id, destination_id)"
_TRACES = """
    SELECT 1 FROM trace_request_metadata WHERE key = 'mlflow.sourceRun' AND value = :run
"""
_POINTS = "SELECT timestamp, step, key, value, is_nan FROM metrics WHERE run_uuid = ?"


def is_sql_store(path: Path) -> bool:
    """Whether a file is MLflow's database.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return False
    try:
        with _opened(path) as db:
            names = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    except ForeignRunError:
        return False
    return names >= _TABLES


@dataclass(frozen=True)
class SqlStore:
    """As `MlflowStore`."""

    path: Path

    def run_ids(self) -> list[str]:
        """The runs that are not deleted, oldest first."""
        with _opened(self.path) as db:
            return [run_id for (run_id,) in db.execute(_RUNS)]

    def read_run(self, run_id: str) -> MlflowRun:
        """As in `MlflowStore`."""
        with _opened(self.path) as db:
            found = db.execute(_RUN, (run_id,)).fetchone()
            if found is None:
                raise ForeignRunError(f"{self.path} holds no run {run_id} any more.")
            params, tags = (
                dict(db.execute(f"SELECT key, value FROM {table} WHERE run_uuid = ?", (run_id,)))  # noqa: S608 # our own words
                for table in ("params", "tags")
            )
        experiment, name, status, started_ms, ended_ms = found
        return MlflowRun(
            experiment=experiment,
            run_id=run_id,
            name=name or "",
            status=status or "",
            started_at=(started_ms or 0) / 1000,
            ended_at=(ended_ms or 0) / 1000,
            params=params,
            tags=tags,
            changed_at_ns=self.path.stat().st_mtime_ns,
        )

    def read_points(self, run_id: str, tally: Tally) -> Iterator[Point]:
        """As in `MlflowStore`."""
        with _opened(self.path) as db:
            try:
                yield from map(_point, db.execute(_POINTS, (run_id,)))
            except sqlite3.OperationalError:  # such as a lock that is held for long
                raise
            except sqlite3.DatabaseError as error:
                tally.lost_rows += 1
                tally.damage = f"MLflow's database is damaged ({error}); later values are missing"

    def besides(self, run_id: str) -> Besides:
        """As in `MlflowStore`."""
        with _opened(self.path) as db:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
            (uri,) = db.execute(_ARTIFACTS, (run_id,)).fetchone() or ("",)
            folder = local_folder(uri, self.path.parent, self.path.parent)
            found = Besides(artifact_uri=uri, artifact_folder=folder)
            if "inputs" in tables:
                for (kind,) in db.execute(_INPUTS, {"run": run_id}):
                    found.counts[KINDS.get(kind, "input")] += 1
            if "trace_request_metadata" in tables:
                for _ in db.execute(_TRACES, {"run": run_id}):
                    found.counts[TRACE] += 1
        return found

    def version(self, _run_id: str) -> dict[str, int]:
        """As in `MlflowStore`: any run's change, as one cannot be told from another's."""
        files = (self.path, Path(f"{self.path}-wal"))
        found = [path.stat() for path in files if path.exists()]
        return {
            "size_bytes": sum(status.st_size for status in found),
            "mtime_ns": max(status.st_mtime_ns for status in found),
        }


def _point(row: tuple[int, int, str, float | None, int]) -> Point:
    at_ms, step, key, value, is_nan = row
    number = math.nan if is_nan or value is None else float(value)
    if abs(number) >= _FAR:
        number = math.copysign(math.inf, number)
    return Point(at_ms / 1000, step, key, number)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
            yield db
    except sqlite3.Error as error:
        raise ForeignRunError(
            f"{path} cannot be read as MLflow's database ({error}). Repair it (sqlite3 .recover), "
            "or copy it again."
        ) from error
