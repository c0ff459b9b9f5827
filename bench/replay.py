"""What `kelt sync` of an offline backlog costs: processor time, wall time, memory.

    python bench/replay.py [--large-rows 200000] [--runs 50] [--rows 1000] [--json FILE]

Two backlogs, each into a new server on this machine: one run of many rows of 20 scalars, and many
runs of fewer. Processor time and peak memory are the kernel's own counts (`wait4` and `VmHWM`), for
the command, the daemon and the server apart.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from run import environment, start_server

WRITE = """
import sys, kelt
for number in range(int(sys.argv[1])):
    with kelt.init("bench", id=f"run-{number}", mode="offline") as run:
        for i in range(int(sys.argv[2])):
            run.log({f"m{k}": i + k / 7 for k in range(20)})
"""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def usage(pid: int) -> dict[str, float]:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    [peak] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return {
        "cpu_s": (int(fields[11]) + int(fields[12])) / TICKS_PER_S,
        "peak_mib": int(peak) / 1024,
    }


def measure(runs: int, rows: int, folder: Path) -> dict[str, Any]:
    server, url = start_server(folder)
    env = environment(folder, url)
    try:
        subprocess.run([sys.executable, "-c", WRITE, str(runs), str(rows)], env=env, check=True)
        size = sum(p.stat().st_blocks * 512 for p in (folder / "state" / "runs").rglob("*.kelt"))
        started_s = time.perf_counter()
        command = [sys.executable, "-m", "kelt.cli.main", "sync", "--json"]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - started_s
        totals = json.loads(said.splitlines()[-1])
        if process.returncode or totals["rows_sent"] != runs * rows:
            sys.exit(f"not all was sent: {totals}")
        daemon = json.loads((folder / "state" / "daemon.json").read_text())["pid"]
        return {
            "runs": runs, "rows_each": rows, "backlog_mib": size / 2**20, "wall_s": wall_s,
            "rows_per_s": runs * rows / wall_s,
            "command": {"cpu_s": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / 1024},
            "daemon": usage(daemon),
            "server": usage(server.pid),
        }  # fmt: skip
    finally:
        subprocess.run(
            [sys.executable, "-m", "kelt.cli.main", "daemon", "stop"],
            env=env, check=False, capture_output=True, timeout=60,
        )  # fmt: skip
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def report(results: list[dict[str, Any]]) -> str:
    lines = [
        "`kelt sync` of an offline backlog of rows of 20 scalars into a new server; processor",
        "seconds and peak memory in MiB",
        "",
        "| backlog | wall | rows/s | command | daemon | server |",
        "|---|---|---|---|---|---|",
    ]
    for r in results:
        parts = [
            f"{r[k]['cpu_s']:.1f} s, {r[k]['peak_mib']:.0f}"
            for k in ("command", "daemon", "server")
        ]
        name = f"{r['runs']:,} x {r['rows_each']:,} rows, {r['backlog_mib']:.0f} MiB"
        lines.append(
            f"| {name} | {r['wall_s']:.1f} s | {r['rows_per_s']:,.0f} | {' | '.join(parts)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large-rows", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = []
    for runs, rows in ((1, arguments.large_rows), (arguments.runs, arguments.rows)):
        with tempfile.TemporaryDirectory(prefix="kelt-bench-") as folder:
            results.append(measure(runs, rows, Path(folder)))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print(report(results))


if __name__ == "__main__":
    main()
