"""How much slower a real training becomes by logging every step."""

from __future__ import annotations

import statistics
import sys
from typing import Any

from measuring.processes import child, clean_environment, host, server
from measuring.section import Bench, Goal
from measuring.spread import table
from peers import BY_NAME, KELT, NO_TELEMETRY

TITLE = "Slow-down of a training"

PEERS = ("kelt", "wandb_offline")
STEPS_MS = (1.0, 10.0)
PAIRS, BLOCK_S = 30, 0.3
_SLOW_DOWN_MAX = 1.01
MEAN, MEDIAN = 0, 1
_ABOUT = """\
A NumPy network (one BLAS thread) trained in one process, in pairs of blocks with and without
`log()` of 20 scalars each step; which block comes first changes from pair to pair. The
slow-down is the median of the pairs' (the middle half of them in brackets): of the mean step, in
which everything counts that the tracker does meanwhile and all else on the machine, and of the
median step. Daemon and server run beside it on the same machine.
"""


def measure(bench: Bench) -> dict[str, Any]:
    pairs, block_s = (2, 0.2) if bench.is_quick else (PAIRS, BLOCK_S)
    found: dict[str, list[dict[str, Any]]] = {}
    for number in range(bench.rounds):
        for name in PEERS:
            for step_ms in STEPS_MS:
                folder = bench.scratch / f"{number}-{name}-{step_ms:g}"
                folder.mkdir()
                peer = BY_NAME[name]

                def run(
                    environment: dict[str, str], name: str = name, step_ms: float = step_ms,
                    folder: Any = folder, peer: Any = peer,
                ) -> dict[str, Any]:  # fmt: skip
                    return child(
                        "training.py", name, folder, step_ms, pairs, block_s,
                        # A core for the training; what works for it beside it has the others.
                        environment=environment | {"OPENBLAS_NUM_THREADS": "1"},
                        python=peer.python(bench.peers, sys.executable),
                    )  # fmt: skip

                if peer is KELT:
                    with server(folder) as served, host(folder, served.url) as bench_host:
                        result = run(bench_host.environment)
                else:
                    result = run(clean_environment() | NO_TELEMETRY | {"HOME": str(folder)})
                found.setdefault(f"{name}/{step_ms:g}", []).append(result)
    return {"series": found}


def ratios_of(result: dict[str, Any], name: str, step_ms: float, which: int = MEAN) -> list[float]:
    """With logging over without, of every pair of every round."""
    return [
        with_log[which] / without[which]
        for turn in result["series"][f"{name}/{step_ms:g}"]
        for with_log, without in zip(turn["with_ms"], turn["without_ms"], strict=True)
    ]


def percent(ratios: list[float]) -> str:
    """The median slow-down, with the middle half of the pairs beside it."""
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{_percent(middle)} ({_percent(low)} to {_percent(high)})"


def _percent(ratio: float) -> str:
    return f"{(ratio - 1) * 100:+.2f} %"


def report(result: dict[str, Any]) -> str:
    rows = []
    for name in PEERS:
        for step_ms in STEPS_MS:
            turns = result["series"][f"{name}/{step_ms:g}"]
            without = statistics.median(v[MEDIAN] for t in turns for v in t["without_ms"])
            with_log = statistics.median(v[MEDIAN] for t in turns for v in t["with_ms"])
            ratios = [ratios_of(result, name, step_ms, which) for which in (MEAN, MEDIAN)]
            label = f"{BY_NAME[name].label} {turns[0]['version']}, {step_ms:g} ms a step"
            cells = (
                f"{without:.3f}",
                f"{with_log:.3f}",
                *map(percent, ratios),
                str(len(ratios[0])),
            )
            rows.append((label, *cells))
    head = ("", "ms without", "ms with", "mean step", "median step", "pairs")
    return f"{_ABOUT}\n{table(head, rows)}"


def goals(result: dict[str, Any]) -> list[Goal]:
    ratios = ratios_of(result, KELT.name, 1.0)
    return [
        Goal(
            what="slow-down of a training by 20 scalars each step of 1 ms",
            goal="at most 1 %",
            measured=percent(ratios),
            is_reached=statistics.median(ratios) <= _SLOW_DOWN_MAX,
        )
    ]
