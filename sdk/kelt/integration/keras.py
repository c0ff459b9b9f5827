"""A callback for Keras, on any backend.

    model.fit(..., callbacks=[KeltMetricsLogger("digits", log_freq=100)])

Rows are logged under the number of batches that the model was trained on, which the optimizer
counts and weights' files keep: `epoch/loss`, `epoch/val_loss` … at the end of each epoch and, with
`log_freq`, `batch/loss` … in between. With `point_file=` beside the checkpoints, a training whose
optimizer was restored (`BackupAndRestore`, `load_model`) goes on in the run of that file, rewound
to where the optimizer stands.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from kelt.active import active
from kelt.active_run import Run
from kelt.integration.checkpoints import (
    RunPoint,
    checked_go_on,
    open_run,
    point_in,
    point_of,
    rewind_open,
)
from kelt.wandb_api.carrying import carried_config, carried_row


class KeltMetricsLogger(keras.callbacks.Callback):  # type: ignore[misc] # an untyped base
    """Logs what `fit` reports to a run; behind callbacks that restore weights, in the list.

    A run that is open when the training begins is used as it is; otherwise one is opened. It is
    not finished here: the script's end, or `kelt.finish()`, does that. Where RANK names a rank
    other than 0, nothing is logged.

    Args:
        project: what the run belongs to.
        log_freq: "epoch", "batch", or a number of batches.
        point_file: keeps the run's point, written at each epoch's end.
        go_on: with a restored optimizer, "rewind" goes on in the run of `point_file`, "fork" begins
            another that leaves it there, "new" does neither.
        init: what else `kelt.init` is given, such as name or tags.
    """

    def __init__(
        self,
        project: str | None = None,
        *,
        log_freq: str | int = "epoch",
        point_file: str | Path | None = None,
        go_on: str = "rewind",
        **init: Any,
    ) -> None:
        super().__init__()
        self.run: Run | None = None
        self._every = batches_between_rows(log_freq)
        self._point_file = None if point_file is None else Path(point_file)
        self._go_on = checked_go_on(go_on)
        self._init = {"project": project, **init}
        self._batches = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Opens the run and describes it."""
        del logs
        if os.environ.get("RANK", "0") != "0":
            return
        self._batches = int(self.model.optimizer.iterations)
        point = point_in(self._kept()) if self._batches else None
        if point is not None:
            point = replace(point, step=min(point.step, self._batches))
        self.run = active.current
        if self.run is None:
            self.run = open_run(point, self._go_on, self._init)
        elif point is not None and self._go_on == "rewind" and self.run.resumed:
            rewind_open(self.run, point)  # a run begun here is of the training that goes on
        self.run.config.update(_description(self.model, self.params))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Writes a row, if it is time for one."""
        del batch
        self._batches += 1
        if self.run is not None and self._every and self._batches % self._every == 0:
            self._log(self.run, "batch", logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes a row and the run's point."""
        if self.run is None:
            return
        self._log(self.run, "epoch", {"epoch": epoch, **(logs or {})})
        if self._point_file is not None and (point := point_of(self.run)) is not None:
            try:
                self._keep(point, self._point_file)
            except OSError as error:
                self.run.console.warn_once("point", f"{self._point_file} is not written: {error}")

    @staticmethod
    def _keep(point: RunPoint, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_name(f"{path.name}.new")
        written.write_text(json.dumps(point.as_dict()))
        written.replace(path)

    def _log(self, run: Run, prefix: str, logs: Any) -> None:
        row = {f"{prefix}/{name}": value for name, value in (logs or {}).items()}
        rate = learning_rate(self.model)
        if rate is not None:
            row[f"{prefix}/learning_rate"] = rate
        run.log(carried_row(row, _ignore), step=self._batches)

    def _kept(self) -> object:
        if self._point_file is None:
            return None
        try:
            return json.loads(self._point_file.read_text())
        except (OSError, ValueError):
            return None


def batches_between_rows(log_freq: str | int) -> int:
    """How many batches lie between two rows; 0 where only epochs are logged."""
    return log_freq if isinstance(log_freq, int) else {"epoch": 0, "batch": 1}[log_freq]


def learning_rate(model: Any) -> float | None:
    """The optimizer's learning rate, None where it has none that is a number."""
    try:
        return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
    except (AttributeError, TypeError, ValueError):
        return None


def _description(model: Any, params: Any) -> dict[str, Any]:
    optimizer = model.optimizer.get_config()
    parameters = model.count_params() if model.built else None
    found = {"model": model.name, "parameters": parameters, "optimizer": optimizer}
    return carried_config({**found, "fit": dict(params or {})}, _ignore)


def _ignore(kind: str) -> None:
    """Keras logs numbers alone; a setting of another kind becomes text."""
