"""`kelt sync` of an offline backlog into a new server: one large run, and many smaller ones.

Wall time is that of the command, which starts the daemon, too. Processor time and peak memory are
the kernel's own counts for the command, the daemon and the server. The server's share says what it
had of all processor time that the three used; its busiest thread is the one that commits.

What limits it now: Python code that runs once for each row. The command counts rows before anything
is sent (about 5 µs a row), and the daemon reads them out of the spool (about 3.5 µs).
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from measuring import processes
from measuring.section import Bench, Goal
from measuring.spread import spread, table
from measuring.usage import busiest_thread_s, usage_of

TITLE = "Replay: `kelt sync` of an offline backlog"
SCALARS = 20
BACKLOGS = ((1, 1_000_000), (200, 5_000))
BACKLOGS_QUICK = ((1, 20_000), (20, 500))
POINTS_PER_S = 1_000_000
PARTS = ("command", "daemon", "server")


def measure(bench: Bench) -> dict[str, Any]:
    """Both backlogs in turn, in each round written anew."""
    rounds = []
    for number in range(bench.rounds):
        found = []
        for runs, rows in BACKLOGS_QUICK if bench.is_quick else BACKLOGS:
            folder = bench.scratch / f"{number}-{runs}"
            found.append(replayed(folder, runs, rows))
            processes.remove(folder)
        rounds.append(found)
    return {"measured": rounds}


def replayed(folder: Path, runs: int, rows: int) -> dict[str, Any]:
    """Writes a backlog and sends it."""
    with processes.server(folder) as server, processes.host(folder, server.url) as host:
        processes.child("offline_runs.py", runs, rows, environment=host.environment)
        size = sum(p.stat().st_blocks * 512 for p in (host.state / "runs").rglob("*.kelt"))
        before = usage_of(server.process.pid), busiest_thread_s(server.process.pid)
        command = [sys.executable, "-m", "kelt.cli.main", "sync", "--json"]
        done = processes.ended(command, host.environment)
        totals = json.loads(done.output.splitlines()[-1])
        if totals["rows_sent"] != runs * rows:
            raise SystemExit(f"not all was sent: {totals}")
        daemon, after = usage_of(host.daemon_pid), usage_of(server.process.pid)
        return {
            "runs": runs,
            "rows_each": rows,
            "backlog_mib": size / 2**20,
            "wall_s": done.wall_s,
            "points_per_s": runs * rows * SCALARS / done.wall_s,
            "command": {"cpu_s": done.cpu_s, "peak_mib": done.peak_mib},
            "daemon": {"cpu_s": daemon.cpu_s, "peak_mib": daemon.peak_mib},
            "server": {"cpu_s": after.cpu_s - before[0].cpu_s, "peak_mib": after.peak_mib},
            "busiest_thread_s": busiest_thread_s(server.process.pid) - before[1],
            "commits": server.counters["commits"],
        }


def server_share(found: dict[str, Any]) -> float:
    """What the server had of the processor time of all three."""
    return float(found["server"]["cpu_s"] / sum(found[part]["cpu_s"] for part in PARTS))


def report(result: dict[str, Any]) -> str:
    """One line a backlog."""
    lines = []
    for found in zip(*result["measured"], strict=True):
        first = found[0]
        name = f"{first['runs']:,} x {first['rows_each']:,} rows, {first['backlog_mib']:.0f} MiB"
        lines.append(
            [
                name,
                spread((r["points_per_s"] for r in found), 0),
                spread((r["wall_s"] for r in found), 1),
                *(spread((r[part]["cpu_s"] for r in found), 1) for part in PARTS),
                *(spread((r[part]["peak_mib"] for r in found), 0) for part in PARTS),
                spread((100 * server_share(r) for r in found), 0),
                spread((100 * r["busiest_thread_s"] / r["wall_s"] for r in found), 0),
            ]
        )
    head = (
        "backlog", "points/s", "wall s", "CPU s: command", "daemon", "server",
        "peak MiB: command", "daemon", "server", "server's share of CPU, %",
        "its committing thread busy, %",
    )  # fmt: skip
    return table(head, lines)


def goals(result: dict[str, Any]) -> list[Goal]:
    """The pace, and who sets it where there are many runs."""
    found = []
    for rounds in zip(*result["measured"], strict=True):
        paces = [r["points_per_s"] for r in rounds]
        found.append(
            Goal(
                what=f"replay, {rounds[0]['runs']:,} x {rounds[0]['rows_each']:,} rows",
                goal="≥ 1 M points/s",
                measured=f"{spread(paces, 0)} points/s",
                is_reached=statistics.median(paces) >= POINTS_PER_S,
            )
        )
        if rounds[0]["runs"] > 1:
            shares = [server_share(r) for r in rounds]
            found.append(
                Goal(
                    what="replay of many runs: the server's share of processor time",
                    goal="most of it",
                    measured=f"{spread((100 * share for share in shares), 0)} %",
                    is_reached=statistics.median(shares) > 1 / 2,
                )
            )
    return found
