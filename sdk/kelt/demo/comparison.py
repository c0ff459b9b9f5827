"""What the server must hold, from the plain files, and how that differs from what it does hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Expectation:
    """What one run (or archived branch) must look like at the end."""

    title: str
    run_id: str
    state: str
    rows: Mapping[int, Row]
    reason_has: str = ""
    #: The trainer may have been killed between writing a row down and logging it.
    last_row_may_miss: bool = False
    archived_branch: str = ""


def read_plain_file(path: Path) -> dict[int, Row]:
    """The rows of a plain file by step; a last line cut short by a kill is no row."""
    rows = {}
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            written = json.loads(line)
            rows[int(written["step"])] = written["row"]
    return rows


def up_to(rows: Mapping[int, Row], step: int) -> dict[int, Row]:
    """The rows that a fork or rewind at `step` keeps."""
    return {number: row for number, row in rows.items() if number <= step}


def row_differences(
    expected: Mapping[int, Row], found: Iterable[Row], *, last_row_may_miss: bool
) -> list[str]:
    """Each way in which the rows found are not those expected, as a sentence."""
    differences = []
    held: dict[int, Row] = {}
    for row in found:
        step = row["_step"]
        values = {key: value for key, value in row.items() if not key.startswith("_")}
        if step in held:
            differences.append(f"step {step} is there twice")
        held[step] = values
    missing = sorted(expected.keys() - held.keys())
    if last_row_may_miss and missing == [max(expected)]:
        missing = []
    differences += [f"step {step} is missing" for step in missing]
    for step in sorted(held.keys() - expected.keys()):
        differences.append(f"step {step} was never logged")
    for step in sorted(held.keys() & expected.keys()):
        if _typed(held[step]) != _typed(expected[step]):
            differences.append(f"step {step} holds {held[step]!r} instead of {expected[step]!r}")
    return differences


def _typed(row: Row) -> dict[str, tuple[str, Any]]:
    return {key: (type(value).__name__, value) for key, value in row.items()}
