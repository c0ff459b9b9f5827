"""Writes the generated part of docs/guarantees.md: the table phase by fault, from runs.

    python scripts/write_guarantees.py                    the page from docs/guarantees-results.json
    python scripts/write_guarantees.py --from FILE…       first, the results from runs
                                                          (KELT_FAULT_COUNTS or build/torture)

A cell is the number of faults that tests put into a phase; how many of them ended badly stands
beside it, if any did.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guarantees.md"
RESULTS = ROOT / "docs" / "guarantees-results.json"
BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"

#: In the order of a record's way.
PHASES = {
    "spool_write": "spool write",
    "spool_rotate": "spool rotate",
    "rpc_send": "RPC send",
    "journal_append": "journal append",
    "fdatasync": "fdatasync",
    "ack": "acknowledgement",
    "segment_rotate": "segment rotate",
    "batch_build": "batch build",
    "upstream_send": "upstream send",
    "committed_ack_lost": "committed, answer lost",
    "cursor_save": "cursor save",
    "gc": "deleting what is committed",
    "recovery": "recovery",
    "fork_rewind": "fork, rewind",
    "spawn_handover_shutdown": "spawn, handover, shutdown",
}
FAULTS = {
    "KILL trainer": "KILL trainer",
    "KILL daemon": "KILL daemon",
    "KILL server": "KILL server",
    "STOP trainer": "STOP trainer",
    "STOP daemon": "STOP daemon",
    "fork": "os.fork",
    "power loss": "power loss",
    "EIO": "EIO",
    "ENOSPC": "ENOSPC",
    "EMFILE/OOM": "EMFILE, memory",
    "reset": "reset",
    "blackhole": "black hole",
    "slow ack": "slow, reordered answer",
    "clock": "clock jump",
    "bit flip": "flipped byte, truncation",
    "error reply": "5xx, 429, 4xx, repeated answer",
}


def gathered(lines: Iterable[str]) -> dict[str, Any]:
    """The results of runs: counts by phase and fault, and the tests they come from.

    Raises:
        ValueError: a phase or fault that the table does not know.
    """
    cells: dict[tuple[str, str], list[int]] = {}
    tests: dict[tuple[str, str], set[str]] = {}
    for line in lines:
        told = json.loads(line)
        key = (told["phase"], told["fault"])
        if key[0] not in PHASES or key[1] not in FAULTS:
            raise ValueError(f"{told['test']}: there is no cell {key}; see {Path(__file__).name}")
        cell = cells.setdefault(key, [0, 0])
        cell[0] += told["count"]
        cell[1] += told["failed"]
        tests.setdefault(key, set()).add(told["test"])
    order = [(phase, fault) for phase in PHASES for fault in FAULTS]
    return {
        "ran_on": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "cells": [
            {
                "phase": phase, "fault": fault, "count": cells[phase, fault][0],
                "failed": cells[phase, fault][1], "tests": sorted(tests[phase, fault]),
            }
            for phase, fault in order if (phase, fault) in cells
        ],
    }  # fmt: skip


def table(results: Mapping[str, Any]) -> str:
    """The generated part, between the markers."""
    cells = {(cell["phase"], cell["fault"]): cell for cell in results["cells"]}
    used = [fault for fault in FAULTS if any(fault == key[1] for key in cells)]
    total = sum(cell["count"] for cell in cells.values())
    failed = sum(cell["failed"] for cell in cells.values())
    lines = [
        (
            f"Runs up to {results['ran_on']}: {total:,} faults in {len(cells)} cells, "
            f"{failed} ended badly."
        ),
        "",
        "| | " + " | ".join(FAULTS[fault] for fault in used) + " |",
        "|---|" + "--:|" * len(used),
    ]
    for phase, title in PHASES.items():
        row = [_shown(cells.get((phase, fault))) for fault in used]
        lines.append(f"| {title} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def _shown(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return ""
    return f"{cell['count']:,}" + (f" ({cell['failed']} bad)" if cell["failed"] else "")


def rendered(page: str, results: Mapping[str, Any]) -> str:
    """The page with its generated part as the results have it."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} lacks its markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table(results)}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--from", dest="runs", type=Path, nargs="+", default=[])
    chosen = parser.parse_args()
    if chosen.runs:
        lines = [line for path in chosen.runs for line in path.read_text().splitlines()]
        RESULTS.write_text(json.dumps(gathered(lines), indent=1) + "\n", encoding="utf-8")
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main()
