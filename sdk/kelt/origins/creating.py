"""Runs that begin anew."""

from __future__ import annotations

from kelt.branching import parse_point
from kelt.errors import RunIdInUseError
from kelt.live_sessions import writer_now
from kelt.names import new_run_id
from kelt.origins.known_runs import KnownRuns, new_branch
from kelt.origins.origin import Origin
from kelt.records import Opening
from kelt.row_plans import StepCount
from kelt.settings import Settings
from kelt.shared_mode import live_writers


def created(settings: Settings, run_id: str, *, warning: str = "") -> Origin:
    """A new run."""
    return Origin(
        opening=Opening(kind="created"),
        branch=new_branch(settings, run_id),
        is_new_branch=True,
        warning=warning,
    )


def create(runs: KnownRuns, run_id: str | None) -> Origin:
    """A new run, also where its id was used before: that run is archived.

    Raises:
        RunIdInUseError: others write a run with this id together.
    """
    return created(runs.settings, run_id or new_run_id(), warning=warning_of_use(runs, run_id))


def warning_of_use(runs: KnownRuns, run_id: str | None) -> str:
    """What the user should know of an earlier run with an id; empty where there is none.

    Raises:
        RunIdInUseError: others write that run together.
    """
    if not run_id or runs.settings.shared or (earlier := runs.named(run_id)) is None:
        return ""
    if others := live_writers(earlier, runs.local, None):
        raise RunIdInUseError(
            f"run {run_id!r} is being written by others at this time ({', '.join(others)}); "
            "pass mode='shared' to join them, or choose another id."
        )
    if writer := writer_now(runs.local, earlier):
        return (
            f"{writer} is writing run {run_id!r} and goes on under {earlier.branch_id}, where "
            "that run is archived now; to write one run together, pass mode='shared'"
        )
    return (
        f"run id {run_id!r} was used before: its earlier history is archived as "
        f"{earlier.branch_id}; to go on with it instead, pass resume='allow'"
    )


def create_disabled(
    settings: Settings, *, fork_from: object | None, resume_from: object | None
) -> Origin:
    """Where a run that is not recorded stands: only what the arguments say.

    Raises:
        BranchPointError: a point that cannot be read.
    """
    if fork_from is not None:
        run_id, step = None, parse_point(fork_from, "fork_from").step
    elif resume_from is not None:
        point = parse_point(resume_from, "resume_from")
        run_id, step = point.run, point.step
    else:
        run_id, step = None, -1
    return Origin(
        opening=Opening(kind="created"),
        branch=new_branch(settings, settings.run_id or run_id or new_run_id()),
        is_new_branch=True,
        steps=StepCount(highest=step),
    )
