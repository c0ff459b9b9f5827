"""DuckDB alone on plain sorted tables: the least that the reading sections' questions cost.

No lineage, no writers, no repeats, no text values, no names to look up, no HTTP: what is left is
the engine. The tables are sorted by run, metric and step, as if all had been logged before.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from measuring.data_sets import METRICS, Sizes
from measuring.feed import curves

BUCKETS = """
    SELECT step // $width AS bucket, count(*), min(value), max(value), avg(value)
    FROM points WHERE run = $run AND metric = $metric GROUP BY bucket ORDER BY bucket
"""
BAND = """
    WITH one AS (
        SELECT run, step // $width AS bucket, avg(value) AS mean, min(value) AS low,
               max(value) AS high
        FROM points WHERE run BETWEEN $first AND $last AND metric = $metric
        GROUP BY run, bucket)
    SELECT bucket, count(*), avg(mean), stddev_samp(mean), min(low), max(high),
           quantile_cont(mean, [0.25, 0.5, 0.75])
    FROM one GROUP BY bucket ORDER BY bucket
"""


class Floor:
    """One DuckDB file of plain tables."""

    def __init__(self, path: Path, sizes: Sizes) -> None:
        self._connection = duckdb.connect(str(path))
        self._sizes = sizes
        self._fill()

    def _fill(self) -> None:
        execute = self._connection.execute
        execute("CREATE TABLE points (run INTEGER, metric INTEGER, step BIGINT, value DOUBLE)")
        sizes = self._sizes
        self._add_run(0, sizes.long_rows)
        for number in range(sizes.runs):
            self._add_run(1 + number, sizes.run_rows)
        numbers = np.arange(sizes.table_runs)
        columns = {"run": numbers} | {
            f"c{key}": (numbers * (key + 7)) % 1009 / 8 for key in range(2 * sizes.columns)
        }
        self._connection.register("incoming", pa.table(columns))
        execute("CREATE TABLE runs AS SELECT * FROM incoming")
        execute("CHECKPOINT")

    def _add_run(self, run: int, rows: int) -> None:
        steps, values = curves(0, rows, len(METRICS), seed=run)
        for metric in range(len(METRICS)):
            table = pa.table({"step": steps, "value": np.ascontiguousarray(values[:, metric])})
            self._connection.register("incoming", table)
            self._connection.execute(
                f"INSERT INTO points SELECT {run}, {metric}, step, value FROM incoming"
            )

    def buckets(self, number: int) -> float:
        """Milliseconds of one metric of the long run in so many buckets."""
        width = -(-self._sizes.long_rows // number)
        return self._ms(BUCKETS, {"run": 0, "metric": 7, "width": width})

    def band(self, number: int) -> float:
        """Milliseconds of one metric over the runs side by side."""
        width = -(-self._sizes.run_rows // number)
        last = self._sizes.runs
        return self._ms(BAND, {"first": 1, "last": last, "metric": 7, "width": width})

    def table(self) -> float:
        """Milliseconds of one page of the runs, filtered and sorted, with the total."""
        start = time.perf_counter()
        where = "WHERE c3 > 40 AND c150 < 100"
        where = where if self._sizes.columns > 75 else "WHERE c3 > 40"
        self._connection.execute(f"SELECT count(*) FROM runs {where}").fetchall()
        self._connection.execute(
            f"SELECT * FROM runs {where} ORDER BY c5 DESC LIMIT 100"
        ).fetchall()
        return (time.perf_counter() - start) * 1000

    def export(self) -> tuple[int, float]:
        """Points and milliseconds of taking all points out as Arrow, in order of run and step."""
        start = time.perf_counter()
        reader = self._connection.sql(
            "SELECT * FROM points WHERE run = 0 ORDER BY step, metric"
        ).to_arrow_reader(100_000)
        points = sum(len(batch) for batch in reader)
        return points, (time.perf_counter() - start) * 1000

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def _ms(self, sql: str, arguments: dict[str, Any]) -> float:
        start = time.perf_counter()
        self._connection.execute(sql, arguments).fetchall()
        return (time.perf_counter() - start) * 1000
