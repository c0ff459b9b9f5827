"""`wandb.integration.keras`, over Keras itself: with any backend, and without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from kelt.integration.keras import batches_between_rows, learning_rate
from kelt.wandb_api.artifacts import Artifact
from kelt.wandb_api.errors import Error
from kelt.wandb_api.missing import missing
from kelt.wandb_api.starting import current_run, define_metric, log


class WandbMetricsLogger(keras.callbacks.Callback):  # type: ignore[misc] # an untyped base
    """Logs what `fit` reports to the open run, by the names and axes that wandb's class gives.

    Args:
        log_freq: "epoch", "batch", or a number of batches.
        initial_global_step: accepted; the optimizer knows its step.
    """

    def __init__(
        self,
        log_freq: str | int = "epoch",
        initial_global_step: int = 0,
        *_args: Any,
        **_named: Any,
    ) -> None:
        super().__init__()
        _require_run("WandbMetricsLogger")
        self.global_step = initial_global_step
        self._every = batches_between_rows(log_freq)
        self._next_batch_step = 0
        if self._every:
            define_metric("batch/batch_step")
            define_metric("batch/*", step_metric="batch/batch_step")
        else:
            define_metric("epoch/epoch")
            define_metric("epoch/*", step_metric="epoch/epoch")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes a row."""
        self._log("epoch", logs, {"epoch/epoch": epoch})

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Writes a row, if it is time for one."""
        self.global_step += 1
        if self._every and batch % self._every == 0:
            self._log("batch", logs, {"batch/batch_step": self._next_batch_step})
            self._next_batch_step += self._every

    def _log(self, prefix: str, logs: Any, place: dict[str, int]) -> None:
        row = {f"{prefix}/{name}": value for name, value in (logs or {}).items()} | place
        rate = learning_rate(self.model)
        log(row if rate is None else {**row, f"{prefix}/learning_rate": rate})


class WandbCallback(keras.callbacks.Callback):  # type: ignore[misc] # as above
    """wandb's older callback: the epoch's metrics by their plain names, and the best of one.

    Args:
        monitor: the metric whose best value goes into the summary.
        mode: "min" or "max"; "auto" goes by the name.
        more: what wandb draws or saves beside that, which is left out.
    """

    def __init__(
        self, monitor: str = "val_loss", verbose: int = 0, mode: str = "auto", **more: Any
    ) -> None:
        super().__init__()
        _require_run("WandbCallback")
        del verbose, more
        self.monitor = monitor
        wants_high = mode == "max" or (
            mode == "auto" and ("acc" in monitor or "fmeasure" in monitor)
        )
        self._sign = -1.0 if wants_high else 1.0
        self.best: float | None = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes a row."""
        values = dict(logs or {})
        log({"epoch": epoch, **values})
        value, run = values.get(self.monitor), current_run()
        if value is None or run is None:
            return
        if self.best is None or self._sign * value < self._sign * self.best:
            self.best = float(value)
            run.summary.update({f"best_{self.monitor}": self.best, "best_epoch": epoch})


class WandbModelCheckpoint(keras.callbacks.ModelCheckpoint):  # type: ignore[misc] # as above
    """Keras's own, whose files become versions of the artifact `run_<id>_model`, as wandb's do."""

    def __init__(self, filepath: Any, *args: Any, **named: Any) -> None:
        for option in ("initial_value_threshold", "options"):
            if named.get(option, 0) is None:
                del named[option]
        super().__init__(filepath, *args, **named)
        _require_run("WandbModelCheckpoint")

    def _save_model(self, epoch: int, batch: int | None, logs: Any) -> None:
        """Logs what Keras has written; with `save_best_only` that may be nothing."""
        path = Path(self._get_file_path(epoch, batch, logs))
        before = _changed_at(path)
        super()._save_model(epoch, batch, logs)
        run = current_run()
        if run is None or _changed_at(path) == before:
            return
        artifact = Artifact(f"run_{run.id}_model", "model")
        (artifact.add_dir if path.is_dir() else artifact.add_file)(path)
        place = f"epoch_{epoch}" if batch is None else f"epoch_{epoch}_batch_{batch}"
        run.log_artifact(artifact, aliases=[place])


WandbEvalCallback = missing("wandb.integration.keras.WandbEvalCallback")


def _changed_at(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def _require_run(name: str) -> Any:
    run = current_run()
    if run is None:
        raise Error(f"You must call `wandb.init()` before {name}()")
    return run
