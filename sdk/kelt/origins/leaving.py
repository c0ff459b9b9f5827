"""Runs that leave another at a step: forks, and rewinds, which leave the run's own branch."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from kelt.branching import Point, check_within, parse_point
from kelt.errors import BranchPointError, DaemonError, UsageError
from kelt.local_runs import BranchRecord
from kelt.names import new_run_id
from kelt.origins.creating import warning_of_use
from kelt.origins.known_runs import KnownRuns, new_branch
from kelt.origins.origin import Origin
from kelt.origins.remote import RemoteRun
from kelt.records import Opening, PointRef, RunFacts
from kelt.row_plans import StepCount
from kelt.shared_mode import is_shared


@dataclass(frozen=True, kw_only=True)
class _Leave:
    """What was asked for.

    Attributes:
        kind: forked or rewound.
        point: where the other run is left.
        what: how the user said it, for messages.
        run_id: of the fork, if one was given.
    """

    kind: str
    point: Point
    what: str
    run_id: str | None = None

    @property
    def is_rewind(self) -> bool:
        """Whether the run keeps its name, and what people see of it."""
        return self.kind == "rewound"

    def origin(self, runs: KnownRuns, parent: PointRef) -> Origin:
        """What is the same whoever knows the parent."""
        run_id = parent.run_id if self.is_rewind else self.run_id or new_run_id()
        return Origin(
            opening=Opening(kind=self.kind, point=parent),
            branch=new_branch(runs.settings, run_id, parent=parent),
            is_new_branch=True,
            steps=StepCount(highest=parent.step),
        )


def fork(runs: KnownRuns, fork_from: object) -> Origin:
    """A new run that inherits the history of another up to a step.

    Raises:
        UsageError: it cannot be; the message says what would do.
    """
    point, what = parse_point(fork_from, "fork_from"), f"fork_from={fork_from!r}"
    run_id = runs.settings.run_id
    known = runs.find(point.run)
    if run_id is not None and run_id in {point.run, known.run_id if known else None}:
        raise UsageError(
            f"{what} with id={run_id!r}: a fork gets a run id of its own; leave id out, "
            f"or use resume_from to rewind {run_id!r}."
        )
    warning = warning_of_use(runs, run_id)
    origin = _leave(runs, known, _Leave(kind="forked", point=point, what=what, run_id=run_id))
    return replace(origin, warning="; ".join(filter(None, (warning, origin.warning))))


def rewind(runs: KnownRuns, resume_from: object) -> Origin:
    """A run that goes back to a step; what came after it is archived.

    Raises:
        UsageError: it cannot be; the message says what would do.
    """
    point, what = parse_point(resume_from, "resume_from"), f"resume_from={resume_from!r}"
    run_id = runs.settings.run_id
    known = runs.find(point.run)
    name = known.run_id if known is not None else point.run
    if run_id is not None and run_id not in {name, point.run}:
        raise UsageError(
            f"{what} with id={run_id!r}: a rewind keeps the run id {name!r}; leave id out, "
            "or use fork_from to make a new run."
        )
    return _leave(runs, known, _Leave(kind="rewound", point=point, what=what))


def _leave(runs: KnownRuns, known: BranchRecord | None, leave: _Leave) -> Origin:
    run, step = leave.point.run, leave.point.step
    if known is not None and not (_lies_elsewhere(known, step) or runs.may_have_more(known)):
        return _leave_known(runs, known, leave)
    remote = None
    try:
        remote = runs.ask(run, step) if known is None else runs.ask_beyond(known, run, step)
    except DaemonError as error:
        if known is None:
            return _leave_unknown(runs, leave, error)
    if known is not None and (remote is None or remote.state.last_step < step):
        return _leave_known(runs, known, leave)
    if remote is None:
        raise BranchPointError(
            f"{leave.what}: there is no run {run!r} in project {runs.settings.project!r}, "
            "neither on this host nor on the server; check the id and the project."
        )
    return _leave_remote(runs, remote, leave)


def _lies_elsewhere(known: BranchRecord, step: int) -> bool:
    """Whether the history at a step is on another host, so that the upstream knows it better."""
    return known.elsewhere is not None and step < known.elsewhere.last_step


def _leave_known(runs: KnownRuns, known: BranchRecord, leave: _Leave) -> Origin:
    if leave.is_rewind and known.project != runs.settings.project:
        raise BranchPointError(
            f"{leave.what}: that run belongs to project {known.project!r}; "
            f"pass project={known.project!r}."
        )
    step, now = leave.point.step, time.time()
    if not known.is_relative and not is_shared(known, runs.local):
        check_within(step, runs.history.last_step(known), leave.what)
    return replace(
        leave.origin(runs, known.point(step)),
        runtime=runs.history.runtime(known) if leave.is_rewind else 0.0,
        inherited=lambda: runs.history.state(known, step=step, at=now),
        definitions=runs.local.definitions(known, step),
        facts=RunFacts(name=known.name) if leave.is_rewind else RunFacts(),
    )


def _leave_remote(runs: KnownRuns, remote: RemoteRun, leave: _Leave) -> Origin:
    check_within(leave.point.step, remote.state.last_step, leave.what)
    parent = runs.point(remote.run_id, remote.branch_id, leave.point.step)
    return replace(
        leave.origin(runs, parent),
        inherited=remote.branch_state,
        definitions=remote.definition_table(),
        facts=RunFacts(name=remote.name or None) if leave.is_rewind else RunFacts(),
    )


def _leave_unknown(runs: KnownRuns, leave: _Leave, error: DaemonError) -> Origin:
    run, step = leave.point.run, leave.point.step
    verb = "rewinds" if leave.is_rewind else "forks"
    return replace(
        leave.origin(runs, runs.point(run, "", step)),
        warning=(
            f"this run {verb} {run!r} at step {step}, which this host does not know ({error}); "
            "config and summary of it are joined on the server"
        ),
    )
