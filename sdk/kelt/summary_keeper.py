"""Keeps a run's summary up to date at no cost to `log()`.

What the run has from before is read when somebody first looks. Rows are taken in when somebody
looks, from the newest row of each plan, except where a definition such as `min` needs all of them.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kelt.local_history import BranchState
from kelt.metric_definitions import DefinitionTable, MetricDefinition
from kelt.run_summary import SummaryState
from kelt_proto.v1.rows import Value

UnmergedRows = Callable[[], Iterator[tuple[Sequence[str], Sequence[Any], int, int]]]


class SummaryKeeper:
    """The summary of an open run.

    Args:
        inherited: gives what the run has from before.
        definitions: the ones that hold from before, known at once.
    """

    def __init__(
        self, *, inherited: Callable[[], BranchState], definitions: DefinitionTable
    ) -> None:
        self._lock = threading.RLock()
        self._unmerged: UnmergedRows = lambda: iter(())
        self.go_on_from(inherited, definitions)

    def go_on_from(
        self, inherited: Callable[[], BranchState], definitions: DefinitionTable
    ) -> None:
        """Begins again from a history (a rewind)."""
        with self._lock:
            self._inherited = inherited
            self._base: SummaryState | None = None
            self._inherited_definitions = definitions
            self._new = SummaryState()

    def follow(self, unmerged: UnmergedRows) -> None:
        """Says where rows come from that were not yet taken in."""
        self._unmerged = unmerged

    @property
    def needs_every_row(self) -> bool:
        """Whether some definition is more than the last value."""
        tables = (self._inherited_definitions, self._new.definitions)
        return any(table.needs_every_row for table in tables)

    def add_row(self, names: Sequence[str], values: Sequence[Any], step: int, _seq: int) -> None:
        """Takes in a row at once."""
        with self._lock:
            self._new.add_row(names, values, step)

    def take_in(self) -> None:
        """Takes in the rows that wait."""
        with self._lock:
            for names, values, step, _ in self._unmerged():
                self._new.add_row(names, values, step)

    def set_by_hand(self, values: dict[str, Value], removed: list[str]) -> None:
        """Values that the user assigned or deleted."""
        with self._lock:
            for key, value in values.items():
                self._new.set_by_hand(key, value)
            for key in removed:
                self._new.remove(key)

    def define(self, definition: MetricDefinition) -> None:
        """What define_metric said."""
        with self._lock:
            self._new.definitions.add(definition)

    def definitions(self) -> DefinitionTable:
        """All definitions in force."""
        table = DefinitionTable()
        for definition in (*self._inherited_definitions.all(), *self._new.definitions.all()):
            table.add(definition)
        return table

    def after_fork(self) -> None:
        """Forgets locks that a thread of the parent may have held."""
        self._lock = threading.RLock()

    def state(self) -> SummaryState:
        """The summary as it stands now."""
        with self._lock:
            self.take_in()
            if self._base is None:
                self._base = self._inherited().summary
            state = copy.deepcopy(self._base)
            for definition in self._inherited_definitions.all():
                state.definitions.add(definition)
            state.absorb(self._new)
            return state
