"""What a run records: rows, definitions, config, summary and facts, all into one sink."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kelt import records
from kelt.console import Console
from kelt.local_history import BranchState
from kelt.metric_definitions import DefinitionTable, MetricDefinition
from kelt.records import PointRef, RunFacts
from kelt.row_packing import RowPacker
from kelt.row_plans import RowEvents, StepCount
from kelt.run_summary import SummaryState
from kelt.session import RecordSink
from kelt.summary_keeper import SummaryKeeper
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import Value


class Recording:
    """The records of a run, and the summary that follows from them.

    Args:
        sink: where they go.
        steps: where the branch stands.
        started: the monotonic time from which `_runtime` counts.
        inherited: gives what the run has from before.
        definitions: the ones that hold from before, known at once.
        console: told of steps that go down.

    Attributes:
        rows: packs them.
    """

    rows: RowPacker

    def __init__(
        self,
        *,
        sink: RecordSink,
        steps: StepCount,
        started: float,
        inherited: Callable[[], BranchState],
        definitions: DefinitionTable,
        console: Console,
    ) -> None:
        self._started = started
        self._console = console
        self._keeper = SummaryKeeper(inherited=inherited, definitions=definitions)
        self._write_into(sink, steps)

    def _write_into(self, sink: RecordSink, steps: StepCount) -> None:
        self._sink = sink
        events = RowEvents(on_row=self._keeper.add_row, before_step_goes_down=self._step_goes_down)
        self.rows = RowPacker(sink=sink, steps=steps, started=self._started, events=events)
        self._keeper.follow(self.rows.unmerged_rows)
        self._hear_of_rows()

    def _hear_of_rows(self) -> None:
        if self._keeper.needs_every_row:
            self.rows.want_every_row()

    def _step_goes_down(self, step: int, highest: int) -> None:
        self._keeper.take_in()
        self._console.warn_once(
            "step",
            f"step {step} comes after step {highest}; the row is kept and marked "
            "(steps should go up within a run; run.rewind() starts again from a step)",
        )

    @property
    def runtime_s(self) -> float:
        """How long the run has run, its earlier sessions included."""
        return time.monotonic() - self._started

    def summary(self) -> SummaryState:
        """The summary as it stands now."""
        return self._keeper.state()

    def row_facts(self) -> dict[str, float]:
        """The row's own keys as they stand now."""
        return self.rows.row_facts()

    def define(self, definition: MetricDefinition) -> None:
        """What define_metric said."""
        self._keeper.take_in()
        self._keeper.define(definition)
        self._sink.append_control(Kind.METRIC_DEFINITION, records.metric_definition(definition))
        self._hear_of_rows()

    def set_config(self, values: dict[str, Any], removed: list[str]) -> None:
        """A change of the config."""
        self._sink.append_control(Kind.CONFIG, records.config(values, removed, time.time()))

    def set_summary(self, values: dict[str, Value], removed: list[str]) -> None:
        """Summary values that the user assigned or deleted."""
        payload = records.summary(values, removed, self.rows.highest_step)
        self._keeper.set_by_hand(values, removed)
        self._sink.append_control(Kind.SUMMARY, payload)

    def set_facts(self, change: RunFacts) -> None:
        """A change of what people see of the run."""
        self._sink.append_control(Kind.RUN_INFO, records.run_info(change))

    def artifact_logged(self, payload: bytes) -> None:
        """An artifact lies in the run folder, or is about to."""
        self._sink.append_control(Kind.ARTIFACT, payload)

    def rewind(
        self, branch_id: str, point: PointRef, at: float, inherited: Callable[[], BranchState]
    ) -> None:
        """Goes on from an earlier step, on a new branch.

        Args:
            branch_id: of the new branch.
            point: where it leaves the old one.
            at: Unix seconds.
            inherited: gives what is left of the old branch.
        """
        self._sink.append_control(Kind.REWIND, records.rewind(branch_id, point, at))
        kept = self._keeper.definitions().up_to(point.step)
        self.rows.go_on_from(StepCount(highest=point.step))
        self._keeper.take_in()  # rows of the branch that is left must not reach the new summary
        self._keeper.go_on_from(inherited, kept)

    def after_fork(self) -> None:
        """Forgets locks that a thread of the parent may have held; takes in the parent's rows."""
        self._keeper.after_fork()
        self._keeper.take_in()

    def go_on_into(self, sink: RecordSink) -> None:
        """Writes elsewhere from now on, from where the branch stands."""
        steps = StepCount(highest=self.rows.highest_step, is_relative=self.rows.is_relative)
        self._write_into(sink, steps)
