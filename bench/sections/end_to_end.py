"""From the first `log()` to the last row committed: one run, and up to a thousand at once.

Writers are real trainer processes, at most eight of them, each of which holds its share of the
runs (`reinit="create_new"`) and logs to them in turns, as fast as it can; every run has a spool
of its own. Up to 64 runs log the same number of rows altogether,
more runs 200 each. A run's lag is the time from its last `log()` until its process knows that the
last row is committed. Every row is then counted at the server. The floor is DuckDB alone with the
tables that the server made, as Arrow data, in as many transactions.

What limits it now: of one run the trainer, whose `log()` and background thread share one
interpreter lock; of many runs the processor: what a batch costs trainers, daemon and server,
whatever it holds.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from measuring import processes
from measuring.section import Bench, Goal
from measuring.spread import percentile, spread, table
from measuring.usage import usage_of
from peers import BY_NAME

TITLE = "End to end"
SCALARS = 20
WRITERS = (1, 8, 64, 512, 1000)
ROWS = 500_000
#: So many writers log fewer rows each, so that a machine that is too small is not held for long.
MANY_WRITERS = 512
MANY_ROWS = 200
WANDB_ROWS = 50_000
PROCESSES_MAX = 8
POINTS_PER_S = 1_500_000
FLOOR_RATIO_MAX = 3.0
LAG_RATIO_MAX = 3.0


def measure(bench: Bench) -> dict[str, Any]:
    """Every number of writers in turn, then the floor and wandb, in each round."""
    rows, writers = (20_000, (1, 8, 64)) if bench.is_quick else (ROWS, WRITERS)
    rounds = []
    for number in range(bench.rounds):
        found: dict[str, Any] = {"writers": {}}
        for count in writers:
            folder = bench.scratch / f"{number}-{count}"
            try:
                each = MANY_ROWS if count >= MANY_WRITERS else rows // count
                found["writers"][str(count)] = with_writers(folder, count, each)
            except SystemExit as error:  # too many for this machine: that is a result, too
                found["writers"][str(count)] = None
                print(f"{count} writers: {error}", file=sys.stderr)
                if count == 1:
                    raise
            if count == 1:
                commits = found["writers"]["1"]["commits"]
                found["floor"] = floor_of(folder, commits)
            processes.remove(folder)
        wandb_rows = WANDB_ROWS // 10 if bench.is_quick else WANDB_ROWS
        found["wandb"] = processes.child(
            "wandb_offline.py",
            wandb_rows,
            environment=processes.clean_environment(),
            python=BY_NAME["wandb_offline"].python(bench.peers, sys.executable),
        )
        rounds.append(found)
    return {"measured": rounds}


def floor_of(folder: Path, commits: int) -> dict[str, Any]:
    """DuckDB alone, with what a server that is stopped has stored."""
    return processes.child(
        "duckdb_floor.py",
        folder / "server" / "metrics.duckdb",
        commits,
        folder / "floor.duckdb",
        environment=processes.clean_environment(),
    )


def with_writers(folder: Path, count: int, rows: int) -> dict[str, Any]:
    """One server, one daemon, `count` runs of `rows` rows each."""
    shares = [count // PROCESSES_MAX + (n < count % PROCESSES_MAX) for n in range(PROCESSES_MAX)]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(processes.server(folder))
        host = stack.enter_context(processes.host(folder, server.url))
        children = [
            stack.enter_context(
                processes.talking("writers.py", share, rows, f"w{n}", environment=host.environment)
            )
            for n, share in enumerate(shares)
            if share
        ]
        for child in children:
            child.said()
        before = usage_of(server.process.pid).cpu_s, usage_of(host.daemon_pid).cpu_s
        commits = server.counters["commits"]
        for child in children:
            child.tell("go")
        said = [json.loads(child.said()) for child in children]
        after = usage_of(server.process.pid), usage_of(host.daemon_pid)
        commits = server.counters["commits"] - commits
        stored = sum(run["rows"] for run in server.asked("/runs?limit=1000")["runs"])
        if stored != count * rows:
            raise SystemExit(f"{stored} of {count * rows} rows are at the server")
        for child in children:
            child.tell("finish")
        began_at = min(result["first_log_at"] for result in said)
        wall_s = max(result["committed_at"] for result in said) - began_at
        return {
            "rows_each": rows,
            "wall_s": wall_s,
            "log_s": max(result["last_log_at"] for result in said) - began_at,
            "points_per_s": count * rows * SCALARS / wall_s,
            "lags_s": sorted(lag for result in said for lag in result["lags_s"]),
            "commits": commits,
            "trainers_cpu_s": sum(result["cpu_s"] for result in said),
            "daemon_cpu_s": after[1].cpu_s - before[1],
            "server_cpu_s": after[0].cpu_s - before[0],
            "daemon_peak_mib": after[1].peak_mib,
            "server_peak_mib": after[0].peak_mib,
        }


def report(result: dict[str, Any]) -> str:
    """One line for each number of writers, and what they are compared with."""
    rounds = result["measured"]
    lines = []
    for count in rounds[0]["writers"]:
        found = [r["writers"][count] for r in rounds if r["writers"][count]]
        if len(found) < len(rounds):
            lines.append([f"{int(count):,}", "not committed in time", *["-"] * 8])
            continue
        lines.append(
            [
                f"{int(count):,} x {found[0]['rows_each']:,} rows",
                spread((r["points_per_s"] for r in found), 0),
                spread((statistics.median(r["lags_s"]) for r in found), 2),
                spread((percentile(r["lags_s"], 0.99) for r in found), 2),
                spread((r["lags_s"][-1] for r in found), 2),
                spread((r["trainers_cpu_s"] for r in found), 1),
                spread((r["daemon_cpu_s"] for r in found), 1),
                spread((r["server_cpu_s"] for r in found), 1),
                spread((r["daemon_peak_mib"] for r in found), 0),
                spread((r["server_peak_mib"] for r in found), 0),
            ]
        )
    head = (
        "writers", "points/s", "lag: median s", "p99 s", "slowest s", "CPU s: trainers", "daemon",
        "server", "peak MiB: daemon", "server",
    )  # fmt: skip
    floors = spread((r["floor"]["points_per_s"] for r in rounds), 0)
    ratios = spread(floor_ratios(rounds), 2)
    wandb = spread((r["wandb"]["points_per_s"] for r in rounds), 0)
    return "\n".join(
        [
            f"Rows of {SCALARS} scalars, as fast as they can be logged.",
            "",
            table(head, lines),
            "",
            (
                "DuckDB alone, the same data in the same commits as one writer's: "
                f"{floors} points/s, {ratios} times that run. For comparison, wandb offline from "
                "the first `log()` to the end of `finish()`, without any server: "
                f"{wandb} points/s."
            ),
        ]
    )


def floor_ratios(rounds: list[dict[str, Any]]) -> list[float]:
    """How many times faster DuckDB alone is than one run end to end."""
    return [r["floor"]["points_per_s"] / r["writers"]["1"]["points_per_s"] for r in rounds]


def goals(result: dict[str, Any]) -> list[Goal]:
    """One run's pace, and that many writers neither slow it down nor starve each other."""
    rounds = result["measured"]
    alone = [r["writers"]["1"]["points_per_s"] for r in rounds]
    ratios = floor_ratios(rounds)
    found = [
        Goal(
            what="end to end, one run",
            goal="≥ 1.5 M points/s",
            measured=f"{spread(alone, 0)} points/s",
            is_reached=statistics.median(alone) >= POINTS_PER_S,
        ),
        Goal(
            what="DuckDB alone, beside it",
            goal="≤ 3 times as fast",
            measured=f"{spread(ratios, 2)} times",
            is_reached=statistics.median(ratios) <= FLOOR_RATIO_MAX,
        ),
    ]
    for count in [count for count in rounds[0]["writers"] if count != "1"]:
        writers = [r["writers"][count] for r in rounds if r["writers"][count]]
        if len(writers) < len(rounds):
            found.append(
                Goal(
                    what=f"{int(count):,} writers: throughput, slowest lag",
                    goal="≥ one writer's; ≤ 3 x median",
                    measured="not committed in time",
                    is_reached=False,
                )
            )
            continue
        shares = [w["points_per_s"] / one for w, one in zip(writers, alone, strict=True)]
        lags = [w["lags_s"][-1] / statistics.median(w["lags_s"]) for w in writers]
        found += [
            Goal(
                what=f"{int(count):,} writers: throughput",
                goal="≥ one writer's",
                measured=f"{spread(shares, 2)} of it",
                is_reached=statistics.median(shares) >= 1,
            ),
            Goal(
                what=f"{int(count):,} writers: slowest lag",
                goal="≤ 3 x median",
                measured=f"{spread(lags, 2)} x",
                is_reached=statistics.median(lags) <= LAG_RATIO_MAX,
            ),
        ]
    return found
