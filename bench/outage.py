"""What `log()` costs while the daemon is well, stands still, or is dead: one process, in turns.

    python bench/outage.py [--rounds 1] [--seconds 30] [--rows-per-s 10000] [--json FILE]

The training thread is busy between rows, which is the hardest for the background thread. In the
dead phase a new daemon cannot be started, and the background thread goes on trying.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from run import HERE, environment, start_server

SCALARS = 20
PHASES = ("idle", "stopped", "dead")
RECOVERY_TIMEOUT_S = 120


def trainer() -> None:
    """Measures a phase for each line of input: its name, seconds, rows a second."""
    import kelt  # noqa: PLC0415 # only in this process

    run = kelt.init("bench", settings={"finish_timeout_s": 0})
    session = run._session  # noqa: SLF001 # what nobody else needs to know
    spool, sender = session.spool, session.sender
    names = [f"metric_{n}" for n in range(SCALARS)]
    rows = [{key: float(step) + n for n, key in enumerate(names)} for step in range(1000)]
    python = sys.executable
    while not sender.state.is_connected:
        time.sleep(0.01)
    measure(run.log, rows, 0.5, 10_000)
    print("ready", flush=True)
    for line in sys.stdin:
        phase, seconds, rate = line.split()
        sys.executable = "/bin/false" if phase == "dead" else python
        result = measure(run.log, rows, float(seconds), float(rate))
        result |= {"lost": spool.dropped_rows, "backlog": spool.seq - sender.state.durable_through}
        print(json.dumps(result), flush=True)
        sys.executable = python
        sys.stdin.readline()  # the daemon is well again
        deadline = time.monotonic() + RECOVERY_TIMEOUT_S
        while sender.state.durable_through < spool.seq and time.monotonic() < deadline:
            time.sleep(0.05)
        print(json.dumps({"recovered": sender.state.durable_through >= spool.seq}), flush=True)
    run.finish()


def measure(log: Any, rows: list[dict[str, float]], seconds: float, rate: float) -> dict[str, Any]:
    clock, calls, pace_ns = time.perf_counter_ns, int(seconds * rate), int(1e9 / rate)
    taken = []
    due = begin = clock()
    for call in range(calls):
        start = clock()
        log(rows[call % 1000])
        taken.append(clock() - start)
        due += pace_ns
        while clock() < due:
            pass
    elapsed = (clock() - begin) / 1e9
    taken.sort()
    return {
        "rows_per_s": calls / elapsed,
        "p50_us": taken[calls // 2] / 1000,
        "p99_us": taken[calls * 99 // 100] / 1000,
        "p999_us": taken[calls * 999 // 1000] / 1000,
        "max_us": taken[-1] / 1000,
    }


def rounds_of(arguments: argparse.Namespace, env: dict[str, str]) -> list[dict[str, Any]]:
    process = subprocess.Popen(
        [sys.executable, __file__, "--trainer"], env=env, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None

    def ask(line: str) -> str:
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return process.stdout.readline()

    process.stdout.readline()
    found = []
    for _ in range(arguments.rounds):
        result = {}
        for phase in PHASES:
            pid = json.loads((Path(env["KELT_DIR"]) / "daemon.json").read_text())["pid"]
            if phase != "idle":
                os.kill(pid, signal.SIGSTOP if phase == "stopped" else signal.SIGKILL)
            result[phase] = json.loads(
                ask(f"{phase} {arguments.seconds} {arguments.rows_per_s}") or sys.exit("failed")
            )
            if phase == "stopped":
                os.kill(pid, signal.SIGCONT)
            result[phase] |= json.loads(ask("well"))
        found.append(result)
    process.stdin.close()
    process.wait(60)
    return found


def report(found: list[dict[str, Any]]) -> str:
    lines = [
        f"`log()` of {SCALARS} scalars, in µs; medians over {len(found)} round(s) at",
        f"{found[0]['idle']['rows_per_s']:,.0f} rows a second",
        "",
        "| the daemon | p50 | p99 | p99.9 | max | p99 / idle | backlog | lost |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for phase in PHASES:
        cells = [
            f"{statistics.median(r[phase][key] for r in found):,.1f}"
            for key in ("p50_us", "p99_us", "p999_us", "max_us")
        ]
        ratio = statistics.median(r[phase]["p99_us"] / r["idle"]["p99_us"] for r in found)
        backlog = statistics.median(r[phase]["backlog"] for r in found)
        lost = max(r[phase]["lost"] for r in found)
        lines.append(
            f"| {phase} | {' | '.join(cells)} | {ratio:.2f} | {backlog:,.0f} rows | {lost} |"
        )
    caught_up = all(r[phase]["recovered"] for r in found for phase in PHASES)
    lines += ["", "The daemon got every row afterwards." if caught_up else "ROWS WERE LEFT BEHIND."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rows-per-s", type=float, default=10_000)
    parser.add_argument("--json", type=Path, default=HERE / "results" / "outage.json")
    parser.add_argument("--trainer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.trainer:
        trainer()
        return
    with tempfile.TemporaryDirectory(prefix="kelt-bench-") as folder:
        server, url = start_server(Path(folder))
        env = environment(Path(folder), url)
        try:
            found = rounds_of(arguments, env)
        finally:
            subprocess.run(
                [sys.executable, "-m", "kelt.cli.main", "daemon", "stop"],
                env=env, check=False, capture_output=True, timeout=60,
            )  # fmt: skip
            server.send_signal(signal.SIGTERM)
            server.wait(20)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    print(report(found))


if __name__ == "__main__":
    main()
