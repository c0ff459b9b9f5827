"""What the packer of rows works with: plans, where a branch stands, where rows go."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kelt.journal.spool_segments import InternedSchema
from kelt.values import checked_key, columns, kind_of_type
from kelt_proto.v1.rows import SCHEMAS_MAX, ColumnKind, RowHeader, Schema

#: Rows' names that are remembered; past that all are forgotten and found anew by their kinds.
KEYS_MAX = 1024


class RowSink(Protocol):
    """Where rows go: a spool, or nowhere."""

    @property
    def seq(self) -> int:
        """The last sequence number given."""

    @property
    def rows(self) -> int:
        """How many rows were kept."""

    @property
    def step_max(self) -> int:
        """The highest step of the branch, -1 without one; a lost row's counts too."""

    def reset_step_max(self, step: int, /) -> None:
        """Says that the branch ends at `step`."""

    def append_row(  # noqa: PLR0917 # as the spool's
        self,
        interned: InternedSchema,
        flags: int,
        step: int,
        timestamp: float,
        runtime: float,
        values: Sequence[Any],
        /,
    ) -> bool:
        """Takes a row whose columns all have a plain slot; if kept, it is `interned.newest`.

        Of `NEXT_STEP` the sink makes the step above the highest, here and in `RowHeader`.
        """

    def append_row_with_tail(
        self, schema: InternedSchema, header: RowHeader, values: Sequence[Any], /
    ) -> bool:
        """Takes any row."""


class Plan:
    """What is known of rows with these names and kinds.

    Attributes:
        keys: the names as they were logged, in their order.
        types: the exact types of values that pack as they are.
        merged_seq: the newest row that the summary has seen.
    """

    __slots__ = ("interned", "is_inline", "keys", "merged_seq", "nones", "types")

    def __init__(self, *, interned: InternedSchema, is_inline: bool) -> None:
        self.interned = interned
        self.is_inline = is_inline
        self.nones = tuple(
            i for i, kind in enumerate(interned.schema.kinds) if kind == ColumnKind.NONE
        )
        self.keys: list[str] = []
        self.types: list[type] = []
        self.merged_seq = 0


class RowPlans:
    """The plans of a run, found by what its rows look like.

    Attributes:
        by_keys: by names alone, in the order of the row; a hint, whose `types` must be compared.
    """

    def __init__(self) -> None:
        self.by_keys: dict[tuple[str, ...], Plan] = {}
        self._plans: dict[tuple[tuple[str, ...], tuple[int, ...]], Plan] = {}
        self._schema_ids = itertools.count(1)

    def all(self) -> list[Plan]:
        """Those that can be found again."""
        return list(self._plans.values())

    def plan(self, data: dict[Any, Any]) -> tuple[Plan, Sequence[Any]]:
        """The plan of a row and its values as the columns hold them.

        Raises:
            UsageError: a key or value that cannot be logged.
        """
        keys, values = tuple(data), tuple(data.values())
        types = [*map(type, values)]
        kinds = [kind_of_type(t) for t in types]
        if None not in kinds and _fits(values, kinds):
            names = tuple(checked_key(key, "kelt.log") for key in keys)
            plan = self._with(names, tuple(int(kind or 0) for kind in kinds))
            if not (plan.is_inline or plan.nones or plan.interned.has_tail):
                if len(self.by_keys) >= KEYS_MAX:
                    self.by_keys.clear()
                plan.keys, plan.types = list(keys), types
                self.by_keys[keys] = plan
            return plan, values
        found = columns(data)
        plan = self._with(
            tuple(name for name, _, _ in found), tuple(int(kind) for _, kind, _ in found)
        )
        return plan, [value for _, _, value in found]

    def _with(self, names: tuple[str, ...], kinds: tuple[int, ...]) -> Plan:
        plan = self._plans.get((names, kinds))
        if plan is None:
            schema_id = next(self._schema_ids)
            is_inline = schema_id > SCHEMAS_MAX
            if is_inline:
                schema_id = 0
            interned = InternedSchema(Schema(schema_id, names, kinds))
            plan = Plan(interned=interned, is_inline=is_inline)
            if not is_inline:
                plan = self._plans.setdefault((names, kinds), plan)
        return plan


def _fits(values: Sequence[Any], kinds: Sequence[ColumnKind | None]) -> bool:
    """Whether the integers among the values have room in their slots."""
    return all(
        -(2**63) <= value < 2**63
        for value, kind in zip(values, kinds, strict=True)
        if kind == ColumnKind.INT
    )


@dataclass(frozen=True, kw_only=True)
class StepCount:
    """Where a branch stands.

    Attributes:
        highest: the highest step of its history, -1 without one.
        is_relative: automatic steps count from an end that is not known here.
    """

    highest: int = -1
    is_relative: bool = False


@dataclass(frozen=True, kw_only=True)
class RowEvents:
    """What the packer tells its run.

    Attributes:
        on_row: called with names, values, step and sequence number of each row that cannot wait
            until somebody looks at the summary.
        before_step_goes_down: called before a row with a lower step, with that and the highest.
    """

    on_row: Callable[[Sequence[str], Sequence[Any], int, int], None]
    before_step_goes_down: Callable[[int, int], None]
