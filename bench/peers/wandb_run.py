"""wandb: offline, or online against the stub server."""

from __future__ import annotations

from pathlib import Path

import wandb

from peers import Tracker


def open_run(folder: Path, variant: str) -> Tracker:
    run = wandb.init(project="bench", mode=variant, dir=str(folder))
    return Tracker(run.log, run.finish)
