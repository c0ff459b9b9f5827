"""The long tier: the same tests as `make test` with many more seeds, for a bounded time.

    python scripts/torture.py [--minutes 120] [--tiers kills,simulation,…] [--workers 2] [--afresh]

Work is cut into units, each with its own seeds, taken from the tiers in turn, so that a short run
touches all of them and the next one goes on behind it. In build/torture/, what is done stands in
state.json, and the counts by phase and fault of the last time that each unit ran in results.jsonl.
A unit that fails prints the command that repeats it, leaves what it said in build/torture/, stays
undone and makes the exit code 1; also one that counted no fault, because its tests were skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "torture"
STATE, RESULTS = BUILD / "state.json", BUILD / "results.jsonl"
UNIT_LIMIT_S = 3600.0
TIDY_UP_S = 30.0


@dataclass(frozen=True)
class Tier:
    """Tests that take their seeds from the environment.

    Attributes:
        name: what people choose it by.
        paths: what to run; the tier is left out where the first is not there.
        units: into how many pieces the whole is cut.
        environment: of a unit; `{seed}` is where its seeds begin.
        seeds: how many each unit takes, so that `{seed}` goes on behind the unit before.
        workers: how many processes at most; tests of time and load want 1.
        is_script: the first path is a program and the others its arguments.
    """

    name: str
    paths: tuple[str, ...]
    units: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    seeds: int = 1
    workers: int = 8
    is_script: bool = False

    @property
    def is_there(self) -> bool:
        """Whether its tests are in this tree."""
        return (ROOT / self.paths[0].partition("::")[0]).exists()


TIERS = (
    Tier(
        "kills",
        ("tests/kill_points/test_kill_points.py",),
        units=25,
        environment={"KELT_TORTURE_FIRST_SEED": "{seed}", "KELT_TORTURE_KILL_ROUNDS": "1"},
    ),
    Tier("stores", ("tests/kill_points/test_store_kills.py",), workers=1),
    Tier(
        "simulation",
        ("tests/simulation",),
        units=40,
        seeds=500,
        environment={"KELT_TORTURE_FIRST_SEED": "{seed}", "KELT_TORTURE_SEEDS": "500"},
    ),
    Tier(
        "crashes",
        ("tests/daemon/test_power_cuts.py",),
        units=10,
        seeds=4000,
        environment={"KELT_TORTURE_FIRST_SEED": "{seed}", "KELT_TORTURE_CRASH_POINTS": "200000"},
    ),
    Tier(
        "damage",
        ("tests/daemon/test_damage.py",),
        units=10,
        seeds=100,
        environment={"KELT_TORTURE_FIRST_SEED": "{seed}", "KELT_TORTURE_DAMAGE_CASES": "100"},
    ),
    Tier(
        "store-damage",
        ("tests/server/test_store_damage.py",),
        units=5,
        seeds=60,
        environment={"KELT_TORTURE_FIRST_SEED": "{seed}", "KELT_TORTURE_STORE_FLIPS": "60"},
    ),
    Tier(
        "strace",
        ("tests/daemon/test_disk_faults.py",),
        units=6,
        seeds=10,
        environment={"KELT_TORTURE_STRACE_NTH_MAX": "{seed}", "KELT_TORTURE_STRACE_NTHS": "10"},
    ),
    Tier(
        "toxics",
        ("tests/end_to_end/test_network_long.py",),
        units=3,
        seeds=1000,
        environment={"KELT_TORTURE_FIRST_SEED": "{seed}", "KELT_TORTURE_NETWORK": "1"},
    ),
    Tier(
        "mutations",
        ("tests/fuzz/test_seeded_mutations.py",),
        units=5,
        seeds=50_000,
        environment={"KELT_TORTURE_FIRST_SEED": "{seed}", "KELT_TORTURE_MUTATIONS": "50000"},
    ),
    Tier("fuzz", ("tests/fuzz/run.py", "--seconds", "60"), units=15, is_script=True),
    # The seeds of these are the machine's own: threads, processes and the network are real.
    Tier(
        "network",
        ("tests/end_to_end/test_network.py", "tests/end_to_end/test_network_refusals.py"),
        units=8,
        workers=1,
    ),
    Tier(
        "races",
        ("tests/daemon/test_lifecycle_race.py",),
        units=20,
        workers=1,
    ),
    Tier(
        "processes",
        ("tests/end_to_end/test_trainer_kills.py", "tests/end_to_end/test_forks.py"),
        units=10,
        workers=1,
    ),
)


@dataclass(frozen=True)
class Unit:
    """A piece of a tier."""

    tier: Tier
    number: int

    @property
    def name(self) -> str:
        """As in the state file."""
        return f"{self.tier.name}:{self.number}"

    @property
    def seed(self) -> int:
        """Where its seeds begin; the commit tier has those before."""
        return (self.number + 1) * self.tier.seeds

    @property
    def environment(self) -> dict[str, str]:
        """What makes it this unit."""
        return {k: v.format(seed=self.seed) for k, v in self.tier.environment.items()}

    def command(self, *, workers: int) -> list[str]:
        """What runs it."""
        if self.tier.is_script:
            arguments = [part.format(seed=self.seed) for part in self.tier.paths]
            return [sys.executable, *arguments]
        count = min(workers, self.tier.workers)
        spread = ["-n", str(count), "--dist", "worksteal"] if count > 1 else []
        timeout = ["-o", f"timeout={UNIT_LIMIT_S:.0f}"]
        return [sys.executable, "-m", "pytest", "-q", *timeout, *spread, *self.tier.paths]

    def as_typed(self, *, workers: int) -> str:
        """For people who repeat it."""
        settings = [f"{key}={value}" for key, value in self.environment.items()]
        python = os.path.relpath(sys.executable, ROOT)
        return shlex.join([*settings, python, *self.command(workers=workers)[1:]])


def units_in_turn(tiers: list[Tier]) -> Iterator[Unit]:
    """The first of each tier, then the second of each, and so on."""
    for number in range(max((tier.units for tier in tiers), default=0)):
        for tier in tiers:
            if number < tier.units:
                yield Unit(tier, number)


@dataclass(frozen=True)
class Outcome:
    """How a unit ended.

    Attributes:
        is_cut: its time was over first.
        said: all its output.
        counts: a JSON object for each count of faults.
    """

    is_good: bool
    is_cut: bool
    said: str
    counts: list[dict[str, Any]]

    @property
    def faults(self) -> int:
        """How many were put in."""
        return sum(told["count"] for told in self.counts)


def run_unit(unit: Unit, *, workers: int, limit_s: float) -> Outcome:
    """Runs a unit to its end, or to the end of its time."""
    path = BUILD / f"counts-{unit.name.replace(':', '-')}.jsonl"
    path.unlink(missing_ok=True)
    environ = {k: v for k, v in os.environ.items() if not k.startswith("KELT_")}
    environ |= unit.environment | {"KELT_FAULT_COUNTS": str(path)}
    process = subprocess.Popen(
        unit.command(workers=workers), cwd=ROOT, env=environ, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    is_cut = False
    try:
        said, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        is_cut, said = True, end_unit(process)
    except BaseException:
        end_unit(process)
        raise
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    counts = [json.loads(line) | {"unit": unit.name, "seed": unit.seed} for line in lines]
    is_good = process.returncode == 0 and not is_cut
    if is_good and not counts and not unit.tier.is_script:
        is_good, said = False, f"{said}\nNo fault was counted: were the tests skipped?"
    return Outcome(is_good, is_cut, said, counts)


def end_unit(process: subprocess.Popen[str]) -> str:
    """Ends its tests, which then end what they have started; what it said."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    try:
        return process.communicate(timeout=TIDY_UP_S)[0]
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]


