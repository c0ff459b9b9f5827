"""mlflow into its default store, SQLite: plain, or with asynchronous logging."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import mlflow

from peers import Tracker


def open_run(folder: Path, variant: str) -> Tracker:
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment("bench")
    mlflow.start_run()
    steps = count()
    is_plain = variant != "async"

    def log(row: dict[str, float]) -> None:
        mlflow.log_metrics(row, step=next(steps), synchronous=is_plain)

    def finish() -> None:
        mlflow.end_run()
        if not is_plain:
            mlflow.flush_async_logging()

    return Tracker(log, finish)
