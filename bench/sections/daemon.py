"""What the daemon takes: with live and finished runs, behind one busy run, with a backlog.

Live runs belong to at most eight trainer processes and log nothing while the daemon is looked at.
Processor time is a share of one core over some seconds. A backlog is logged in large rows while the
upstream is away; with it the daemon is then started anew, with a server there, and timed to its
ready line and to its first push. `kelt sync` of such a backlog is in the section on replay.

What limits it now: memory is 47 MiB of interpreter and gRPC, and about 0.1 MiB for each live run's
stream and tasks; with a backlog the largest journal segment, which a start reads whole.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import processes
from measuring.processes import Host
from measuring.section import Bench, Goal
from measuring.spread import spread, table
from measuring.usage import usage_of

TITLE = "Daemon"
RUNS = (0, 1, 100, 1000)
FINISHED = 1000
ROWS_PER_S = 1000
WINDOW_S = 10.0
PROCESSES_MAX = 8
#: Runs of 100,000 rows of 1,000 scalars: 0.8 GB each.
BACKLOG_ROWS = 100_000
BACKLOG_RUNS = (1, 4)
MIB_MAX = 60
BUSY_SHARE_MAX = 0.10
_WAIT_S = 120


def measure(bench: Bench) -> dict[str, Any]:
    """Everything once in each round."""
    runs = (0, 1, 10) if bench.is_quick else RUNS
    finished = 20 if bench.is_quick else FINISHED
    backlog_rows = 500 if bench.is_quick else BACKLOG_ROWS
    window_s = 1.0 if bench.is_quick else WINDOW_S
    rounds = []
    for number in range(bench.rounds):
        folder = bench.scratch / str(number)
        found: dict[str, Any] = {
            "live": {str(n): with_runs(folder / f"live-{n}", n, 0, window_s) for n in runs},
            "busy": with_runs(folder / "busy", 1, ROWS_PER_S, window_s),
            "finished": with_finished(folder / "finished", finished, window_s),
            "backlog": [],
        }
        for count in BACKLOG_RUNS:
            found["backlog"].append(with_backlog(folder / f"backlog-{count}", count, backlog_rows))
            processes.remove(folder / f"backlog-{count}")
        rounds.append(found)
        processes.remove(folder)
    return {"measured": rounds}


def looked_at(host: Host, window_s: float) -> dict[str, float]:
    """The daemon's memory, and its processor time over a while."""
    before = usage_of(host.daemon_pid)
    time.sleep(window_s)
    after = usage_of(host.daemon_pid)
    return {
        "rss_mib": after.rss_mib,
        "own_mib": after.own_mib,
        "peak_mib": after.peak_mib,
        "core_share": (after.cpu_s - before.cpu_s) / window_s,
    }


