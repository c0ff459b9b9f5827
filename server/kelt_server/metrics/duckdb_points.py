"""Where the points of a history are read from: both tables of points, and little of them.

`points` holds what was committed lately, in the order of commits: rows of every metric lie
everywhere. `packed` holds the rest in long stretches sorted by branch, metric, stream and step
(`duckdb_packing`), so a metric of a branch is a few whole row groups. The engine skips row groups
by their least and greatest values, which it compares with constants: so branches and metrics are
written into the statement, and a history of one span, as most are, has no join at all.
"""
# ruff: noqa: S608 # built of integers of our own

from __future__ import annotations

from collections.abc import Collection, Sequence

from kelt_server.metrics import duckdb_schema

TABLES = ("points", "packed")
#: (branch, relative, writer or -1, shift, step_max, position), as the table `spans` has them.
SpanRow = tuple[int, int, int, int, int, int]
#: The first and the last step of a history, None for no limit.
Steps = tuple[int | None, int | None]


def points_sql(
    spans: Sequence[SpanRow],
    metrics: Collection[int] | None = None,
    *,
    steps: Steps = (None, None),
    is_merged: bool = False,
) -> str:
    """The points of a history with the `shift` and `position` of their span; `spans` is bound.

    Args:
        spans: as they are bound.
        metrics: those wanted, None for all.
        steps: the first and the last step of the history that are wanted.
        is_merged: of several parts of one row, the latest point of a metric alone.
    """
    columns = "t.branch, t.metric, t.writer, t.relative, t.step, t.seq, t.kind, t.value, t.text"
    source = _points_source(spans, metrics, steps)
    if len(spans) == 1:  # what is wanted of the steps is in the source already
        _, relative, writer, shift, step_max, position = spans[0]
        of_writer = "" if writer == -1 else f"AND t.writer = {writer}"
        sql = f"""SELECT {columns}, {shift}::BIGINT AS shift, {position}::BIGINT AS position
            FROM {source} t WHERE t.relative = {relative} AND t.step <= {step_max} {of_writer}"""
    else:
        sql = f"SELECT {columns}, s.shift, s.position FROM {source} t {duckdb_schema.JOIN_SPANS}"
        signs = zip((">=", "<="), steps, strict=True)
        wanted = [f"t.step + s.shift {sign} {step}" for sign, step in signs if step is not None]
        sql += f" WHERE {' AND '.join(wanted)}" if wanted else ""
    return duckdb_schema.LATEST_POINTS.format(points=sql) if is_merged else sql


def rows_sql(spans: Sequence[SpanRow], steps: Steps = (None, None)) -> str:
    """The table of rows without what constants rule out; what is left is to be joined."""
    return f"(SELECT * FROM rows {_where(_constants(spans, steps))})"


def _points_source(spans: Sequence[SpanRow], metrics: Collection[int] | None, steps: Steps) -> str:
    """Both tables of points, likewise."""
    tests = _constants(spans, steps)
    if metrics is not None:
        tests.append(f"metric IN ({', '.join(map(str, sorted(set(metrics))))})")
    where = _where(tests)
    return f"({' UNION ALL '.join(f'SELECT * FROM {table} {where}' for table in TABLES)})"


def _constants(spans: Sequence[SpanRow], steps: Steps) -> list[str]:
    """Of several spans the join itself tells the scan the least and the greatest branch."""
    if not spans:
        return ["false"]
    tests, (first, last) = [], steps
    if len(spans) == 1:
        tests.append(f"branch = {spans[0][0]}")
    if first is not None:
        tests.append(f"step >= {first - max(span[3] for span in spans)}")
    if last is not None:
        tests.append(f"step <= {last - min(span[3] for span in spans)}")
    return tests


def _where(tests: Sequence[str]) -> str:
    return f"WHERE {' AND '.join(tests)}" if tests else ""
