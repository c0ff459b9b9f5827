"""tensorboardX: a file writer, one scalar a call."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from tensorboardX import SummaryWriter

from peers import Tracker


def open_run(folder: Path, _variant: str) -> Tracker:
    writer = SummaryWriter(str(folder))
    add_scalar = writer.add_scalar
    steps = count()

    def log(row: dict[str, float]) -> None:
        step = next(steps)
        for name, value in row.items():
            add_scalar(name, value, step)

    return Tracker(log, writer.close)
