"""Runs that go on: `resume="allow"`, "must", "never" and "auto"."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from kelt.errors import DaemonError, RunIdInUseError, UsageError
from kelt.live_sessions import writer_now
from kelt.local_runs import BranchRecord
from kelt.origins.creating import create, created
from kelt.origins.known_runs import KnownRuns, new_branch
from kelt.origins.origin import Origin
from kelt.origins.remote import RemoteRun
from kelt.records import Opening, RunFacts
from kelt.row_plans import StepCount
from kelt.shared_mode import live_writers
from kelt_proto.v1.rows import STEP_MAX


def resume(runs: KnownRuns, mode: str) -> Origin:
    """The run that was named, or for "auto" was left unfinished, going on where it ends.

    Raises:
        UsageError: it exists and must not, or the other way round.
    """
    settings = runs.settings
    run_id = settings.run_id
    if run_id is None and mode == "auto":
        run_id = runs.local.unfinished(runs.entity, settings.project, runs.place)
    if run_id is None:
        if mode == "must":
            raise UsageError("resume='must' needs the id of the run to resume; pass id=…")
        return create(runs, None)
    known = runs.named(run_id)
    if mode == "never":
        return _never(runs, run_id, known)
    if known is not None:
        return _resume_here(runs, known, mode)
    try:
        remote = runs.ask(run_id, None)
    except DaemonError as error:
        return _resume_unknown(runs, run_id, mode, error)
    if remote is not None:
        return _resume_remote(runs, remote, mode)
    if mode == "must":
        raise UsageError(
            f"resume='must': there is no run {run_id!r} in project {settings.project!r}; "
            "check the id and the project, or use resume='allow' to start it."
        )
    return create(runs, run_id)


def _never(runs: KnownRuns, run_id: str, known: BranchRecord | None) -> Origin:
    exists, warning = known is not None, ""
    if not exists:
        try:
            exists = runs.ask(run_id, None) is not None
        except DaemonError as error:
            warning = f"whether run {run_id!r} exists on the server is not known ({error})"
    if exists:
        raise RunIdInUseError(
            f"resume='never': run {run_id!r} exists in project {runs.settings.project!r}; "
            "choose another id, or resume='allow' to go on with it."
        )
    return created(runs.settings, run_id, warning=warning)


def _resume_here(runs: KnownRuns, known: BranchRecord, mode: str) -> Origin:
    """A run of this host. Of a shared one others may have written more."""
    remote = None
    if runs.may_have_more(known):
        with contextlib.suppress(DaemonError):
            remote = runs.ask_beyond(known, known.run_id)
    if remote is not None and remote.branch_id != known.branch_id:
        return _resume_remote(runs, remote, mode)
    origin = _resume_known(runs, known, mode)
    if remote is not None and remote.state.last_step > origin.steps.highest:
        found = _resume_remote(runs, remote, mode)
        origin = replace(found, branch=replace(known, elsewhere=remote.state))
    others = [] if runs.settings.shared else live_writers(known, runs.local, remote)
    if not others:
        return origin
    return replace(
        origin,
        warning=(
            f"run {known.run_id!r} is being written by others at this time "
            f"({', '.join(others)}); this session now holds its state: pass mode='shared' "
            "to be one of them"
        ),
    )


def _resume_known(runs: KnownRuns, known: BranchRecord, mode: str) -> Origin:
    last_step = runs.history.last_step(known)
    warning = ""
    if writer := writer_now(runs.local, known):
        warning = (
            f"{writer} is writing run {known.run_id!r} too, and both may log the same steps; "
            "to write one run together, pass mode='shared'"
        )
    return Origin(
        opening=Opening(kind="resumed", last_step=last_step, resume_mode=mode),
        branch=known,
        is_new_branch=False,
        steps=StepCount(highest=last_step, is_relative=known.is_relative),
        runtime=runs.history.runtime(known),
        inherited=lambda: runs.history.state(known, step=None, at=float("inf")),
        definitions=runs.local.definitions(known, STEP_MAX),
        facts=RunFacts(name=known.name),
        warning=warning,
    )


def _resume_remote(runs: KnownRuns, remote: RemoteRun, mode: str) -> Origin:
    last_step = remote.state.last_step
    return Origin(
        opening=Opening(kind="resumed", last_step=last_step, resume_mode=mode),
        branch=runs.record_of(remote),
        is_new_branch=True,
        steps=StepCount(highest=last_step),
        runtime=remote.state.runtime,
        inherited=remote.branch_state,
        definitions=remote.definition_table(),
        facts=RunFacts(name=remote.name or None),
    )


def _resume_unknown(runs: KnownRuns, run_id: str, mode: str, error: DaemonError) -> Origin:
    return Origin(
        opening=Opening(kind="resumed", point_unknown=True, resume_mode=mode),
        branch=new_branch(runs.settings, run_id, is_relative=True),
        is_new_branch=True,
        steps=StepCount(is_relative=True),
        warning=(
            f"where run {run_id!r} stands is not known here ({error}); automatic steps count "
            "from 0 and the server adds where it ends"
        ),
    )
