"""What one `log()` costs the training thread, beside the peers and beside the floor."""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measuring.processes import ChildError, child, clean_environment, host, server
from measuring.section import Bench, Goal
from measuring.spread import spread, table
from peers import FLOOR, KELT, NO_TELEMETRY, OTHERS, Peer
from peers.stub_server import stub_server

TITLE = "A `log()` call"

SIZES = (1, 5, 20, 100, 1000, 10_000)
USUAL = 20
#: Scalars in a row: how many calls, one each so many microseconds.
CALLS = {1: (5000, 200), 5: (5000, 200), 20: (5000, 200), 100: (2000, 500), 1000: (250, 4000)}
CALLS_OF_HUGE = (50, 20_000)
BUSY_THREADS = (1, 4)
#: The fewest calls that a percentile is told of.
CALLS_FOR_P99, CALLS_FOR_P999 = 200, 1000

_ABOUT = f"""\
Microseconds; the calling thread is busy between two calls. A call each 200 µs (each 500 µs with 100
scalars, 4 ms with 1,000, 20 ms with 10,000), from slower trackers as they can. Each tracker at its
own defaults, in its own process and environment; all phases of a round in one process. Percentiles
of a round; of the rounds the median and the extremes.

**{USUAL} scalars, idle.** CPU is that of a call: of the calling thread, and of the whole process
with its background threads while it logs as fast as it goes (processes beside it are not in it).
"""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A size under a condition: see `children/log_call.py`."""

    scalars: int
    calls: int
    pace_us: int
    seconds_max: float
    busy_threads: int = 0
    is_stopped: bool = False

    @property
    def key(self) -> str:
        """Its name in the results."""
        condition = "stopped" if self.is_stopped else f"busy{self.busy_threads}"
        return f"{self.scalars}/{condition}"


def phases_of(peer: Peer, *, is_quick: bool) -> list[Phase]:
    """Kelt and the floor under all conditions, the others under load with the usual size alone."""
    found = []
    for scalars in SIZES:
        calls, pace_us = CALLS.get(scalars, CALLS_OF_HUGE)
        seconds_max = 3.0
        if is_quick:
            calls, seconds_max = max(5, calls // 20), 1.0

        def phase(
            *, scalars: int = scalars, calls: int = calls, pace_us: int = pace_us,
            seconds_max: float = seconds_max, **condition: Any,
        ) -> Phase:  # fmt: skip
            return Phase(
                scalars=scalars, calls=calls, pace_us=pace_us, seconds_max=seconds_max, **condition
            )

        found.append(phase())
        if scalars == USUAL or peer in {FLOOR, KELT}:
            found += [phase(busy_threads=threads) for threads in BUSY_THREADS]
        if peer is KELT:
            found.append(phase(is_stopped=True))
    return found


def measure(bench: Bench) -> dict[str, Any]:
    peers = [FLOOR, KELT, *OTHERS]
    found: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in peers}
    for number in range(bench.rounds):
        turn = number % len(peers)
        for peer in peers[turn:] + peers[:turn]:
            folder = bench.scratch / f"{number}-{peer.name}"
            folder.mkdir()
            found[peer.name].append(_one(bench, peer, folder))
            print(f"  {number + 1}: {peer.name}", file=sys.stderr, flush=True)
    return {"peers": found}


def _one(bench: Bench, peer: Peer, folder: Path) -> dict[str, Any]:
    phases = phases_of(peer, is_quick=bench.is_quick)
    python = peer.python(bench.peers, sys.executable)
    if not python.exists():
        return {"failed": "its virtual environment is not there"}
    try:
        with _environment_of(peer, folder) as environment:
            result = child(
                "log_call.py", peer.name, folder, json.dumps([asdict(p) for p in phases]),
                environment=environment, python=python, timeout_s=180,
            )  # fmt: skip
    except ChildError as error:
        return {"failed": error.reason}
    by_key = {p.key: r for p, r in zip(phases, result.pop("phases"), strict=True)}
    return {**result, "phases": by_key}


@contextlib.contextmanager
def _environment_of(peer: Peer, folder: Path) -> Iterator[dict[str, str]]:
    """For its process; with what must run beside it."""
    with contextlib.ExitStack() as stack:
        if peer is KELT:
            served = stack.enter_context(server(folder))
            yield stack.enter_context(host(folder, served.url)).environment
            return
        environment = clean_environment() | NO_TELEMETRY | {"HOME": str(folder)}
        if peer.needs_stub:
            environment |= peer.stub_environment(stack.enter_context(stub_server()))
        yield environment


# -- the report --------------------------------------------------------------------------------


def report(result: dict[str, Any]) -> str:
    return "\n".join(
        [
            _ABOUT,
            _usual(result),
            "",
            "**By size of the row, idle: p50.**",
            "",
            _by_size(result, "p50_us", 0),
            "",
            "**By size of the row, idle: p99** (`max` where there were too few calls for one).",
            "",
            _by_size(result, "p99_us", CALLS_FOR_P99),
            "",
            f"**{USUAL} scalars while other Python threads of the process are busy.**",
            "",
            _busy(result),
            "",
            "**kelt under all conditions**; in an outage the daemon stands still (SIGSTOP).",
            "",
            _conditions(result),
            *_missing(result),
        ]
    )


def _rounds(result: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The rounds that went well."""
    return [r for r in result["peers"].get(name, []) if "phases" in r]


def _values(result: dict[str, Any], name: str, phase: str, key: str) -> list[float]:
    return [float(r["phases"][phase][key]) for r in _rounds(result, name)]


