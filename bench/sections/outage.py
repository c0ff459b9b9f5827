"""What `log()` costs while the daemon is well, stands still, or is dead."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from typing import Any

from measuring.processes import CHILDREN, Host, host, machine_alone, server
from measuring.section import Bench, Goal
from measuring.spread import spread, table

TITLE = "`log()` while the daemon is away"

PHASES = ("idle", "stopped", "dead")
ROWS_PER_S = 10_000
SECONDS = 30


def measure(bench: Bench) -> dict[str, Any]:
    seconds = 1 if bench.is_quick else SECONDS
    with server(bench.scratch) as served, host(bench.scratch, served.url) as bench_host:
        with (bench.scratch / "trainer.log").open("wb") as log:
            trainer = subprocess.Popen(
                [sys.executable, str(CHILDREN / "outage.py")], env=bench_host.environment,
                text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        try:
            _said(trainer)
            turns = [_round(trainer, bench_host, seconds) for _ in range(bench.rounds)]
            trainer.communicate(timeout=60)
        finally:
            trainer.kill()
            trainer.wait()
    return {"seconds": seconds, "turns": turns}


def _said(trainer: subprocess.Popen[str]) -> str:
    assert trainer.stdout is not None
    return trainer.stdout.readline() or sys.exit("the training process failed")


def _ask(trainer: subprocess.Popen[str], line: str) -> dict[str, Any]:
    assert trainer.stdin is not None
    trainer.stdin.write(line + "\n")
    trainer.stdin.flush()
    found: dict[str, Any] = json.loads(_said(trainer))
    return found


def _round(trainer: subprocess.Popen[str], bench_host: Host, seconds: int) -> dict[str, Any]:
    found = {}
    for phase in PHASES:
        with machine_alone():
            pid = bench_host.daemon_pid
            if phase != "idle":
                os.kill(pid, signal.SIGSTOP if phase == "stopped" else signal.SIGKILL)
            try:
                found[phase] = _ask(trainer, f"{phase} {seconds} {ROWS_PER_S}")
            finally:
                if phase == "stopped":
                    os.kill(pid, signal.SIGCONT)
            found[phase] |= _ask(trainer, "well")
    return found


def report(result: dict[str, Any]) -> str:
    turns = result["turns"]
    rate = statistics.median(turn["idle"]["rows_per_s"] for turn in turns)
    said = {"idle": "is well", "stopped": "stands still (SIGSTOP)", "dead": "is dead, for good"}
    rows = []
    for phase in PHASES:
        cells = [
            spread(turn[phase][key] for turn in turns)
            for key in ("p50_us", "p99_us", "p999_us", "max_us")
        ]
        backlog = spread((turn[phase]["backlog"] for turn in turns), 0)
        lost = max(turn[phase]["lost"] for turn in turns)
        rows.append((said[phase], *cells, spread(_ratios(turns, phase), 2), backlog, str(lost)))
    head = ("the daemon", "p50", "p99", "p99.9", "max", "p99 / well", "backlog", "lost")
    is_all_there = all(turn[phase]["recovered"] for turn in turns for phase in PHASES)
    return "\n".join(
        [
            f"20 scalars, {rate:,.0f} rows a second, {result['seconds']} s each; the calling",
            "thread is busy in between. Times in µs, the backlog in rows at the end of the phase.",
            "",
            table(head, rows),
            "",
            "The daemon got every row afterwards." if is_all_there else "ROWS WERE LEFT BEHIND.",
        ]
    )


def _ratios(turns: list[dict[str, Any]], phase: str) -> list[float]:
    return [turn[phase]["p99_us"] / turn["idle"]["p99_us"] for turn in turns]


def goals(result: dict[str, Any]) -> list[Goal]:
    ratios = _ratios(result["turns"], "stopped")
    return [
        Goal(
            what=f"`log()` at {ROWS_PER_S:,} rows/s, the daemon stopped {result['seconds']} s: p99",
            goal="at most 2 x idle",
            measured=f"{spread(ratios, 2)} x",
            is_reached=statistics.median(ratios) <= 2,
        )
    ]
