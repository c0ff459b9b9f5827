"""A callback for Hugging Face's Trainer.

    Trainer(..., args=TrainingArguments(..., report_to="none"), callbacks=[KeltCallback("digits")])

Rows are logged under the Trainer's global step, by the names that its other integrations use
(`train/loss`, `eval/loss`). Config: the training arguments, the model's config and its number of
parameters. Rank zero alone logs. Checkpoints carry the run's point in `trainer_state.json`, so
that `trainer.train(resume_from_checkpoint=...)` goes on in the run of the checkpoint.
"""

from __future__ import annotations

from typing import Any

from transformers.integrations.integration_utils import rewrite_logs
from transformers.trainer_callback import ExportableState, TrainerCallback

from kelt.active import active
from kelt.active_run import Run
from kelt.integration.checkpoints import (
    checked_go_on,
    open_run,
    point_in,
    point_of,
    rewind_open,
)
from kelt.wandb_api.carrying import carried_config, carried_row

#: What the Trainer says once, at its end.
_OF_THE_WHOLE = (
    "train_runtime",
    "train_samples_per_second",
    "train_steps_per_second",
    "train_loss",
    "total_flos",
)


class KeltCallback(TrainerCallback, ExportableState):  # type: ignore[misc] # untyped bases
    """Logs a Trainer's metrics to a run.

    A run that is open when the training begins is used as it is, and taken back to the checkpoint
    if the training starts from one of its own. Otherwise one is opened; neither is finished here,
    so that evaluation and prediction are logged too: the script's end, or `kelt.finish()`, does.

    Args:
        project: what the run belongs to.
        go_on: what a training that starts from a checkpoint does: "rewind" goes on in the
            checkpoint's run, "fork" begins another that leaves it there, "new" knows nothing of it.
        init: what else `kelt.init` is given, such as name or tags.

    Attributes:
        run: the run, on rank zero once the training has begun.
    """

    def __init__(self, project: str | None = None, *, go_on: str = "rewind", **init: Any) -> None:
        self.run: Run | None = None
        self._go_on = checked_go_on(go_on)
        self._init = {"project": project, **init}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        point = None if self.run is None else point_of(self.run)
        kept = None if point is None else point.as_dict()
        return {"args": {**self._init, "go_on": self._go_on}, "attributes": {"point": kept}}

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        """Opens the run and describes it."""
        del control, kwargs
        if state.is_hyper_param_search and self.run is not None:
            self.run.finish()
        self._begin(args, state, model)

    def _begin(self, args: Any, state: Any, model: Any) -> None:
        if state.is_world_process_zero:
            self.run = self._opened(args, state)
            self.run.config.update(_description(args, model))

    def _opened(self, args: Any, state: Any) -> Run:
        kept = (state.stateful_callbacks or {}).get(type(self).__name__, {})
        is_resumed = state.global_step > 0 and isinstance(kept, dict)
        point = point_in(kept.get("attributes", {}).get("point")) if is_resumed else None
        current = active.current
        if current is not None:
            if point is not None and self._go_on == "rewind":
                rewind_open(current, point)
            return current
        init = {"name": args.run_name, **self._init}
        if state.trial_name is not None:
            init |= {"name": state.trial_name, "group": args.run_name}
        return open_run(point, self._go_on, init)

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: Any = None,
        model: Any = None,
        **kwargs: Any,
    ) -> None:
        """Writes a row; what is of the whole training goes into the summary."""
        del control, kwargs
        if self.run is None:  # an evaluation before any training
            self._begin(args, state, model)
        if self.run is None or not logs:
            return
        whole = {name: value for name, value in logs.items() if name in _OF_THE_WHOLE}
        if whole:
            self.run.summary.update(carried_row(whole, _ignore))
        row = rewrite_logs({name: value for name, value in logs.items() if name not in whole})
        self.run.log(carried_row(row, _ignore), step=state.global_step)

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any) -> None:
        """Writes the metrics of a prediction at the step reached."""
        self.on_log(args, state, control, logs=metrics, **kwargs)


def _ignore(kind: str) -> None:
    """The Trainer logs numbers alone."""


def _description(args: Any, model: Any) -> dict[str, Any]:
    found = dict(args.to_dict())
    config = getattr(model, "config", None)
    if config is not None:
        found = {**(config if isinstance(config, dict) else config.to_dict()), **found}
    if hasattr(model, "num_parameters"):
        found["model/num_parameters"] = model.num_parameters()
    return carried_config(found, _ignore)
