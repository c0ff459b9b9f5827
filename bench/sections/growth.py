"""How the server does as it fills up: at 1 M, 10 M and 100 M points.

One run of 20 metrics after another comes through the ingest, in pushes of 12,000 rows as after an
outage, until the store holds so many points; then the server is left alone while it packs, and
asked for one metric of a run of 1 M points (50,000 rows) in 1,000 buckets. So what grows is what
lies around the question, and a flat line is the goal. 1 G points would take 10 GB of disk and some
20 minutes to come in: not measured.

What limits: ingest by decoding and DuckDB's appends, of which `ingest` tells more, and beyond 2 M
points by packing beside them; the file by the values themselves, which are 8 bytes a point where
they are noise; RSS by DuckDB's cache of blocks, whose limit is 2 GiB however large the file is.
"""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

from measuring.data_sets import METRICS, PROJECT
from measuring.feed import Door, Run, curves, door
from measuring.processes import Server, server
from measuring.questions import Questions
from measuring.section import Bench, Goal
from measuring.spread import spread, table
from measuring.usage import usage_of

TITLE = "Growth: 1 M to 100 M points"

_RUN_ROWS = 50_000
_PUSH_ROWS = 12_500
_ASKED = 5
_SETTLE_MAX_S = 120


def measure(bench: Bench) -> dict[str, Any]:
    """One server that fills up once; at each size the question is asked `rounds` times."""
    millions = (0.02, 0.1) if bench.is_quick else (1, 10, 100)
    rows_a_run = 500 if bench.is_quick else _RUN_ROWS
    found: list[dict[str, Any]] = []
    points = 0
    with server(bench.scratch) as running, door(running.url) as ingest:
        for size in millions:
            began, before = time.perf_counter(), points
            while points < size * 1_000_000:
                points += _add_run(ingest, points, rows_a_run)
            ingest_s = time.perf_counter() - began
            settle_s = _settle(running)
            found.append(
                {
                    "points": points,
                    "ingest_points_per_s": (points - before) / ingest_s,
                    "settle_s": settle_s,
                    "file_bytes": sum(p.stat().st_size for p in running.folder.glob("metrics.*")),
                    "rss_mib": usage_of(running.process.pid).rss_mib,
                    "peak_mib": usage_of(running.process.pid).peak_mib,
                    "buckets_ms": _buckets_ms(running, max(bench.rounds, _ASKED)),
                }
            )
    return {"sizes": found}


def _add_run(ingest: Door, points_before: int, rows: int) -> int:
    run = Run(PROJECT, f"run-{points_before:012}", METRICS)
    first = run.opened()
    for start in range(0, rows, _PUSH_ROWS):
        size = min(_PUSH_ROWS, rows - start)
        share = max(1, size // 10)  # batches of a few hundred KiB, as daemons cut them
        batches = [
            run.rows(*curves(at, min(share, start + size - at), len(METRICS)))
            for at in range(start, start + size, share)
        ]
        ingest.push([first, *batches] if start == 0 else batches)
    ingest.push([run.ended()])
    return rows * len(METRICS)


def _settle(running: Server) -> float:
    """Seconds until the server has packed what is worth it."""
    began, packed = time.perf_counter(), -1
    while time.perf_counter() - began < _SETTLE_MAX_S:
        with urllib.request.urlopen(f"{running.url}/api/v1/info", timeout=60) as reply:
            now = json.load(reply)["counters"].get("points_packed", 0)
        if now == packed:
            break
        packed = now
        time.sleep(5)
    return time.perf_counter() - began


def _buckets_ms(running: Server, times: int) -> list[float]:
    questions = Questions(running.url)
    route = f"/runs/-/{PROJECT}/run-{0:012}/buckets"
    answers = [questions.ask(route, key=METRICS[7], buckets=1000).ms for _ in range(times + 1)]
    questions.close()
    return answers[1:]


def report(result: dict[str, Any]) -> str:
    """The curves as a table."""
    rows = [
        [
            f"{one['points'] / 1e6:,.2f} M".replace(".00 ", " "),
            f"{one['ingest_points_per_s']:,.0f}",
            spread(one["buckets_ms"]),
            f"{one['file_bytes'] / one['points']:.1f}",
            f"{one['rss_mib']:,.0f}",
            f"{one['peak_mib']:,.0f}",
            f"{one['settle_s']:.0f}",
        ]
        for one in result["sizes"]
    ]
    head = [
        "points", "ingest, points/s", "buckets, ms", "file, bytes/point", "RSS, MiB", "peak, MiB",
        "packed after, s",
    ]  # fmt: skip
    return table(head, rows)


def goals(_result: dict[str, Any]) -> list[Goal]:
    """None: curves are to be looked at."""
    return []
