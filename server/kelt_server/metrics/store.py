"""What the server needs of a metrics engine: batched idempotent writes, no call per row."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import pyarrow as pa

from kelt_proto.v1.rows import ColumnKind
from kelt_server.ingest.apply import RoutedBlock

_EXACT = float(2**53)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a history: rows of one branch, up to a step.

    With `writer_id` None, the branch's absolute rows; else that writer's relative ones, whose steps
    are `offset` higher than stored. `step_max` (None: no limit) is a stored step. Rows are
    ordered by step, then by `position`, which counts from the root of the line of descent.
    `absolute_of` leaves of the branch's absolute rows those of one writer.
    """

    branch_id: str
    position: int
    writer_id: bytes | None = None
    offset: int = 0
    step_max: int | None = None
    absolute_of: bytes | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """What is known without a scan of the rows of one branch, writer and way of counting."""

    branch_id: str
    writer_id: bytes
    relative: bool
    parts: int
    step_min: int
    step_max: int
    has_repeats: bool
    rows_step_went_down: int


@dataclass(frozen=True, slots=True)
class Cell:
    """One value: as its column kind, a float, and a text where the float is not all of it."""

    kind: int
    value: float
    text: str


class Aggregate(NamedTuple):
    """One metric over one stream within a span: what a summary is made of.

    `low`, `high` and `total` are of the `numbers` that are not NaN, with texts where an
    integer is too large for a float. First and last go by sequence number, over all kinds of
    values. A tuple, since a project's table is made of a million of them.
    """

    branch_id: str
    writer_id: bytes
    relative: bool
    metric: str
    numbers: int
    nan_count: int
    low: float | None
    high: float | None
    total: float
    are_integers: bool | None
    low_text: str
    high_text: str
    first_seq: int
    first_kind: int
    first_value: float
    first_text: str
    last_seq: int
    last_kind: int
    last_value: float
    last_text: str

    @property
    def minimum(self) -> Cell | None:
        """The least number."""
        return self._extreme(self.low, self.low_text)

    @property
    def maximum(self) -> Cell | None:
        """The greatest number."""
        return self._extreme(self.high, self.high_text)

    @property
    def first(self) -> Cell:
        """What was logged first."""
        return Cell(self.first_kind, self.first_value, self.first_text)

    @property
    def last(self) -> Cell:
        """What was logged last."""
        return Cell(self.last_kind, self.last_value, self.last_text)

    def _extreme(self, value: float | None, text: str) -> Cell | None:
        if value is None:
            return None
        if not self.are_integers:
            return Cell(ColumnKind.FLOAT, value, "")
        return Cell(ColumnKind.INT, value, text if abs(value) >= _EXACT else "")


class LastValues(NamedTuple):
    """What the metrics of one stream within a span were last, by sequence number.

    One entry a metric, sorted by name: a value's column kind, and a float and a text as in `Cell`.
    """

    branch_id: str
    writer_id: bytes
    relative: bool
    metrics: Sequence[str]
    kinds: Sequence[int]
    values: Sequence[float]
    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class RowTotals:
    """The rows of one stream within a span."""

    branch_id: str
    writer_id: bytes
    relative: bool
    rows: int
    last_step: int
    last_timestamp: float
    last_runtime: float


@dataclass(frozen=True, slots=True)
class RowAt:
    """A row, or a part of one, as one writer logged it."""

    writer_id: bytes
    seq: int
    timestamp: float


class StampedRow(NamedTuple):
    """By what a row is known again, where it lies and who logged it."""

    branch_id: str
    step: int
    timestamp: float
    writer_id: bytes


@dataclass(frozen=True, slots=True)
class RowKey:
    """Where a page ended: the place of one row in the order of rows."""

    step: int
    position: int
    rank: int
    relative: int
    first_seq: int


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which rows of a history: see the read API's page. `ranks` orders the writers."""

    spans: Sequence[Span]
    ranks: Mapping[bytes, int]
    metrics: Sequence[str] | None = None
    step_min: int | None = None
    step_max: int | None = None
    limit: int = 1000
    after: RowKey | None = None
    samples: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Rows as an Arrow table in the wire's columns, the names that `cells.key` counts into."""

    table: pa.Table
    keys: tuple[str, ...]
    next: RowKey | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """Numbers of one metric in one range of steps; the last three are None without numbers."""

    metric: str
    number: int
    count: int
    nan_count: int
    minimum: float | None
    maximum: float | None
    mean: float | None


