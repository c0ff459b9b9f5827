"""What a run notes on this host, for later forks, rewinds and resumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kelt.console import Console
from kelt.local_runs import BranchRecord, LocalRuns, SessionRef
from kelt.metric_definitions import MetricDefinition


class RunNotes:
    """Notes of one run in the host's registry; where that cannot be written the run goes on.

    Args:
        local: the registry; None where nothing is recorded.
        place: what `resume="auto"` remembers the run by.
        console: told where it cannot be written.
    """

    def __init__(self, *, local: LocalRuns | None, place: Path, console: Console) -> None:
        self._local = local
        self._place = place
        self._console = console

    def branch(self, branch: BranchRecord) -> None:
        """A branch begins, and the run's name points at it."""
        self._write(lambda local: local.add_branch(branch))

    def session(self, branch: BranchRecord, session: SessionRef) -> None:
        """A session writes a branch, or has come so far on it."""
        self._write(lambda local: local.set_session(branch.branch_id, session))

    def definition(self, branch: BranchRecord, definition: MetricDefinition) -> None:
        """What define_metric said."""
        self._write(lambda local: local.add_definition(branch.branch_id, definition))

    def unfinished(self, branch: BranchRecord) -> None:
        """What `resume="auto"` shall find, should it not finish."""
        self._write(
            lambda local: local.remember_unfinished(
                branch.entity, branch.project, self._place, branch.run_id
            )
        )

    def finished(self, branch: BranchRecord) -> None:
        """It finished."""
        self._write(
            lambda local: local.forget_unfinished(
                branch.entity, branch.project, self._place, branch.run_id
            )
        )

    def _write(self, write: Callable[[LocalRuns], None]) -> None:
        if self._local is None:
            return
        try:
            write(self._local)
        except OSError as error:
            self._console.warn_once(
                "registry",
                f"what this host knows of runs cannot be written ({error}); offline forks, "
                "rewinds and resumes of this run may not find it",
            )
