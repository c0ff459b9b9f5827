"""Rows of one run's history: pages of them, their numbers by ranges of steps, and their keys.

The same of its system samples, which lie on a branch of their own with milliseconds for steps
(`ingest.output_records`). They are those of the run's branch and of those that it merely goes on
with: a fork and a rewind begin without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from kelt_server import shared_writers
from kelt_server.config_history import session_order
from kelt_server.errors import BadRequestError
from kelt_server.finding import Finder
from kelt_server.ingest.output_records import branch_of_system, step_of, system_branch
from kelt_server.metrics.store import (
    Bucket,
    MetricKind,
    MetricsStore,
    Page,
    PageRequest,
    RowAt,
    Span,
)
from kelt_server.run_view import continued_chain
from kelt_server.scope import Scope, cut, lowest, writers_of

#: A time and the millisecond that it was rounded to differ by less.
_TICK_S = 0.001


@dataclass(frozen=True, slots=True)
class Bucketed:
    """Buckets with the range that they divide."""

    step_min: int
    step_max: int
    width: int
    buckets: list[Bucket]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a name stands: what holds it, its last step, and the highest one of any branch.

    The branch is empty where there is none; steps are then -1. `made_at` is of the latest branch.
    """

    branch_id: str = ""
    last_step: int = -1
    highest_step: int = -1
    made_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Writers:
    """The writers of a history, in the order of their rows at one step; shared ones have labels."""

    ids: tuple[bytes, ...]
    labels: Mapping[bytes, str]


