"""swanlab, offline."""

from __future__ import annotations

from pathlib import Path

import swanlab

from peers import Tracker


def open_run(folder: Path, _variant: str) -> Tracker:
    swanlab.init(project="bench", mode="offline", logdir=str(folder))
    return Tracker(swanlab.log, swanlab.finish)
