"""One reading of the catalog: a family of branches with its lineage, and its ranges of steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from kelt_server import shared_writers
from kelt_server.catalog.store import Family
from kelt_server.config_history import session_order
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


def writers_of(spans: Iterable[Span], scope: Scope) -> list[bytes]:
    """The writers of a history, in the order of their sessions."""
    found = {stream.writer_id for span in spans for stream in scope.streams.get(span.branch_id, ())}
    return sorted(found, key=lambda w: session_order(w, scope.family.sessions))


def labels_of(spans: Iterable[Span], scope: Scope) -> tuple[str, ...]:
    """The labels of a history's writers, in the order of their sessions."""
    found = shared_writers.labels(writers_of(spans, scope), scope.family.sessions)
    return tuple(dict.fromkeys(found.values()))


def stream_order(spans: Sequence[Span], scope: Scope) -> Callable[[str, bytes, bool], Any]:
    """The place of a stream in a history: line of descent, then session.

    Of a session and who tells it again, the one that knows of later steps comes later.
    """
    positions = {span.branch_id: span.position for span in spans}
    sessions = scope.family.sessions
    retold = {
        session_id
        for branch_id in positions
        for stream in scope.streams.get(branch_id, ())
        for _, session_id, again in (session_order(stream.writer_id, sessions),)
        if again
    }

    def order(branch_id: str, writer_id: bytes, relative: bool) -> Any:
        started_at, session_id, again = session_order(writer_id, sessions)
        last_step = 0
        if session_id in retold:
            streams = scope.streams.get(branch_id, ())
            last_step = max((s.step_max for s in streams if s.writer_id == writer_id), default=0)
        return positions[branch_id], started_at, session_id, last_step, again, relative

    return order
