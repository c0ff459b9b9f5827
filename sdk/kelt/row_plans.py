"""What the packer of rows works with: plans, where a branch stands, where rows go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kelt.journal.spool_segments import InternedSchema
from kelt_proto.v1.rows import ColumnKind, RowHeader


class RowSink(Protocol):
    """Where rows go: a spool, or nowhere."""

    @property
    def seq(self) -> int:
        """The last sequence number given."""

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
        """Takes a row whose columns all have a plain slot."""

    def append_row_with_tail(
        self, schema: InternedSchema, header: RowHeader, values: Sequence[Any], /
    ) -> bool:
        """Takes any row."""


class Plan:
    """What is known of rows with these names and kinds.

    Attributes:
        types: the exact types of values that pack as they are.
        last: the newest such row, for the summary: (seq, step, values, timestamp, runtime).
        merged_seq: the newest row that the summary has seen.
    """

    __slots__ = ("interned", "is_inline", "last", "merged_seq", "nones", "types")

    def __init__(self, *, interned: InternedSchema, is_inline: bool) -> None:
        self.interned = interned
        self.is_inline = is_inline
        self.nones = tuple(
            i for i, kind in enumerate(interned.schema.kinds) if kind == ColumnKind.NONE
        )
        self.types: tuple[type, ...] = ()
        self.last: tuple[int, int, Sequence[Any], float, float] | None = None
        self.merged_seq = 0


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
