"""One reading of the catalog: a family of branches with its lineage, and its ranges of steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kelt_server.catalog.store import Family
from kelt_server.lineage import Lineage
from kelt_server.metrics.store import MetricsStore, Span


class Scope:
    """A family with its lineage."""

    def __init__(self, family: Family, metrics: MetricsStore) -> None:
        self.family = family
        self.streams = metrics.streams(list(family.branches.by_id))
        self.lineage = Lineage(
            family.branches,
            sessions=family.sessions,
            streams=self.streams,
            highest_step=metrics.highest_step,
        )


def cut(span: Span, step: int) -> Span:
    """The span up to a step of the history."""
    limit = step - span.offset
    return replace(span, step_max=limit if span.step_max is None else min(span.step_max, limit))


def lowest(spans: Sequence[Span], scope: Scope) -> int:
    """The first step of a history, 0 without rows."""
    found = [
        stream.step_min + span.offset
        for span in spans
        for stream in scope.streams.get(span.branch_id, ())
        if stream.relative == (span.writer_id is not None)
        and (not stream.relative or stream.writer_id == span.writer_id)
        and (span.step_max is None or stream.step_min <= span.step_max)
    ]
    return min(found, default=0)
