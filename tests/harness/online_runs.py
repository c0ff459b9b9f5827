"""Runs of this very process with a real daemon: where they stand, and what its journal holds."""

from __future__ import annotations

import json
import time

from kelt.journal.reader import read_journal

DEADLINE_S = 60.0


def daemon_pid(root) -> int:
    return int(json.loads((root / "daemon.json").read_text())["pid"])


def wait_until(condition) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_durable(run) -> bool:
    return run._session.sender.state.durable_through >= run._session.spool.seq


def journaled(run) -> list[int]:
    """The records as a server takes them: of a batch that was sent again, what is new."""
    found: list[int] = []
    for entry in read_journal(run.dir):
        if entry.writer_id == run._session.spool.writer_id:
            first_new = max(entry.first_seq, found[-1] + 1 if found else 1)
            found += range(first_new, entry.last_seq + 1)
    return found
