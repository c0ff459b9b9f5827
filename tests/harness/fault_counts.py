"""A pytest plug-in that counts what the table in docs/guarantees.md shows.

A test names its cell: `@pytest.mark.covers(phase="journal_append", fault="power loss")`, more than
once where it belongs to several. It counts for one fault, unless it says otherwise through the
fixture `record_faults`: `record_faults(50_000)` for its only cell, or
`record_faults(12, phase=…, fault=…)`. With `KELT_FAULT_COUNTS` set, every counted test appends a
JSON line to that file: phase, fault, count, failed, test.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

PROPERTY = "fault_counts"
_COUNTS = pytest.StashKey()


@pytest.fixture
def record_faults(request):
    """Says how many faults a test has put in."""
    counts = request.node.stash.setdefault(_COUNTS, [])

    def record(count, *, phase=None, fault=None):
        counts.append((phase, fault, int(count)))

    return record


def cells_of(item):
    """(phase, fault, count) of a test, as far as it came."""
    marked = [
        (mark.kwargs["phase"], mark.kwargs["fault"]) for mark in item.iter_markers(name="covers")
    ]
    said = item.stash.get(_COUNTS, [])
    unnamed = sum(count for phase, _, count in said if phase is None)
    cells = [(phase, fault, unnamed or 1) for phase, fault in marked]
    named = [(phase, fault, count) for phase, fault, count in said if phase is not None]
    return (cells if unnamed or not named else []) + named


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if call.when == "call" and not report.skipped and (cells := cells_of(item)):
        report.user_properties.append((PROPERTY, cells))


def pytest_runtest_logreport(report):
    path = os.environ.get("KELT_FAULT_COUNTS")
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    if not path or is_worker or report.when != "call":
        return
    cells = dict(report.user_properties).get(PROPERTY, [])
    with Path(path).open("a", encoding="utf-8") as file:
        for phase, fault, count in cells:
            line = {
                "phase": phase, "fault": fault, "count": count,
                "failed": int(report.failed), "test": report.nodeid.partition("[")[0],
            }  # fmt: skip
            file.write(json.dumps(line) + "\n")
