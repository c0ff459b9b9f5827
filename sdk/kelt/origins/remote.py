"""What the upstream knows of a run, and who asks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kelt.local_history import BranchState
from kelt.local_runs import ElsewhereState
from kelt.metric_definitions import DefinitionTable, MetricDefinition
from kelt.run_summary import SummaryState


@dataclass(frozen=True, kw_only=True)
class RemoteRun:
    """What the upstream knows of a run."""

    run_id: str
    branch_id: str
    name: str
    state: ElsewhereState
    definitions: tuple[MetricDefinition, ...] = ()
    #: Of a shared run: writer id, and label and host.
    live_writers: tuple[tuple[str, str], ...] = ()

    def definition_table(self) -> DefinitionTable:
        """Its metric definitions by name."""
        return DefinitionTable.of_all({d.name: d for d in self.definitions})

    def branch_state(self) -> BranchState:
        """What a run that goes on from it inherits."""
        summary = SummaryState(definitions=self.definition_table())
        values = self.state.summary
        summary.add_row(tuple(values), tuple(values.values()), max(self.state.last_step, 0))
        return BranchState(
            last_step=self.state.last_step,
            runtime=self.state.runtime,
            config=dict(self.state.config),
            summary=summary,
        )


class Describe(Protocol):
    """Asks the upstream for a run."""

    def __call__(self, reference: str, step: int | None) -> RemoteRun | None:
        """The run, None where there is none.

        Raises:
            DaemonError: nobody can tell now.
        """
