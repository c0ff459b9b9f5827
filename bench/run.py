"""`make bench`: measures kelt beside its peers and beside the least that could be done.

    python bench/run.py [SECTION ...] [--rounds 5] [--quick] [--results FOLDER]
    python bench/run.py --docs      writes the tables of docs/performance.md and README.md

What is compared takes turns within each round, so that a noisy machine harms all alike.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import document, machine
from measuring.section import Bench, Section
from sections import NAMES

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "performance.md"
README = HERE.parent / "README.md"
#: Sections whose figures the README shows.
IN_README = ("log_call", "training", "end_to_end", "finish", "trainer")


def section(name: str) -> Section:
    module: Any = importlib.import_module(f"sections.{name}")
    found: Section = module
    return found


def measure(name: str, *, rounds: int, is_quick: bool) -> dict[str, Any]:
    """One section's result, with where and when it was measured."""
    with tempfile.TemporaryDirectory(prefix="kelt-bench-") as folder:
        bench = Bench(
            rounds=rounds,
            is_quick=is_quick,
            scratch=Path(folder),
            peers=HERE.parent / ".venv-bench" / "peers",
        )
        result = section(name).measure(bench)
    facts = machine.facts() | {"date": time.strftime("%Y-%m-%d", time.gmtime())}
    return {"facts": facts, "rounds": rounds, "is_quick": is_quick, **result}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--docs", action="store_true")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(NAMES):
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(NAMES)}")
    arguments.results.mkdir(parents=True, exist_ok=True)
    if not arguments.docs:
        for name in arguments.sections or NAMES:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            result = measure(name, rounds=arguments.rounds, is_quick=arguments.quick)
            (arguments.results / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
            print(document.of_section(section(name), result), flush=True)
        return
    found = {
        name: json.loads(path.read_text())
        for name in NAMES
        if (path := arguments.results / f"{name}.json").exists()
    }
    measured = {name: (section(name), result) for name, result in found.items()}
    document.write(DOCUMENT, measured)
    document.write_short(README, {name: measured[name] for name in IN_README if name in measured})


if __name__ == "__main__":
    main()
