"""A pytest plug-in: what tests leave running is ended, and `make test-long` fails by it.

What a test starts, and what that starts, inherits a mark in its environment, and there pytest's own
name of the test. They are looked for once, at the end of the session. In `make test-long` those
that are still ending are waited for, and what stays fails the session, by name.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid

import psutil
import pytest

from harness.amounts import amount
from harness.server_forker import forker

MARK = "STARTED_BY_TESTS"
_ENDING_S = 30


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left_behind():
    mark = os.environ[MARK] = uuid.uuid4().hex
    yield
    deadline = time.monotonic() + amount(0, long=_ENDING_S)
    while (left := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.2)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    assert not (left and amount(0, long=1)), "\n".join(
        ["Tests left processes behind:", *left.values()]
    )


def _marked(mark: str) -> dict[psutil.Process, str]:
    """Other processes with the mark, and what to say of each."""
    ours = {os.getpid()}
    if forker.cache_info().currsize:
        ours.add(forker().process.pid)  # it ends with this one; a server that it has forked counts
    found = {}
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if environment.get(MARK) == mark and process.pid not in ours:
                test = environment.get("PYTEST_CURRENT_TEST", "")
                found[process] = f"{test}: {process.pid} {' '.join(process.cmdline())}"
        except psutil.Error:  # ended meanwhile, or another user's
            continue
    return found
