"""Where a writer of a shared run begins, though it knows none of the others.

It writes what the run's name points at, as far as the upstream, within `init_timeout_s`, or this
host can tell: an ordinary run is joined, and so is what a rewind left. Otherwise it writes the
branch whose id follows from the name (`kelt.names.shared_branch_id`), as every other writer does
that does not know better; the server joins that to what the name pointed at before.

Its automatic steps count from 0, whatever the others have logged, except with `resume`: then from
the end of the run as far as it is known.
"""

from __future__ import annotations

import time
from dataclasses import replace

from kelt.errors import DaemonError, RunIdInUseError
from kelt.local_runs import BranchRecord, LocalRuns
from kelt.names import shared_branch_id
from kelt.origins import Describe, Origin, OriginFinder, RemoteRun
from kelt.records import Opening
from kelt.row_plans import StepCount
from kelt.settings import Settings
from kelt.shared_mode import SharedWriter, live_writers, require_alone, required_id


class SharedOriginFinder:
    """Decides where a shared writer begins.

    Args:
        settings: the run's id, project and resume mode.
        local: what this host knows.
        finder: decides it for ordinary sessions.
        describe: asks the upstream; None where it cannot be asked.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        local: LocalRuns,
        finder: OriginFinder,
        describe: Describe | None,
    ) -> None:
        self._settings = settings
        self._local = local
        self._finder = finder
        self._describe = describe
        self._run_id = required_id(settings)

    def find(
        self, writer: SharedWriter, *, fork_from: object | None, resume_from: object | None
    ) -> Origin:
        """The origin that the user asked for.

        Raises:
            UsageError: it cannot be; the message says what would do.
        """
        if fork_from is not None:
            origin = self._fork(fork_from)
        elif resume_from is not None:
            origin = self._rewind(writer, resume_from)
        else:
            origin = self._join()
        return replace(origin, opening=replace(origin.opening, shared=writer))

    def _fork(self, fork_from: object) -> Origin:
        own, named = self._own_branch(), self._named()
        if named is not None and named.branch_id != own.branch_id:
            raise RunIdInUseError(
                f"fork_from={fork_from!r} with id={self._run_id!r}: that run exists already; "
                "a fork gets a run id of its own."
            )
        origin = self._finder.find(fork_from=fork_from, resume_from=None)
        return replace(origin, branch=replace(origin.branch, branch_id=own.branch_id))

    def _rewind(self, writer: SharedWriter, resume_from: object) -> Origin:
        what = f"resume_from={resume_from!r}"
        named = self._named() or self._own_branch()
        others = live_writers(named, self._local, self._ask_softly(self._run_id))
        require_alone(what, writer, others)
        return self._finder.find(fork_from=None, resume_from=resume_from)

    def _join(self) -> Origin:
        if self._settings.resume is not None:
            return self._resume()
        own = self._own_branch()
        named = self._moved_elsewhere() or self._named() or own
        if named.branch_id == own.branch_id:
            return Origin(opening=Opening(kind="created"), branch=own, is_new_branch=True)
        return Origin(
            opening=Opening(kind="resumed"), branch=named, is_new_branch=named.elsewhere is not None
        )

    def _moved_elsewhere(self) -> BranchRecord | None:
        """What the name points at by the upstream, where that is newer than what this host knows.

        It is where the upstream knows the branch that the name points at here, and has another; one
        that has not arrived there yet is newer than what the upstream says.
        """
        remote, named = self._ask_softly(self._run_id), self._named()
        if remote is None or (named is not None and named.branch_id == remote.branch_id):
            return None
        if named is not None and self._ask_softly(named.branch_id) is None:
            return None
        return self._finder.record_of(remote)

    def _resume(self) -> Origin:
        origin = self._finder.find(fork_from=None, resume_from=None)
        if not origin.opening.point_unknown and origin.opening.kind == "resumed":
            return origin
        # It is new, or nobody can tell: the branch is the one that all others write.
        return replace(
            origin,
            opening=Opening(kind="created"),
            branch=self._own_branch(),
            steps=StepCount(),
            warning=origin.warning
            and (
                f"where run {self._run_id!r} stands is not known here; this writer's automatic "
                "steps count from 0: pass step=… to kelt.log"
            ),
        )

    # -- parts -----------------------------------------------------------------------------------

    def _ask_softly(self, reference: str) -> RemoteRun | None:
        """What the upstream knows of a run, None also where nobody can tell."""
        if self._describe is None:
            return None
        try:
            return self._describe(reference, None)
        except DaemonError:
            return None

    def _named(self) -> BranchRecord | None:
        return self._local.named(self._settings.entity or "", self._settings.project, self._run_id)

    def _own_branch(self) -> BranchRecord:
        entity, project = self._settings.entity or "", self._settings.project
        return BranchRecord(
            branch_id=shared_branch_id(entity, project, self._run_id),
            entity=entity,
            project=project,
            run_id=self._run_id,
            name="",
            created_at=time.time(),
        )
