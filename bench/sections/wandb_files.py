"""A run that wandb logged offline, sent to a kelt server: by `kelt sync` and by `wandb sync`.

The same file, which the real wandb wrote, goes to two new servers in turn; every row is counted
there. Wall time is that of the command, from its start to its end; `kelt sync` starts the daemon,
too. Processor time and peak memory are the kernel's own counts, of `wandb sync` with what it
started. `wandb sync` speaks to the server's door for W&B's clients, so that a good part of its time
is that door's.

What limits `kelt sync` now: Python code that runs once for each row of the file (about 20 µs).
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
from measuring.usage import usage_of
from peers import BY_NAME, NO_TELEMETRY, Peer

TITLE = "W&B's files: `kelt sync` and `wandb sync`"
SCALARS = 20
ROWS = 100_000
ROWS_QUICK = 5_000
RATIO_MIN = 10.0


def measure(bench: Bench) -> dict[str, Any]:
    """One file; both commands in turn in each round."""
    rows = ROWS_QUICK if bench.is_quick else ROWS
    wandb = BY_NAME["wandb_offline"].python(bench.peers, sys.executable)
    logged = bench.scratch / "logged"
    logged.mkdir(parents=True)
    processes.child(
        "wandb_offline.py", rows, logged, environment=processes.clean_environment(), python=wandb,
        timeout_s=3600,
    )  # fmt: skip
    (file,) = logged.rglob("*.wandb")
    rounds = []
    for number in range(bench.rounds):
        folder = bench.scratch / str(number)
        found = {"kelt": by_kelt(folder / "kelt", file, rows)}
        found["wandb"] = by_wandb(folder / "wandb", file, rows, wandb)
        rounds.append(found)
        processes.remove(folder)
    return {"rows": rows, "file_mib": file.stat().st_size / 2**20, "measured": rounds}


def by_kelt(folder: Path, file: Path, rows: int) -> dict[str, Any]:
    """`kelt sync` of the file to a new server."""
    with processes.server(folder) as server, processes.host(folder, server.url) as host:
        before = usage_of(server.process.pid)
        command = [sys.executable, "-m", "kelt.cli.main", "sync", "--json", str(file)]
        done = processes.ended(command, host.environment)
        totals = json.loads(done.output.splitlines()[-1])
        if totals["rows_sent"] != rows:
            raise SystemExit(f"not all was sent: {totals}")
        daemon = usage_of(host.daemon_pid)
        return _found(server, before.cpu_s, done, rows) | {
            "daemon_cpu_s": daemon.cpu_s,
            "daemon_peak_mib": daemon.peak_mib,
        }


def by_wandb(folder: Path, file: Path, rows: int, python: Path) -> dict[str, Any]:
    """`wandb sync` of the file to a new server."""
    with processes.server(folder) as server:
        before = usage_of(server.process.pid)
        environment = processes.clean_environment() | Peer.stub_environment(server.url)
        environment |= NO_TELEMETRY | {"HOME": str(folder)}
        command = [str(python), "-m", "wandb", "sync", "--include-synced", str(file.parent)]
        done = processes.ended(command, environment, folder)
        return _found(server, before.cpu_s, done, rows)


def _found(
    server: processes.Server, before_s: float, done: processes.Ended, rows: int
) -> dict[str, Any]:
    stored = sum(run["rows"] for run in server.asked("/runs")["runs"])
    if stored != rows:
        raise SystemExit(f"{stored} of {rows} rows are at the server")
    after = usage_of(server.process.pid)
    return {
        "wall_s": done.wall_s,
        "cpu_s": done.cpu_s,
        "peak_mib": done.peak_mib,
        "server_cpu_s": after.cpu_s - before_s,
        "server_peak_mib": after.peak_mib,
    }


def ratios(result: dict[str, Any]) -> list[float]:
    """How many times longer `wandb sync` takes, by round."""
    return [r["wandb"]["wall_s"] / r["kelt"]["wall_s"] for r in result["measured"]]


def report(result: dict[str, Any]) -> str:
    """One line a command."""
    lines = []
    for name, label in (("kelt", "`kelt sync`"), ("wandb", "`wandb sync`")):
        found = [r[name] for r in result["measured"]]
        lines.append(
            [
                label,
                spread((r["wall_s"] for r in found), 1),
                spread((r["cpu_s"] for r in found), 1),
                spread((r["daemon_cpu_s"] for r in found), 1) if name == "kelt" else "-",
                spread((r["server_cpu_s"] for r in found), 1),
                spread((r["peak_mib"] for r in found), 0),
                spread((r["daemon_peak_mib"] for r in found), 0) if name == "kelt" else "-",
                spread((r["server_peak_mib"] for r in found), 0),
            ]
        )
    head = (
        "command", "wall s", "CPU s: command", "daemon", "server", "peak MiB: command", "daemon",
        "server",
    )  # fmt: skip
    what = f"{result['rows']:,} rows of {SCALARS} scalars, a file of {result['file_mib']:.0f} MiB."
    return f"{what}\n\n{table(head, lines)}"


def goals(result: dict[str, Any]) -> list[Goal]:
    """The pace beside `wandb sync`."""
    found = ratios(result)
    return [
        Goal(
            what="`wandb sync` / `kelt sync` of the same file",
            goal="≥ 10",
            measured=spread(found, 1),
            is_reached=statistics.median(found) >= RATIO_MIN,
        )
    ]