def _cell(result: dict[str, Any], name: str, phase: str, key: str) -> str:
    values = _values(result, name, phase, key)
    return spread(values, 0 if statistics.median(values) >= 100 else 1)


def _shown(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and labels of what was measured."""
    return [
        (peer.name, _label(peer, rounds[0]["version"]))
        for peer in (FLOOR, KELT, *OTHERS)
        if (rounds := _rounds(result, peer.name))
    ]


def _label(peer: Peer, version: str) -> str:
    return f"{peer.label} {version}".strip()


def _usual(result: dict[str, Any]) -> str:
    keys = ("p50_us", "p99_us", "p999_us", "max_us", "cpu_thread_us", "cpu_process_us")
    return table(
        ("", "p50", "p99", "p99.9", "max", "CPU, thread", "CPU, process"),
        [
            (label, *(_cell(result, name, f"{USUAL}/busy0", key) for key in keys))
            for name, label in _shown(result)
        ],
    )


def _by_size(result: dict[str, Any], key: str, calls_min: int) -> str:
    rows = []
    for name, label in _shown(result):
        cells = [label]
        for scalars in SIZES:
            phase = f"{scalars}/busy0"
            is_few = min(_values(result, name, phase, "calls")) < calls_min
            said = _cell(result, name, phase, "max_us" if is_few else key)
            cells.append(f"max {said}" if is_few else said)
        rows.append(cells)
    return table(("scalars", *(f"{s:,}" for s in SIZES)), rows)


def _busy(result: dict[str, Any]) -> str:
    phases = [f"{USUAL}/busy{n}" for n in BUSY_THREADS]
    head = [f"{n} busy: {p}" for n in BUSY_THREADS for p in ("p50", "p99", "max")]
    keys = ("p50_us", "p99_us", "max_us")
    return table(
        ("", *head),
        [
            (label, *(_cell(result, name, phase, key) for phase in phases for key in keys))
            for name, label in _shown(result)
        ],
    )


def _conditions(result: dict[str, Any]) -> str:
    said = {"busy0": "idle", "busy1": "1 busy", "busy4": "4 busy", "stopped": "outage"}
    keys = (("p50_us", 0), ("p99_us", CALLS_FOR_P99), ("p999_us", CALLS_FOR_P999), ("max_us", 0))
    rows = []
    for scalars in SIZES if _rounds(result, KELT.name) else ():
        for condition, words in said.items():
            phase = f"{scalars}/{condition}"
            calls = min(_values(result, KELT.name, phase, "calls"))
            cells = [
                _cell(result, KELT.name, phase, key) if calls >= calls_min else "-"
                for key, calls_min in keys
            ]
            rows.append((f"{scalars:,} scalars, {words}", *cells))
    return table(("", "p50", "p99", "p99.9", "max"), rows)


def _missing(result: dict[str, Any]) -> list[str]:
    """Who was not measured, and why."""
    lines = []
    for peer in (FLOOR, KELT, *OTHERS):
        for reason in sorted({r["failed"] for r in result["peers"][peer.name] if "failed" in r}):
            failed = sum(r.get("failed") == reason for r in result["peers"][peer.name])
            lines.append(f"* {peer.label}: not measured in {failed} round(s): {reason}")
    return ["", *lines] if lines else []


# -- the goals ---------------------------------------------------------------------------------


def goals(result: dict[str, Any]) -> list[Goal]:
    idle, busy, large = f"{USUAL}/busy0", f"{USUAL}/busy4", "1000/busy0"
    p50 = _values(result, KELT.name, idle, "p50_us")
    wandb = _values(result, "wandb_offline", idle, "p50_us")
    fastest = [
        min(p["phases"][idle]["p50_us"] for p in round_ if "phases" in p)
        for round_ in zip(*(result["peers"][peer.name] for peer in OTHERS), strict=True)
        if any("phases" in p for p in round_)
    ]
    floor = _values(result, FLOOR.name, idle, "p50_us")
    what = f"`log()` of {USUAL} scalars, idle"
    return [
        _ratio_goal(f"{what}: p50 beside the floor", "at most 3 x", p50, floor, lambda r: r <= 3),
        _ratio_goal(f"{what}: wandb's p50 beside kelt's", "at least 30 x", wandb, p50,
                    lambda r: r >= 30),
        _ratio_goal(f"{what}: the fastest peer's p50 beside kelt's", "at least 8 x", fastest, p50,
                    lambda r: r >= 8),
        _time_goal(result, f"{what}: p99", 50, idle, "p99_us"),
        _time_goal(result, f"`log()` of {USUAL} scalars, 4 busy threads: p99", 200, busy, "p99_us"),
        _time_goal(result, "`log()` of 1,000 scalars: p50", 100, large, "p50_us"),
    ]  # fmt: skip


def _ratio_goal(
    what: str, goal: str, over: list[float], under: list[float], holds: Callable[[float], bool]
) -> Goal:
    ratios = [a / b for a, b in zip(over, under, strict=False)]
    if not ratios:
        return Goal(what=what, goal=goal, measured="-", is_reached=None)
    is_reached = holds(statistics.median(ratios))
    return Goal(what=what, goal=goal, measured=f"{spread(ratios)} x", is_reached=is_reached)


def _time_goal(result: dict[str, Any], what: str, most_us: int, phase: str, key: str) -> Goal:
    values = _values(result, KELT.name, phase, key)
    is_reached = statistics.median(values) <= most_us if values else None
    measured = f"{spread(values)} µs" if values else "-"
    return Goal(what=what, goal=f"at most {most_us} µs", measured=measured, is_reached=is_reached)
