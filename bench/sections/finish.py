"""How long one waits at the end of a run."""

from __future__ import annotations

import statistics
import sys
from typing import Any

from measuring.processes import child, clean_environment, host, machine_alone, server
from measuring.section import Bench, Goal
from measuring.spread import spread, table
from peers import BY_NAME, KELT, NO_TELEMETRY

TITLE = "The end of a run"

PEERS = ("kelt", "wandb_offline")
#: Rows, and seconds of silence before the end.
CASES = {"2,000 rows at once": (2000, 0.0), "10 rows, idle for 1 s": (10, 1.0)}
_FINISH_S_MAX = 0.5
_ABOUT = """\
Seconds that `finish()` takes right after the last of 2,000 rows of 20 scalars, logged as fast as it
goes, and after 10 rows and a second of silence. For kelt until the server has committed everything,
as it is asked afterwards; wandb is offline and only ends its file.
"""


def measure(bench: Bench) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {}
    with server(bench.scratch) as served, host(bench.scratch, served.url) as bench_host:
        for number in range(bench.rounds):
            with machine_alone():
                for name in PEERS:
                    for case, (rows, pause_s) in CASES.items():
                        folder = bench.scratch / f"{number}-{name}-{rows}"
                        folder.mkdir()
                        environment = bench_host.environment
                        if name != KELT.name:
                            environment = clean_environment() | NO_TELEMETRY | {"HOME": str(folder)}
                        result = child(
                            "finish.py", name, folder, rows, pause_s, environment=environment,
                            python=BY_NAME[name].python(bench.peers, sys.executable),
                        )  # fmt: skip
                        found.setdefault(f"{name}/{case}", []).append(result)
    return {"series": found}


def _seconds(result: dict[str, Any], name: str, case: str) -> list[float]:
    return [turn["finish_s"] for turn in result["series"][f"{name}/{case}"]]


def report(result: dict[str, Any]) -> str:
    rows = []
    for name in PEERS:
        version = result["series"][f"{name}/{next(iter(CASES))}"][0]["version"]
        cells = [spread(_seconds(result, name, case), 3) for case in CASES]
        rows.append((f"{BY_NAME[name].label} {version}", *cells))
    return f"{_ABOUT}\n{table(('', *CASES), rows)}"


def goals(result: dict[str, Any]) -> list[Goal]:
    seconds = _seconds(result, KELT.name, next(iter(CASES)))
    return [
        Goal(
            what="`finish()` after 2,000 rows of 20 scalars, until all is committed",
            goal="at most 0.5 s",
            measured=f"{spread(seconds, 3)} s",
            is_reached=statistics.median(seconds) <= _FINISH_S_MAX,
        )
    ]