class Histories:
    """Reads the rows of runs; a run is named as for `Finder.run`."""

    def __init__(self, *, finder: Finder, metrics: MetricsStore) -> None:
        self._finder = finder
        self._metrics = metrics

    def page(
        self,
        entity: str,
        project: str,
        run: str,
        request: PageRequest,
        after_writer: bytes | None = None,
        *,
        label: str = "",
    ) -> tuple[Page, Writers]:
        """Rows of a run, and its writers by rank. With a label, the rows of such writers alone.

        Spans and ranks of the request are filled in here, and the rank of the writer of the row
        after which to go on, since sessions that arrived meanwhile change it.
        """
        branch_id, scope = self._finder.run(entity, project, run)
        spans = scope.lineage.spans(branch_id)
        writers = writers_of(spans, scope)
        ranks = {writer_id: rank for rank, writer_id in enumerate(writers)}
        labels = shared_writers.labels(writers, scope.family.sessions)
        shown = _labelled(spans, label, scope)
        if request.after is not None and after_writer in ranks:
            after = replace(request.after, rank=ranks[after_writer])
            request = replace(request, after=after)
        page = self._metrics.page(replace(request, spans=shown, ranks=ranks))
        return page, Writers(tuple(writers), labels)

    def system_page(
        self, run: tuple[str, str, str], request: PageRequest, after_writer: bytes | None = None
    ) -> tuple[Page, Writers]:
        """System samples of a run, as `page` gives rows."""
        spans, writers, scope = self._system(run)
        ranks = {writer_id: rank for rank, writer_id in enumerate(writers)}
        labels = shared_writers.labels(writers, scope.family.sessions)
        if request.after is not None and after_writer in ranks:
            after = replace(request.after, rank=ranks[after_writer])
            request = replace(request, after=after)
        page = self._metrics.page(replace(request, spans=spans, ranks=ranks))
        return _on_own_branches(page), Writers(tuple(writers), labels)

    def system_buckets(
        self,
        run: tuple[str, str, str],
        metrics: Sequence[str],
        *,
        number: int,
        step_min: int | None,
        step_max: int | None,
    ) -> Bucketed:
        """Numbers of system metrics by equal ranges of milliseconds."""
        spans, _, _ = self._system(run)
        streams = self._metrics.streams([span.branch_id for span in spans])
        known = [stream for of_branch in streams.values() for stream in of_branch]
        start = min((s.step_min for s in known), default=0) if step_min is None else step_min
        stop = max((s.step_max for s in known), default=-1) if step_max is None else step_max
        if stop < start:
            return Bucketed(start, stop, 1, [])
        width = -(-(stop - start + 1) // number)
        limited = [replace(span, step_max=stop) for span in spans]
        found = self._metrics.buckets(limited, metrics, start=start, width=width, number=number)
        return Bucketed(start, stop, width, found)

    def system_keys(self, entity: str, project: str, run: str) -> list[str]:
        """Every system metric of a run."""
        spans, _, _ = self._system((entity, project, run))
        return self._metrics.metric_names(spans)

    def samples(self, entity: str, project: str, run: str) -> tuple[int, int]:
        """How many system samples a run has, and the last millisecond; without a scan."""
        spans, _, _ = self._system((entity, project, run))
        streams = self._metrics.streams([span.branch_id for span in spans])
        known = [stream for of_branch in streams.values() for stream in of_branch]
        last = max((stream.step_max for stream in known), default=-1)
        return sum(stream.parts for stream in known), last

    def sample_times(
        self, entity: str, project: str, run_id: str, *, at_min: float, at_max: float
    ) -> set[int]:
        """The milliseconds within a range of which any branch of a name has system samples."""
        branch_ids = self._finder.branches_of(entity, project, run_id)
        found = self._metrics.stamps(
            [system_branch(branch_id) for branch_id in branch_ids],
            step_min=step_of(at_min),
            step_max=step_of(at_max),
        )
        return {row.step for row in found}

    def samples_until(self, entity: str, project: str, run_id: str) -> float:
        """When the last system sample of any branch of a name was taken; 0 where there is none."""
        branch_ids = self._finder.branches_of(entity, project, run_id)
        streams = self._metrics.streams([system_branch(branch_id) for branch_id in branch_ids])
        known = [stream.step_max for of_branch in streams.values() for stream in of_branch]
        return max(known) / 1000 + _TICK_S if known else 0.0

    def _system(self, run: tuple[str, str, str]) -> tuple[list[Span], list[bytes], Scope]:
        """Where the system samples of a run lie, and whose they are in their order."""
        branch_id, scope = self._finder.run(*run)
        chain = continued_chain(scope.lineage.line(branch_id))
        spans = [Span(system_branch(own), place) for place, own in enumerate(reversed(chain))]
        streams = self._metrics.streams([span.branch_id for span in spans])
        writers = {stream.writer_id for of_branch in streams.values() for stream in of_branch}
        order = sorted(writers, key=lambda w: session_order(w, scope.family.sessions))
        return spans, order, scope

    def buckets(
        self,
        run: tuple[str, str, str],
        metrics: Sequence[str],
        *,
        number: int,
        step_min: int | None,
        step_max: int | None,
        label: str = "",
    ) -> Bucketed:
        """Numbers of metrics by equal ranges of steps."""
        branch_id, scope = self._finder.run(*run)
        spans = scope.lineage.spans(branch_id)
        start = lowest(spans, scope) if step_min is None else step_min
        stop = scope.lineage.end(branch_id) if step_max is None else step_max
        if stop < start:
            return Bucketed(start, stop, 1, [])
        width = -(-(stop - start + 1) // number)
        limited = [cut(span, stop) for span in _labelled(spans, label, scope)]
        found = self._metrics.buckets(limited, metrics, start=start, width=width, number=number)
        return Bucketed(start, stop, width, found)

    def rows_at(self, entity: str, project: str, run: str, step: int) -> list[RowAt]:
        """The rows at a step on the run's own branch, whoever logged them: none of its parents'."""
        branch_id, scope = self._finder.run(entity, project, run)
        own = [span for span in scope.lineage.spans(branch_id) if span.branch_id == branch_id]
        return self._metrics.rows_at(own, step)

    def stamps(
        self, entity: str, project: str, run_id: str, *, step_min: int, step_max: int
    ) -> dict[tuple[int, float], str]:
        """Step and time of the rows on any branch of a name, and the branch that has them."""
        branch_ids = self._finder.branches_of(entity, project, run_id)
        if not branch_ids:
            return {}
        found = self._metrics.stamps(branch_ids, step_min=step_min, step_max=step_max)
        return {(row.step, row.timestamp): row.branch_id for row in found}

    def standing(self, entity: str, project: str, run_id: str) -> Standing:
        """What holds a name, and the highest step on any of its branches."""
        branch_ids = self._finder.branches_of(entity, project, run_id)
        if not branch_ids:
            return Standing()
        holder, scope = self._finder.run(entity, project, run_id)
        known = scope.family.branches.by_id
        return Standing(
            holder,
            scope.lineage.end(holder),
            max(scope.lineage.end(branch_id) for branch_id in branch_ids),
            max(known[branch_id].made_at for branch_id in branch_ids),
        )

    def keys(self, entity: str, project: str, run: str, *, label: str = "") -> list[str]:
        """Every key of a run's history."""
        branch_id, scope = self._finder.run(entity, project, run)
        spans = _labelled(scope.lineage.spans(branch_id), label, scope)
        return self._metrics.metric_names(spans)

    def kinds(self, entity: str, project: str, run: str) -> list[MetricKind]:
        """Likewise, with the kinds of their values."""
        branch_id, scope = self._finder.run(entity, project, run)
        return self._metrics.metric_kinds(scope.lineage.spans(branch_id))


def _on_own_branches(page: Page) -> Page:
    """The page with the immutable ids that people know."""
    column = page.table.schema.get_field_index("immutable_id")
    names = [branch_of_system(name) for name in page.table["immutable_id"].to_pylist()]
    shown = pa.array(names, pa.string())
    return replace(page, table=page.table.set_column(column, "immutable_id", shown))


def _labelled(spans: Sequence[Span], label: str, scope: Scope) -> Sequence[Span]:
    """Of a history, the rows of the writers with a label."""
    if not label:
        return spans
    writers = {w for span in spans for w in scope.family.writers_of.get(span.branch_id, ())}
    labels = shared_writers.labels(writers, scope.family.sessions)  # also of those without a row
    wanted = [writer_id for writer_id, own in labels.items() if own == label]
    if not wanted:
        known = ", ".join(sorted(set(labels.values()))) or "no writer of this run has one"
        raise BadRequestError(f"there is no writer with the label {label!r}; there are: {known}")
    found: list[Span] = []
    for span in spans:
        if span.writer_id is None:
            found += [replace(span, absolute_of=writer_id) for writer_id in wanted]
        elif span.writer_id in wanted:
            found.append(span)
    return found
