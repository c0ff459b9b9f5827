"""What surrounds an open run: the files of its state folder, and whoever opens its siblings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kelt.local_history import BranchState, LocalHistory
from kelt.local_runs import BranchRecord, LocalRuns
from kelt.origins.known_runs import KnownRuns
from kelt.settings import Settings
from kelt.shared_mode import live_writers

if TYPE_CHECKING:
    from kelt.active_run import Run
    from kelt.run_identity import RunIdentity
    from kelt.starting import RunStarter


class RunHome:
    """What a run knows of its state folder; it is the `Lifecycle` of the run.

    Args:
        settings: where that is.
        starter: opens further runs.
    """

    def __init__(self, *, settings: Settings, starter: RunStarter) -> None:
        is_recorded = settings.mode != "disabled"
        self.local = LocalRuns(state_dir=settings.state_dir) if is_recorded else None
        self.place = settings.run_dir or Path.cwd()
        self._starter = starter

    def known_runs(self, settings: Settings) -> KnownRuns | None:
        """What can be known of runs now; None where nothing is recorded."""
        if self.local is None:
            return None
        return KnownRuns(
            settings=settings,
            local=self.local,
            history=LocalHistory(local=self.local),
            describe=self._starter.asking(settings),
            place=self.place,
        )

    def state_at(self, branch: BranchRecord, step: int, at: float) -> BranchState:
        """What is left of a branch up to a step and a time, from the files of this host."""
        if self.local is None:
            return BranchState()
        known = self.local.branch(branch.branch_id) or branch
        return LocalHistory(local=self.local).state(known, step=step, at=at)

    def fork(self, parent: RunIdentity, step: int, init: Mapping[str, Any]) -> Run:
        """Opens a run that leaves `parent` at `step`."""
        return self._starter.fork(parent, step, init)

    def other_writers(self, run: RunIdentity) -> list[str]:
        """Who else writes a shared run at this time, as far as this host or the upstream knows."""
        if self.local is None or (branch := self.local.branch(run.immutable_id)) is None:
            return []
        known = self.known_runs(run.settings)
        remote = None if known is None else known.ask_softly(run.id)
        return live_writers(branch, self.local, remote, but=run.writer_id)

    def finished(self, run: Run) -> None:
        """A run has ended."""
        self._starter.finished(run)