@dataclass(frozen=True, slots=True)
class Band:
    """Numbers of one metric in one range of steps, over the runs of a group.

    Mean, deviation (of a sample) and quantiles are of the runs' means, each run counting once;
    minimum and maximum of all numbers. `deviation` is None for a single run, and where a mean is
    not finite.
    """

    metric: str
    group: int
    number: int
    runs: int
    count: int
    nan_count: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    deviation: float | None
    quantiles: Sequence[float] | None


@dataclass(frozen=True, slots=True)
class MetricKind:
    """How many values of one kind a metric has (`ColumnKind`), and how those of JSON begin."""

    metric: str
    kind: int
    first_char: str
    number: int


class MetricsStore(Protocol):
    """An engine. Implementations must keep rows and cursors in one transaction."""

    def cursors(self, writer_ids: Collection[bytes]) -> dict[bytes, int]:
        """How far each writer is committed; writers that are not known are left out."""

    def commit(self, blocks: Sequence[RoutedBlock], cursors: Mapping[bytes, int]) -> None:
        """Adds rows and moves cursors, both or neither, on disk when this returns.

        Raises:
            StoreError: nothing was changed.
        """

    def streams(self, branch_ids: Collection[str]) -> dict[str, tuple[Stream, ...]]:
        """What is known without a scan, by branch."""

    def highest_step(self, spans: Sequence[Span]) -> int:
        """The highest step in a history, -1 without rows."""

    def rows_at(self, spans: Sequence[Span], step: int) -> list[RowAt]:
        """Every row of a history at one of its steps, by writer and sequence number."""

    def stamps(
        self,
        branch_ids: Collection[str],
        *,
        step_min: int,
        step_max: int,
        times: tuple[float, float] | None = None,
    ) -> list[StampedRow]:
        """Every row with an absolute step in a range of steps, and a time in one of `times`."""

    def totals(self, spans: Sequence[Span]) -> list[RowTotals]:
        """The rows of each stream in a history."""

    def aggregates(self, spans: Sequence[Span]) -> list[Aggregate]:
        """Every metric of each stream in a history."""

    def last_values(self, spans: Sequence[Span]) -> list[LastValues]:
        """Of the aggregates the last values alone, which are much cheaper."""

    def page(self, request: PageRequest) -> Page:
        """Some of the rows of a history, merged and in order."""

    def buckets(
        self, spans: Sequence[Span], metrics: Sequence[str], *, start: int, width: int, number: int
    ) -> list[Bucket]:
        """Numbers by equal ranges of steps from `start`, empty ranges left out."""

    def bands(
        self,
        groups: Sequence[Sequence[Sequence[Span]]],
        metrics: Sequence[str],
        *,
        start: int,
        width: int,
        number: int,
        quantiles: Sequence[float],
    ) -> list[Band]:
        """Likewise over the histories of each group's runs."""

    def names_total(self) -> int:
        """How many different metrics there are, of all branches; without a scan."""

    def metric_names(self, spans: Sequence[Span]) -> list[str]:
        """Every metric that a history has, sorted."""

    def metric_kinds(self, spans: Sequence[Span]) -> list[MetricKind]:
        """What kinds of values each metric of a history has."""

    def rename_branches(self, renamed: Mapping[str, str]) -> None:
        """Calls branches otherwise, by former id; unknown ones, and those done, are passed over.

        Raises:
            StoreError: nothing was changed.
        """

    def remove_branches(self, branch_ids: Collection[str]) -> None:
        """Removes all rows of branches to which nothing is added any more, beside commits.

        Raises:
            StoreError: some may be left; it may be asked again.
        """

    @property
    def committing_s(self) -> float:
        """Seconds spent in `commit` so far."""

    def unpacked_points(self) -> int:
        """How many points still lie as they were committed, not as they are read."""

    def pack(self) -> int:
        """Brings some of those into the order of reading, beside commits; returns how many.

        Raises:
            StoreError: nothing was changed.
        """

    def close(self) -> None:
        """Lets go of the files."""
