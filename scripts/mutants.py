"""Checks the suite itself: plants each fault of `mutant_list.py` and wants its tests to turn red.

    python scripts/mutants.py [--only NAME]… [--workers 2] [--limit-s 240]

Each mutant lives in a copy under build/mutants/; the working tree is never changed. Exit code 1 if
a fault was missed, a text to replace is gone, what replaces it cannot run, or the tests are red
without any fault.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mutant_list import MUTANTS, Edit, Mutant

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "mutants"
PACKAGES = ("sdk", "proto", "daemon", "server")
COPIED = (*PACKAGES, "tests", "scripts", "docs", "pyproject.toml", "README.md", "Makefile")
#: Enough to notice; the whole number is for tests of code that is right.
CRASH_POINTS = "4000"
_RED = 1


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant."""

    name: str
    breaks: str
    is_caught: bool
    by: str
    seconds: float


class StaleMutantError(Exception):
    """A text that a mutant replaces is not there once, or what replaces it cannot run."""


def apply(edit: Edit, tree: Path) -> None:
    """Replaces the text in the one module that holds it.

    Raises:
        StaleMutantError: it occurs elsewhere too, or nowhere; or the module then has a name that
            is not defined, which any test would notice.
    """
    found = [
        path
        for path in sorted((tree / edit.folder).rglob("*.py"))
        for _ in range(path.read_text(encoding="utf-8").count(edit.search))
    ]
    if len(found) != 1:
        raise StaleMutantError(
            f"occurs {len(found)} times in {edit.folder}, not once: {edit.search.strip()!r}"
        )
    text = found[0].read_text(encoding="utf-8")
    found[0].write_text(text.replace(edit.search, edit.replace), encoding="utf-8")
    linted = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--select=E9,F821", str(found[0])],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if linted.returncode:
        raise StaleMutantError(f"cannot run: {linted.stdout.partition(chr(10))[0]}")


def copy_tree(tree: Path) -> Path:
    """A fresh copy of what the tests need."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source, tree / name, ignore=ignored, symlinks=True)
        elif source.exists():
            shutil.copy2(source, tree / name)
    return tree


def pytest(tree: Path, tests: Iterable[str], *, limit_s: float) -> tuple[int, str]:
    """Runs tests against the copy; (exit code, output), exit code 1 where it had to be ended."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("KELT_", "PYTEST_"))}
    environ["KELT_TORTURE_CRASH_POINTS"] = CRASH_POINTS
    environ["PYTHONPATH"] = os.pathsep.join(str(tree / package) for package in PACKAGES)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
    ]
    command += ["--basetemp", str(tree / "tmp"), *tests]
    try:
        done = subprocess.run(
            command, cwd=tree, env=environ, capture_output=True, text=True,
            timeout=limit_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return _RED, f"FAILED (no end within {limit_s:.0f} s)"
    return done.returncode, done.stdout + done.stderr


def first_failure(output: str) -> str:
    """The test that noticed."""
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", output, re.MULTILINE)
    return found.group(1) if found else output.strip().rpartition("\n")[2]


def try_mutant(mutant: Mutant, *, limit_s: float) -> Outcome:
    """Plants one fault and runs its tests."""
    started_s = time.monotonic()
    tree = copy_tree(BUILD / mutant.name.replace(" ", "-").replace(",", "").replace("'", ""))
    try:
        for edit in mutant.edits:
            apply(edit, tree)
        code, output = pytest(tree, mutant.tests, limit_s=limit_s)
    except StaleMutantError as error:
        return Outcome(mutant.name, mutant.breaks, is_caught=False, by=str(error), seconds=0.0)
    is_caught = code == _RED
    by = first_failure(output) if is_caught else f"MISSED (pytest: {code}) {output[-300:]}"
    if is_caught:
        shutil.rmtree(tree, ignore_errors=True)
    return Outcome(mutant.name, mutant.breaks, is_caught, by, time.monotonic() - started_s)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", default=[], help="a part of a mutant's name")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit-s", type=float, default=240.0)
    chosen = parser.parse_args()
    mutants = [m for m in MUTANTS if not chosen.only or any(o in m.name for o in chosen.only)]
    tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    print(f"without a fault: {len(tests)} selections must be green", flush=True)
    code, output = pytest(copy_tree(BUILD / "unchanged"), tests, limit_s=4 * chosen.limit_s)
    if code != 0:
        print(output[-6000:])
        print("The tests are red without any fault; mend that first.")
        return 1
    with ThreadPoolExecutor(chosen.workers) as pool:
        missed = 0
        for outcome in pool.map(lambda m: try_mutant(m, limit_s=chosen.limit_s), mutants):
            missed += not outcome.is_caught
            word = "caught" if outcome.is_caught else "MISSED"
            print(
                f"{word}  {outcome.breaks:<4} {outcome.name:<52} {outcome.seconds:5.0f} s  "
                f"{outcome.by}",
                flush=True,
            )
    print(f"{len(mutants) - missed} of {len(mutants)} planted faults caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
