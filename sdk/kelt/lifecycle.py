"""What a run needs of whoever opened it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from kelt.active_run import Run
    from kelt.local_history import BranchState
    from kelt.local_runs import BranchRecord, LocalRuns
    from kelt.run_identity import RunIdentity


class Lifecycle(Protocol):
    """Opens sibling runs, and is told when a run ends.

    Attributes:
        local: what this host knows of runs; None where nothing is recorded.
        place: what `resume="auto"` remembers a run by.
    """

    local: LocalRuns | None
    place: Path

    def state_at(self, branch: BranchRecord, step: int, at: float) -> BranchState:
        """What is left of a branch up to a step and a time, from the files of this host."""

    def fork(self, parent: RunIdentity, step: int, init: Mapping[str, Any]) -> Run:
        """Opens a run that leaves `parent` at `step`."""

    def other_writers(self, run: RunIdentity) -> list[str]:
        """Who else writes a shared run at this time, for people."""

    def finished(self, run: Run) -> None:
        """A run has ended."""