def keep_counts(unit: Unit, counts: list[dict[str, Any]]) -> None:
    """Puts a unit's counts in the place of those from an earlier time."""
    old = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    kept = [line for line in old if json.loads(line)["unit"] != unit.name]
    new = RESULTS.with_suffix(".new")
    new.write_text("".join(f"{line}\n" for line in [*kept, *map(json.dumps, counts)]))
    new.replace(RESULTS)


def tell(unit: Unit, outcome: Outcome, *, took_s: float, workers: int) -> None:
    """A line for a unit that was well; what it said, and the command, for one that failed."""
    word = "well    " if outcome.is_good else "FAILED  "
    print(
        f"{word} {unit.name:<16} seeds from {unit.seed:<6} {took_s:6.0f} s "
        f"{outcome.faults:8} faults",
        flush=True,
    )
    log = BUILD / f"failed-{unit.name.replace(':', '-')}.txt"
    if outcome.is_good:
        log.unlink(missing_ok=True)
        return
    log.write_text(outcome.said, encoding="utf-8")
    print(outcome.said[-4000:])
    if outcome.is_cut:
        print(f"It did not end within {took_s:.0f} s.")
    print(f"again: {unit.as_typed(workers=workers)}", flush=True)


def read_state() -> dict[str, float]:
    """What is done: unit → seconds it took."""
    try:
        return dict(json.loads(STATE.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def chosen_tiers(names: str) -> list[Tier]:
    """The tiers named, or all, as far as they are there."""
    wanted = [name for name in names.split(",") if name]
    unknown = set(wanted) - {tier.name for tier in TIERS}
    if unknown:
        known = ", ".join(tier.name for tier in TIERS)
        sys.exit(f"There is no tier {', '.join(sorted(unknown))}; choose from {known}.")
    tiers = [tier for tier in TIERS if not wanted or tier.name in wanted]
    for tier in tiers:
        if not tier.is_there:
            print(f"left out: {tier.name} ({tier.paths[0]} is not there)")
    return [tier for tier in tiers if tier.is_there]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--tiers", default="", help="comma-separated; all without it")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--afresh", action="store_true", help="forget what is done")
    chosen = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    if chosen.afresh:
        STATE.unlink(missing_ok=True)
        RESULTS.unlink(missing_ok=True)
    state, failures = read_state(), 0
    end_s = time.monotonic() + chosen.minutes * 60
    for unit in units_in_turn(chosen_tiers(chosen.tiers)):
        left_s = end_s - time.monotonic()
        if unit.name in state:
            continue
        if left_s <= 0:
            print("The time is over; `make torture` goes on from here.")
            break
        started_s = time.monotonic()
        outcome = run_unit(unit, workers=chosen.workers, limit_s=min(left_s, UNIT_LIMIT_S))
        took_s = time.monotonic() - started_s
        if outcome.is_cut and left_s < UNIT_LIMIT_S:
            print(f"cut off  {unit.name}: the time is over; it is repeated next time")
            break
        keep_counts(unit, outcome.counts)
        tell(unit, outcome, took_s=took_s, workers=chosen.workers)
        if outcome.is_good:
            state[unit.name] = round(took_s, 1)
            STATE.write_text(json.dumps(state, indent=1), encoding="utf-8")
        failures += not outcome.is_good
    print(f"{len(state)} units done, {failures} failed now; counts in {RESULTS.relative_to(ROOT)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
