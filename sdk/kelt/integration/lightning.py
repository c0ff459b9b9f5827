"""A logger for Lightning, and a callback for its checkpoints.

    Trainer(logger=KeltLogger("digits"), callbacks=[KeltCheckpoint()])

Rows are logged under the Trainer's step. Config: what `save_hyperparameters` keeps. Rank zero
alone logs. With `KeltCheckpoint` the checkpoints carry the run's point, and a training goes on in
the run of the checkpoint that it starts from:

    trainer = Trainer(logger=KeltLogger("digits", checkpoint=path), callbacks=[KeltCheckpoint()])
    trainer.fit(model, ckpt_path=path)

The logger does not finish its run, since `fit` may be followed by `test`: the script's end, or
`kelt.finish()`, does.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from kelt.active import active
from kelt.active_run import Run
from kelt.integration.checkpoints import (
    RunPoint,
    checked_go_on,
    open_run,
    point_in,
    point_of,
    point_to_go_on_from,
    rewind_open,
)
from kelt.wandb_api.carrying import carried_config, carried_row

_KEY = "kelt_run_point"


class KeltLogger(Logger):  # type: ignore[misc] # an untyped base
    """Logs a Trainer's metrics to a run.

    Args:
        project: what the run belongs to.
        run: log to this open run; without one, to the run that is open when the training begins,
            else to one that is opened then.
        prefix: stands in front of every metric's name, with a slash.
        checkpoint: the file that `ckpt_path` names, to go on in its run; None, or a file that is
            not there (yet) or carries no point, begins a run.
        go_on: with `checkpoint`, "rewind" goes on in its run, "fork" begins another that leaves it
            there.
        init: what else `kelt.init` is given, such as name or tags.
    """

    def __init__(
        self,
        project: str | None = None,
        *,
        run: Run | None = None,
        prefix: str = "",
        checkpoint: str | Path | None = None,
        go_on: str = "rewind",
        **init: Any,
    ) -> None:
        super().__init__()
        self._run = run
        self._prefix = f"{prefix}/" if prefix else ""
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        self._go_on = checked_go_on(go_on)
        self._init = {"project": project, **init}
        self._came_from: RunPoint | None = None

    @property
    @rank_zero_experiment  # type: ignore[untyped-decorator] # theirs
    def experiment(self) -> Run:
        """The run, opened when it is first asked for; on other ranks nothing that answers."""
        if self._run is None:
            self._run = active.current
        if self._run is None:
            point = point_in(_kept_in(self._checkpoint))
            self._came_from = point_to_go_on_from(point, self._go_on, self._init)
            self._run = open_run(self._came_from, self._go_on, self._init)
        return self._run

    @rank_zero_only  # type: ignore[untyped-decorator] # theirs
    def go_back(self, point: RunPoint) -> None:
        """Takes the run to a checkpoint that was loaded, unless it was opened there."""
        run = self.experiment
        if self._go_on == "rewind" and point != self._came_from:
            rewind_open(run, point)

    @property
    def name(self) -> str | None:
        """The project: the first part of the default folder of checkpoints."""
        return self._init["project"] if self._run is None else self._run.project

    @property
    def version(self) -> str | None:
        """The run id: the second part of that folder."""
        return self._init.get("id") if self._run is None else self._run.id

    @rank_zero_only  # type: ignore[untyped-decorator] # theirs
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace | None = None, *_args: Any, **_named: Any
    ) -> None:
        """Adds to the run's config."""
        values = vars(params) if isinstance(params, Namespace) else dict(params or {})
        self.experiment.config.update(carried_config(values, _ignore))

    @rank_zero_only  # type: ignore[untyped-decorator] # theirs
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Writes a row."""
        row = {f"{self._prefix}{name}": value for name, value in metrics.items()}
        self.experiment.log(carried_row(row, _ignore), step=step)


class KeltCheckpoint(Callback):  # type: ignore[misc] # an untyped base
    """Writes the run's point into checkpoints, and takes an open run back to the one loaded."""

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """A checkpoint is about to be written."""
        del pl_module
        for logger in _loggers_of(trainer):
            point = point_of(logger.experiment)
            if point is not None:
                checkpoint[_KEY] = point.as_dict()

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """A checkpoint was read."""
        del pl_module
        point = point_in(checkpoint.get(_KEY))
        for logger in _loggers_of(trainer):
            if point is not None:
                logger.go_back(point)


def _loggers_of(trainer: Any) -> list[KeltLogger]:
    """The Trainer's logger of ours, on rank zero."""
    if not trainer.is_global_zero:
        return []
    return [logger for logger in trainer.loggers if isinstance(logger, KeltLogger)][:1]


def _kept_in(checkpoint: Path | None) -> object:
    """What a checkpoint's file has of kelt; None where there is no such file."""
    if checkpoint is None or not checkpoint.is_file():
        return None
    # The user's own file, which the Trainer is about to read in the same way.
    return torch.load(checkpoint, map_location="cpu", weights_only=False).get(_KEY)


def _ignore(kind: str) -> None:
    """Lightning logs numbers alone; a hyperparameter of another kind becomes text."""