def with_runs(folder: Path, count: int, rows_per_s: float, window_s: float) -> dict[str, float]:
    """Live runs, each of which logs so many rows a second."""
    shares = [count // PROCESSES_MAX + (n < count % PROCESSES_MAX) for n in range(PROCESSES_MAX)]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(processes.server(folder))
        host = stack.enter_context(processes.host(folder, server.url))
        host.kelt("daemon", "start")
        children = [
            stack.enter_context(
                processes.talking(
                    "paced.py", share, rows_per_s, f"w{n}", environment=host.environment
                )
            )
            for n, share in enumerate(shares)
            if share
        ]
        for child in children:
            child.said()
        time.sleep(window_s / 5)
        found = looked_at(host, window_s)
        for child in children:
            child.tell("end")
        return found


def with_finished(folder: Path, count: int, window_s: float) -> dict[str, Any]:
    """A daemon that has sent so many runs, and the one after it."""
    with processes.server(folder) as server, processes.host(folder, server.url) as host:
        processes.child("offline_runs.py", count, 10, environment=host.environment)
        host.kelt("sync")
        time.sleep(window_s / 2)
        sent = looked_at(host, window_s)
        host.kelt("daemon", "stop")
        with started(host) as ready_s:
            time.sleep(window_s / 2)
            return {
                "runs": count,
                "sent": sent,
                "anew": looked_at(host, window_s) | {"ready_s": ready_s},
            }


def with_backlog(folder: Path, runs: int, rows: int) -> dict[str, Any]:
    """A daemon to which rows come while the upstream is away, and the one after it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with processes.host(folder, f"http://127.0.0.1:{port}") as host:
        processes.child("backlog.py", runs, rows, environment=host.environment)
        until(lambda: not list((host.state / "runs").glob("*/spool-*.kelt")))
        before = usage_of(host.daemon_pid).peak_mib
        size = sum(p.stat().st_size for p in (host.state / "runs").rglob("journal-*.kelt"))
        host.kelt("daemon", "stop")
        with processes.server(folder, "--port", str(port)) as server:
            started_s = time.monotonic()
            with started(host) as ready_s:
                until(lambda: server.counters["commits"] > 0)
                pushed_s = time.monotonic() - started_s
                time.sleep(3)
                after = usage_of(host.daemon_pid).peak_mib
                host.kelt("daemon", "stop")
    return {
        "bytes": size,
        "peak_mib": before,
        "ready_s": ready_s,
        "first_push_s": pushed_s,
        "peak_anew_mib": after,
    }


@contextlib.contextmanager
def started(host: Host) -> Any:
    """A daemon of this host; gives the seconds until it is ready, which is when it says who it is.

    It is ended afterwards.
    """
    command = [sys.executable, "-m", "kelt_daemon", "run", "--state-dir", str(host.state)]
    started_s = time.monotonic()
    process = subprocess.Popen(command, env=host.environment)

    def is_ready() -> bool:
        with contextlib.suppress(OSError, ValueError):
            said = json.loads((host.state / "daemon.json").read_text())
            return bool(said["pid"] == process.pid)
        return False

    try:
        until(is_ready)
        yield time.monotonic() - started_s
    finally:
        process.terminate()
        process.wait(_WAIT_S)


def until(condition: Callable[[], bool]) -> None:
    """Looks again and again, but not for ever."""
    deadline_s = time.monotonic() + _WAIT_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise SystemExit("it did not come so far in time")
        time.sleep(0.01)


def report(result: dict[str, Any]) -> str:
    """Runs in one table, backlogs in another."""
    rounds = result["measured"]
    cases = [
        (f"{int(n):,} live runs, quiet", [r["live"][n] for r in rounds]) for n in rounds[0]["live"]
    ]
    cases += [
        (f"one run of {ROWS_PER_S:,} rows/s x 20", [r["busy"] for r in rounds]),
        (
            f"{rounds[0]['finished']['runs']:,} runs sent, idle",
            [r["finished"]["sent"] for r in rounds],
        ),
        ("the same after a new start", [r["finished"]["anew"] for r in rounds]),
    ]
    lines = [
        [
            name,
            spread(f["rss_mib"] for f in found),
            spread(f["own_mib"] for f in found),
            spread(f["peak_mib"] for f in found),
            spread((100 * f["core_share"] for f in found), 2),
        ]
        for name, found in cases
    ]
    backlogs = [
        [
            f"{found[0]['bytes'] / 1e9:.1f} GB",
            spread(f["peak_mib"] for f in found),
            spread((f["ready_s"] for f in found), 2),
            spread((f["first_push_s"] for f in found), 2),
            spread(f["peak_anew_mib"] for f in found),
        ]
        for found in zip(*(r["backlog"] for r in rounds), strict=True)
    ]
    runs_head = ("with", "RSS MiB", "of its own MiB", "peak MiB", "% of a core")
    backlog_head = (
        "backlog", "peak MiB as it came", "new start: ready s", "first commit s", "peak MiB",
    )  # fmt: skip
    return "\n\n".join([table(runs_head, lines), table(backlog_head, backlogs)])


def goals(result: dict[str, Any]) -> list[Goal]:
    """Memory with live runs and with a backlog, and the share of a core."""
    rounds = result["measured"]
    found = []
    if "100" in rounds[0]["live"]:
        sizes = [r["live"]["100"]["rss_mib"] for r in rounds]
        found.append(
            Goal(
                what="daemon with 100 live runs",
                goal="≤ 60 MiB",
                measured=f"{spread(sizes)} MiB",
                is_reached=statistics.median(sizes) <= MIB_MAX,
            )
        )
    shares = [r["busy"]["core_share"] for r in rounds]
    growths = [r["backlog"][-1]["peak_mib"] / r["backlog"][0]["peak_mib"] for r in rounds]
    times = rounds[0]["backlog"][-1]["bytes"] / rounds[0]["backlog"][0]["bytes"]
    found += [
        Goal(
            what="daemon behind 1,000 rows/s x 20",
            goal="≤ 10 % of a core",
            measured=f"{spread((100 * share for share in shares), 2)} %",
            is_reached=statistics.median(shares) <= BUSY_SHARE_MAX,
        ),
        Goal(
            what=f"daemon's peak memory with {times:.0f} times the backlog",
            goal="flat",
            measured=f"{spread(growths, 2)} times",
            is_reached=statistics.median(growths) <= 1.2,  # what chance makes of it
        ),
    ]
    return found
