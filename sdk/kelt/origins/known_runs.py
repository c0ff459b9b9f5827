"""What can be known of runs now: by this host's files, and by the upstream if it can be asked."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from kelt.errors import DaemonError
from kelt.local_history import LocalHistory
from kelt.local_runs import BranchRecord, LocalRuns
from kelt.names import new_branch_id
from kelt.origins.remote import Describe, RemoteRun
from kelt.records import PointRef
from kelt.settings import Settings
from kelt.shared_mode import is_shared


@dataclass(frozen=True, kw_only=True)
class KnownRuns:
    """What can be known of the runs of one project.

    Attributes:
        settings: the run's id, project and resume mode.
        local: what this host knows.
        history: reads it.
        describe: asks the upstream; None where it cannot be asked (offline).
        place: what `resume="auto"` remembers a run by.
    """

    settings: Settings
    local: LocalRuns
    history: LocalHistory
    describe: Describe | None
    place: Path

    @property
    def entity(self) -> str:
        """As given; empty for the server's default one."""
        return self.settings.entity or ""

    def named(self, run_id: str) -> BranchRecord | None:
        """The branch that a run's name points at on this host."""
        return self.local.named(self.entity, self.settings.project, run_id)

    def find(self, reference: str) -> BranchRecord | None:
        """The branch that a run id or an immutable id stands for on this host."""
        return self.local.find(self.entity, self.settings.project, reference)

    def ask(self, reference: str, step: int | None) -> RemoteRun | None:
        """What the upstream knows of a run, None where it has none.

        Raises:
            DaemonError: nobody can tell now.
        """
        if self.describe is None:
            raise DaemonError("offline")
        return self.describe(reference, step)

    def ask_softly(self, reference: str) -> RemoteRun | None:
        """What the upstream knows of a run, None also where nobody can tell."""
        try:
            return self.ask(reference, None)
        except DaemonError:
            return None

    def ask_beyond(
        self, known: BranchRecord, reference: str, step: int | None = None
    ) -> RemoteRun | None:
        """What the upstream knows of a run that this host knows too.

        None also where it points at another branch and the one of this host has not arrived there:
        then that is the newer one.

        Raises:
            DaemonError: nobody can tell now.
        """
        remote = self.ask(reference, step)
        if remote is None or remote.branch_id == known.branch_id:
            return remote
        return None if self.ask(known.branch_id, None) is None else remote

    def may_have_more(self, branch: BranchRecord) -> bool:
        """Whether other hosts may have written on a branch, and the upstream can be asked."""
        return self.describe is not None and is_shared(branch, self.local)

    def point(self, run_id: str, branch_id: str, step: int) -> PointRef:
        """A step of a run of this project."""
        return PointRef(
            entity=self.entity,
            project=self.settings.project,
            run_id=run_id,
            branch_id=branch_id,
            step=step,
        )

    def record_of(self, remote: RemoteRun) -> BranchRecord:
        """A branch that lies elsewhere, as this host will know it."""
        return BranchRecord(
            branch_id=remote.branch_id,
            entity=self.entity,
            project=self.settings.project,
            run_id=remote.run_id,
            name=remote.name,
            created_at=time.time(),
            elsewhere=remote.state,
            definitions=remote.definitions,
        )


def new_branch(
    settings: Settings,
    run_id: str,
    *,
    branch_id: str = "",
    parent: PointRef | None = None,
    is_relative: bool = False,
) -> BranchRecord:
    """A branch that begins now, in the settings' project; its id is new unless one is given."""
    return BranchRecord(
        branch_id=branch_id or new_branch_id(),
        entity=settings.entity or "",
        project=settings.project,
        run_id=run_id,
        name="",
        created_at=time.time(),
        parent=parent,
        is_relative=is_relative,
    )
