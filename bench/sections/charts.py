"""Charts and tables: what the server's read API answers, and how fast.

One server holds a run of 1 M rows of 20 metrics, 100 runs of 10,000 rows of 20 metrics that logged
side by side, a fork of a fork ... 100 deep beside a plain run of the same rows, and 10,000 short
runs with 100 config values and 100 metrics each. All came through the server's own ingest, in
pushes as a daemon makes them, so rows of all metrics lie interleaved as they were committed. It is
then left alone for a while, as between a training and a look at it.

Every round starts the server anew: "first" is the first question of its kind after the start (the
files are in the page cache of the system), "again" the same question once more. Beside them, in the
same round, stands the floor: DuckDB alone asked the same of a plain sorted table
(`measuring.floors`).

What limits: of buckets and bands, DuckDB's grouping of the points (half of it the floor's), then
asking the catalog for the family of the runs (3 ms, 9 ms of a fork 100 deep, whose spans are joined
besides). Of the table, Python's filter and sort over 10,000 documents; the first after a start
resolves them all, 0.7 ms of CPU a run of 200 values, as does a band whose runs are chosen by
filter. Of the export, half is DuckDB's merging of parts into rows and joining their points, the
rest making Arrow's lists; a page has a cost of its own, but none that grows with the run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from measuring import data_sets
from measuring.data_sets import PROJECT, TABLE_PROJECT
from measuring.feed import door
from measuring.floors import Floor
from measuring.processes import Server, server
from measuring.questions import Answer, Questions
from measuring.section import Bench, Goal
from measuring.spread import spread, table
from measuring.usage import usage_of

TITLE = "Charts, tables, export"

_KEY = "train/metric_07"
_BUCKETS = 1000
_PAGE_ROWS = 10_000
_SETTLE_S = 10
_KINDS = {
    "buckets": "one metric of 1 M steps in 1,000 buckets",
    "band": "mean and band of one metric over 100 runs of 10,000 steps",
    "table": "100 of 10,000 runs x 200 columns, filtered and sorted",
    "table_columns": "the same, of each run 6 columns alone",
    "plain_buckets": "buckets of 100,000 rows, a plain run",
    "fork_buckets": "buckets of 100,000 rows, a fork 100 deep",
    "plain_page": "10,000 rows of it as Arrow, a plain run",
    "fork_page": "10,000 rows of it as Arrow, a fork 100 deep",
}


def measure(bench: Bench) -> dict[str, Any]:
    """All questions, a server's start a round, and the export."""
    sizes = data_sets.QUICK if bench.is_quick else data_sets.FULL
    with server(bench.scratch) as running:
        with door(running.url) as ingest:
            data_sets.fill(ingest, sizes)
        time.sleep(0 if bench.is_quick else _SETTLE_S)
    floor = Floor(bench.scratch / "floor.duckdb", sizes)
    found: dict[str, dict[str, list[float]]] = {
        name: {"first": [], "again": [], "floor": []} for name in _KINDS
    }
    exports: list[dict[str, float]] = []
    try:
        for _ in range(bench.rounds):
            with server(bench.scratch) as running:
                _round(running, found, sizes)
                exports.append(_export(running, "long", floor))
            found["buckets"]["floor"].append(floor.buckets(_BUCKETS))
            found["band"]["floor"].append(floor.band(_BUCKETS))
            found["table"]["floor"].append(floor.table())
    finally:
        floor.close()
    return {"questions": found, "exports": exports}


def _round(
    running: Server, found: dict[str, dict[str, list[float]]], sizes: data_sets.Sizes
) -> None:
    questions = Questions(running.url)
    for name, ask in _questions(questions, sizes).items():
        for when in ("first", "again"):
            found[name][when].append(ask().ms)
    questions.close()


