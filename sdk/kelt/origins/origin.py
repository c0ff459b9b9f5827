"""How a session begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kelt.local_history import BranchState
from kelt.local_runs import BranchRecord
from kelt.metric_definitions import DefinitionTable
from kelt.records import Opening, RunFacts
from kelt.row_plans import StepCount

_HOW = {"created": "run", "forked": "fork", "rewound": "rewound run", "resumed": "resumed run"}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """How a session begins.

    Attributes:
        branch: the branch that it writes, as this host will know it.
        is_new_branch: whether that branch begins here.
        inherited: what the run has from before; read when it is first needed.
        facts: what people see, as far as it is inherited.
        warning: what the user should know, or nothing.
    """

    opening: Opening
    branch: BranchRecord
    is_new_branch: bool
    steps: StepCount = field(default_factory=StepCount)
    runtime: float = 0.0
    inherited: Callable[[], BranchState] = BranchState
    definitions: DefinitionTable = field(default_factory=DefinitionTable)
    facts: RunFacts = field(default_factory=RunFacts)
    warning: str = ""

    @property
    def how(self) -> str:
        """What was opened, to people."""
        writer = self.opening.shared
        if writer is None:
            return _HOW[self.opening.kind]
        return f"{'primary' if writer.is_primary else 'writer'} {writer.label} of shared run"
