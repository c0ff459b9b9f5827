"""Where a writer of a shared run begins, though it knows none of the others.

It writes what the run's name points at, as far as the upstream, within `init_timeout_s`, or this
host can tell: an ordinary run is joined, and so is what a rewind left. Otherwise it writes the
branch whose id follows from the name (`kelt.names.shared_branch_id`), as every other writer does
that does not know better; the server joins that to what the name pointed at before.

Its automatic steps count from 0, whatever the others have logged, except with `resume`: then from
the end of the run as far as it is known.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from kelt.errors import DaemonError, RunIdInUseError
from kelt.local_runs import BranchRecord
from kelt.names import shared_branch_id
from kelt.origins.known_runs import KnownRuns, new_branch
from kelt.origins.leaving import fork, rewind
from kelt.origins.origin import Origin
from kelt.origins.resuming import resume
from kelt.records import Opening
from kelt.row_plans import StepCount
from kelt.shared_mode import SharedWriter, live_writers, require_alone, required_id


def find_shared_origin(
    runs: KnownRuns,
    writer: SharedWriter,
    *,
    fork_from: object | None = None,
    resume_from: object | None = None,
) -> Origin:
    """The origin that the user asked for.

    Raises:
        UsageError: it cannot be; the message says what would do.
    """
    run_id = required_id(runs.settings)
    if fork_from is not None:
        origin = _fork(runs, run_id, fork_from)
    elif resume_from is not None:
        origin = _rewind(runs, run_id, writer, resume_from)
    elif runs.settings.resume is not None:
        origin = _resume(runs, run_id, runs.settings.resume)
    else:
        origin = _join(runs, run_id)
    return replace(origin, opening=replace(origin.opening, shared=writer))


def _fork(runs: KnownRuns, run_id: str, fork_from: object) -> Origin:
    own, named = _own_branch(runs, run_id), runs.named(run_id)
    if named is not None and named.branch_id != own.branch_id:
        raise RunIdInUseError(
            f"fork_from={fork_from!r} with id={run_id!r}: that run exists already; "
            "a fork gets a run id of its own."
        )
    origin = fork(runs, fork_from)
    return replace(origin, branch=replace(origin.branch, branch_id=own.branch_id))


def _rewind(runs: KnownRuns, run_id: str, writer: SharedWriter, resume_from: object) -> Origin:
    named = runs.named(run_id) or _own_branch(runs, run_id)
    others = live_writers(named, runs.local, runs.ask_softly(run_id))
    require_alone(f"resume_from={resume_from!r}", writer, others)
    return rewind(runs, resume_from)


def _join(runs: KnownRuns, run_id: str) -> Origin:
    own = _own_branch(runs, run_id)
    named = _moved_elsewhere(runs, run_id) or runs.named(run_id) or own
    if named.branch_id == own.branch_id:
        return Origin(opening=Opening(kind="created"), branch=own, is_new_branch=True)
    return Origin(
        opening=Opening(kind="resumed"), branch=named, is_new_branch=named.elsewhere is not None
    )


def _moved_elsewhere(runs: KnownRuns, run_id: str) -> BranchRecord | None:
    """What the name points at by the upstream, where that is newer than what this host knows."""
    named, remote = runs.named(run_id), None
    with contextlib.suppress(DaemonError):
        remote = runs.ask(run_id, None) if named is None else runs.ask_beyond(named, run_id)
    if remote is None or (named is not None and named.branch_id == remote.branch_id):
        return None
    return runs.record_of(remote)


def _resume(runs: KnownRuns, run_id: str, mode: str) -> Origin:
    origin = resume(runs, mode)
    if not origin.opening.point_unknown and origin.opening.kind == "resumed":
        return origin
    # It is new, or nobody can tell: the branch is the one that all others write.
    return replace(
        origin,
        opening=Opening(kind="created"),
        branch=_own_branch(runs, run_id),
        steps=StepCount(),
        warning=origin.warning
        and (
            f"where run {run_id!r} stands is not known here; this writer's automatic "
            "steps count from 0: pass step=… to kelt.log"
        ),
    )


def _own_branch(runs: KnownRuns, run_id: str) -> BranchRecord:
    """The branch that every writer of the run finds by itself."""
    branch_id = shared_branch_id(runs.entity, runs.settings.project, run_id)
    return new_branch(runs.settings, run_id, branch_id=branch_id)