def _questions(questions: Questions, sizes: data_sets.Sizes) -> dict[str, Callable[[], Answer]]:
    deepest = f"fork-{sizes.depth - 1:03}"
    start = sizes.depth * sizes.depth_rows // 3

    def buckets(run: str) -> Callable[[], Answer]:
        route = f"/runs/-/{PROJECT}/{run}/buckets"
        return lambda: questions.ask(route, key=_KEY, buckets=_BUCKETS)

    def page(run: str) -> Callable[[], Answer]:
        route = f"/runs/-/{PROJECT}/{run}/history"
        return lambda: questions.ask(route, limit=_PAGE_ROWS, min_step=start, format="arrow")

    conditions: dict[str, Any] = {"config.param_003": {"$gt": 40}}
    if sizes.columns > 50:
        conditions["summary.eval/metric_050"] = {"$lt": 1.0}
    wanted = {
        "project": TABLE_PROJECT, "filters": json.dumps(conditions), "limit": 100,
        "order": "-summary.eval/metric_001",
    }  # fmt: skip
    columns = ["config.param_001", "config.param_003", "summary.eval/metric_001"]
    columns += ["name", "state", "created_at"]
    seeds = json.dumps({"run_id": {"$regex": "^seed-"}})
    return {
        "buckets": buckets("long"),
        "band": lambda: questions.ask(
            "/bands", project=PROJECT, filters=seeds, key=_KEY, buckets=_BUCKETS
        ),
        "table": lambda: questions.ask("/runs", **wanted),
        "table_columns": lambda: questions.ask("/runs", **wanted, column=columns),
        "plain_buckets": buckets("plain"),
        "fork_buckets": buckets(deepest),
        "plain_page": page("plain"),
        "fork_page": page(deepest),
    }


def _export(running: Server, run: str, floor: Floor) -> dict[str, float]:
    """All points of a run, page by page, as a reading client takes them."""
    questions = Questions(running.url)
    points, ms, after = 0, 0.0, None
    while True:
        arguments = {"limit": _PAGE_ROWS, "format": "arrow"} | ({"after": after} if after else {})
        answer = questions.ask(f"/runs/-/{PROJECT}/{run}/history", **arguments)
        ms += answer.ms
        page = answer.arrow()
        points += page["cells"].combine_chunks().flatten().__len__()
        after = json.loads(page.schema.metadata[b"kelt"])["next"]
        if after is None:
            break
    questions.close()
    floor_points, floor_ms = floor.export()
    return {
        "points": points,
        "points_per_s": points / ms * 1000,
        "floor_points_per_s": floor_points / floor_ms * 1000,
        "server_peak_mib": usage_of(running.process.pid).peak_mib,
    }


def report(result: dict[str, Any]) -> str:
    """The questions, and the export."""
    found = result["questions"]
    rows = [
        [
            what,
            spread(found[name]["again"]),
            spread(found[name]["first"]),
            spread(found[name]["floor"]) if found[name]["floor"] else "",
        ]
        for name, what in _KINDS.items()
    ]
    exports = result["exports"]
    export = [
        [
            "all points of the long run, as Arrow",
            spread((one["points_per_s"] for one in exports), 0),
            spread((one["floor_points_per_s"] for one in exports), 0),
            spread((one["server_peak_mib"] for one in exports), 0),
        ]
    ]
    return "\n\n".join(
        [
            "Milliseconds, of an answer over HTTP:",
            table(["", "again", "first after a start", "DuckDB alone"], rows),
            table(["", "points/s", "DuckDB alone", "server's peak MiB"], export),
        ]
    )


def goals(result: dict[str, Any]) -> list[Goal]:
    """The issue's."""
    found = result["questions"]
    made = [
        _at_most(found, name, limit_ms)
        for name, limit_ms in (("buckets", 50), ("band", 300), ("table", 100))
    ]
    for kind in ("buckets", "page"):
        plain, fork = found[f"plain_{kind}"]["again"], found[f"fork_{kind}"]["again"]
        ratios = [f / p for f, p in zip(fork, plain, strict=True)]
        made.append(
            Goal(
                what=f"lineage of depth 100: its {kind}",
                goal="≤ 2 x a plain run",
                measured=f"{spread(ratios)} x",
                is_reached=median(ratios) <= 2,
            )
        )
    return made


def _at_most(found: dict[str, dict[str, list[float]]], name: str, limit_ms: int) -> Goal:
    measured = found[name]["again"]
    return Goal(
        what=_KINDS[name],
        goal=f"≤ {limit_ms} ms",
        measured=f"{spread(measured)} ms",
        is_reached=median(measured) <= limit_ms,
    )
