"""A pytest plug-in: a session whose tests leave processes behind fails, and says which.

What a test starts, and what that starts, inherits a mark in its environment, and there pytest's own
name of the test. They are looked for once, at the end, and those that are still ending are waited
for.
"""

from __future__ import annotations

import os
import time
import uuid

import psutil
import pytest

from harness.server_forker import forker

MARK = "STARTED_BY_TESTS"
_ENDING_S = 30.0


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left_behind():
    mark = os.environ[MARK] = uuid.uuid4().hex
    yield
    deadline = time.monotonic() + _ENDING_S
    while (left := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.2)
    for process in left:
        process.kill()
    assert not left, "\n".join(["Tests left processes behind:", *left.values()])


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
