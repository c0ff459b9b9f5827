"""The point of a run at which a checkpoint was saved, and going on from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import kelt
from kelt.active_run import Run
from kelt.errors import UsageError

#: What a training that starts from a checkpoint does: go on in the checkpoint's run, rewound to
#: its point; leave that run as it is and fork from the point; or start a run of its own.
GO_ON = ("rewind", "fork", "new")


@dataclass(frozen=True, kw_only=True)
class RunPoint:
    """A step of a branch, kept in a checkpoint as a dict."""

    entity: str
    project: str
    run_id: str
    #: The branch that was written: the run may have been rewound since.
    branch_id: str
    #: The highest step that was logged.
    step: int

    def as_dict(self) -> dict[str, Any]:
        """As it lies in a checkpoint."""
        return asdict(self)


def point_of(run: Run) -> RunPoint | None:
    """Where a run stands; None before its first row, as there is nothing to go back to."""
    if run.step < 1 or run.disabled:
        return None
    return RunPoint(
        entity=run.entity,
        project=run.project,
        run_id=run.id,
        branch_id=run.immutable_id,
        step=run.step - 1,
    )


def point_in(kept: object) -> RunPoint | None:
    """The point that a checkpoint carries; None where it carries none that can be understood."""
    if not isinstance(kept, Mapping):
        return None
    try:
        point = RunPoint(**kept)
    except TypeError:
        return None
    texts = (point.entity, point.project, point.run_id, point.branch_id)
    is_sound = all(isinstance(text, str) for text in texts) and isinstance(point.step, int)
    return point if is_sound and point.run_id and point.branch_id else None


def checked_go_on(go_on: str) -> str:
    """One of `GO_ON`.

    Raises:
        UsageError: it is none of them.
    """
    if go_on not in GO_ON:
        raise UsageError(f"go_on cannot be {go_on!r}; it is one of {', '.join(GO_ON)}.")
    return go_on


def point_to_go_on_from(
    point: RunPoint | None, go_on: str, init: Mapping[str, Any]
) -> RunPoint | None:
    """The checkpoint's point, unless the run is to begin in another way.

    Args:
        point: where the checkpoint was saved that a training starts from, if it starts from one.
        go_on: one of `GO_ON`.
        init: what the user wants `kelt.init` to be given: a run id, or a way to begin, wins.
    """
    begins_otherwise = any(
        init.get(name) is not None for name in ("id", "resume", "resume_from", "fork_from")
    )
    return None if go_on == "new" or begins_otherwise else point


def open_run(point: RunPoint | None, go_on: str, init: Mapping[str, Any]) -> Run:
    """Opens the run of a training: arguments as above."""
    point = point_to_go_on_from(point, go_on, init)
    if point is None:
        return kelt.init(**init)
    way = "resume_from" if go_on == "rewind" else "fork_from"
    place = {"project": point.project, "entity": point.entity or init.get("entity")}
    return kelt.init(**{**init, **place, way: f"{point.branch_id}?_step={point.step}"})


def rewind_open(run: Run, point: RunPoint) -> None:
    """Takes a run that is open already back to a checkpoint that a training starts from.

    Where the checkpoint is another run's, or the point cannot be known here, the run goes on as it
    is and says why.
    """
    if run.immutable_id != point.branch_id:
        run.console.warn(
            f"the checkpoint belongs to run {point.run_id!r}, and the open run {run.id!r} goes on "
            "as it is; do not open a run before, and the checkpoint's goes on"
        )
    elif run.step - 1 > point.step:
        try:
            run.rewind(point.step)
        except UsageError as error:
            run.console.warn(
                f"the run is not taken back to its checkpoint: {error} Without id= and resume= the "
                "checkpoint's run goes on from there."
            )
