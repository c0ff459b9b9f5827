"""`make bench`: what a `log()` costs beside the wandb client, and how fast rows reach the server.

    python bench/run.py [--rounds 5] [--calls 5000] [--rows 100000] [--json FILE]

Trackers take turns within each round, so that a noisy machine harms all alike; the figures are the
median over the rounds, with the least and the greatest beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TRACKERS = ("floor", "kelt", "wandb")
START_TIMEOUT_S = 30


def environment(folder: Path, upstream: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("KELT_", "WANDB_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return kept | {
        "KELT_DIR": str(folder / "state"),
        "KELT_UPSTREAM": upstream,
        "KELT_CONFIG": os.devnull,
        "KELT_SILENT": "true",
        "WANDB_SILENT": "true",
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
    }


def start_server(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "kelt_server", "--dir", str(folder / "server")]
    command += ["--port", "0", "--grpc-port", "0", "--ready-file", str(ready)]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log)
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"the server did not start: {(folder / 'server.log').read_text()}")
        time.sleep(0.05)
    return process, json.loads(ready.read_text())["url"]


def child(script: str, *arguments: object, env: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def spread(values: list[float], digits: int = 1) -> str:
    middle = statistics.median(values)
    return f"{middle:,.{digits}f} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    server, url = start_server(folder)
    env = environment(folder, url)
    calls: dict[str, list[dict[str, Any]]] = {name: [] for name in TRACKERS}
    end_to_end = []
    try:
        for number in range(arguments.rounds):
            for name in TRACKERS:
                calls[name].append(child("log_call.py", name, arguments.calls, 200, env=env))
            end_to_end.append(child("end_to_end.py", arguments.rows, env=env))
            print(f"round {number + 1} of {arguments.rounds} done", file=sys.stderr)
    finally:
        subprocess.run(
            [sys.executable, "-m", "kelt.cli.main", "daemon", "stop"],
            env=env, check=False, capture_output=True, timeout=60,
        )  # fmt: skip
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("kelt", "wandb", "grpcio", "duckdb")},
        "calls_per_round": arguments.calls,
        "log_call": calls,
        "end_to_end": end_to_end,
    }


def report(result: dict[str, Any]) -> str:
    calls, end_to_end = result["log_call"], result["end_to_end"]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    lines = [
        f"{result['machine']}; Python {result['python']}; {versions}",
        "",
        "`log()` of 20 scalars, one each 200 µs, in µs: median (least-greatest) over",
        f"{len(calls['kelt'])} rounds of {result['calls_per_round']} calls",
        "",
        "| | p50 | p99 | p99.9 | max |",
        "|---|---|---|---|---|",
    ]
    for name in TRACKERS:
        cells = [
            spread([r[key] for r in calls[name]])
            for key in ("p50_us", "p99_us", "p999_us", "max_us")
        ]
        label = {"floor": "floor: the values packed into a map", "wandb": "wandb, offline"}
        lines.append(f"| {label.get(name, name)} | {' | '.join(cells)} |")
    ratios = [w["p50_us"] / k["p50_us"] for w, k in zip(calls["wandb"], calls["kelt"], strict=True)]
    floors = [k["p50_us"] / f["p50_us"] for k, f in zip(calls["kelt"], calls["floor"], strict=True)]
    lines += [
        "",
        f"wandb's p50 is {spread(ratios)} times kelt's.",
        f"kelt's p50 is {spread(floors)} times the floor.",
        "",
        f"End to end, {end_to_end[0]['rows']:,} rows of 20 scalars from the first `log()` to",
        f"the last row committed: {spread([r['points_per_s'] for r in end_to_end], 0)} points/s.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", type=Path, default=HERE / "results" / "latest.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kelt-bench-") as folder:
        result = measure(arguments, Path(folder))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    print(report(result))


if __name__ == "__main__":
    main()
