"""A server's ingest alone: prepared batches pushed over gRPC as the daemon pushes them.

The floor is DuckDB alone with the tables that the server made, as Arrow data, in as many
transactions. Points for each second of the server's processor time are its pace on one core: gRPC,
checksums, decoding, the catalog and DuckDB together.

What limits it now: DuckDB's own insert, four fifths of the processor time of one run's ingest.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from measuring import processes
from measuring.section import Bench, Goal
from measuring.spread import spread, table
from measuring.usage import usage_of

from sections.end_to_end import FLOOR_RATIO_MAX, SCALARS, floor_of

TITLE = "Server: ingest"
RUNS = ((1, 500_000), (200, 2_500))
RUNS_QUICK = ((1, 20_000), (20, 500))


def measure(bench: Bench) -> dict[str, Any]:
    """One run and many, and the floor behind each."""
    sizes = RUNS_QUICK if bench.is_quick else RUNS
    for runs, rows in sizes:
        host = processes.Host(bench.scratch / f"runs-{runs}", "http://127.0.0.1:1")
        processes.child("offline_runs.py", runs, rows, environment=host.environment)
    rounds = []
    for number in range(bench.rounds):
        found = []
        for runs, rows in sizes:
            folder = bench.scratch / f"{number}-{runs}"
            found.append(pushed(folder, bench.scratch / f"runs-{runs}", runs, rows))
            processes.remove(folder)
        rounds.append(found)
    return {"measured": rounds}


def pushed(folder: Path, state: Path, runs: int, rows: int) -> dict[str, Any]:
    """Pushes what a state folder holds at a new server."""
    with processes.server(folder) as server:
        before = usage_of(server.process.pid).cpu_s
        found = processes.child(
            "push.py", state / "runs", server.url, environment=processes.clean_environment()
        )
        counters, after = server.counters, usage_of(server.process.pid)
        if counters["rows"] != runs * rows:
            raise SystemExit(f"{counters['rows']} of {runs * rows} rows are at the server")
    points = runs * rows * SCALARS
    cpu_s = after.cpu_s - before
    floor = floor_of(folder, counters["commits"])
    return {
        **found,
        "runs": runs,
        "rows_each": rows,
        "points_per_s": points / found["wall_s"],
        "server_cpu_s": cpu_s,
        "points_per_cpu_s": points / cpu_s,
        "cpu_s_per_million": cpu_s / points * 1e6,
        "peak_mib": after.peak_mib,
        "commits": counters["commits"],
        "floor": floor,
    }


def report(result: dict[str, Any]) -> str:
    """One line a size."""
    lines = [
        [
            f"{found[0]['runs']:,} x {found[0]['rows_each']:,} rows of {SCALARS}",
            spread((r["points_per_s"] for r in found), 0),
            spread((r["points_per_cpu_s"] for r in found), 0),
            spread((r["cpu_s_per_million"] for r in found), 2),
            spread((r["peak_mib"] for r in found), 0),
            spread((r["commits"] for r in found), 0),
            spread((r["floor"]["points_per_s"] for r in found), 0),
            spread((r["floor"]["cpu_s_per_million"] for r in found), 2),
            spread((r["floor"]["points_per_s"] / r["points_per_s"] for r in found), 2),
        ]
        for found in zip(*result["measured"], strict=True)
    ]
    head = (
        "pushed", "points/s", "points per CPU s", "CPU s per M points", "peak MiB", "commits",
        "DuckDB alone: points/s", "CPU s per M points", "times as fast",
    )  # fmt: skip
    return table(head, lines)


def goals(result: dict[str, Any]) -> list[Goal]:
    """Within three times of DuckDB alone."""
    found = []
    for rounds in zip(*result["measured"], strict=True):
        ratios = [r["floor"]["points_per_s"] / r["points_per_s"] for r in rounds]
        found.append(
            Goal(
                what=f"ingest of {rounds[0]['runs']:,} runs: DuckDB alone, beside it",
                goal="≤ 3 times as fast",
                measured=f"{spread(ratios, 2)} times",
                is_reached=statistics.median(ratios) <= FLOOR_RATIO_MAX,
            )
        )
    return found
