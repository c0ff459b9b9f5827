"""kelt, online: with its daemon, and a server where KELT_UPSTREAM says."""

from __future__ import annotations

import time
from pathlib import Path

import kelt
from peers import Tracker

_CONNECT_TIMEOUT_S = 20


def open_run(_folder: Path, _variant: str) -> Tracker:
    run = kelt.init("bench")
    # The first run on a host starts the daemon; what is measured is a training, not its start.
    deadline_s = time.monotonic() + _CONNECT_TIMEOUT_S
    while not run._session.sender.state.is_connected:  # noqa: SLF001 # nobody else needs to know
        if time.monotonic() > deadline_s:
            raise TimeoutError("the daemon is not there")
        time.sleep(0.01)
    return Tracker(run.log, run.finish)
