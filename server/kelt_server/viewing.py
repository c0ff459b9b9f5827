"""Makes the views of runs, out of one reading of the catalog and the numbers of their rows."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kelt_server import run_view, summary
from kelt_server.branch_names import Name
from kelt_server.catalog.store import Catalog, Family
from kelt_server.changes import Key
from kelt_server.config_history import resolve_config, resolve_info, session_order
from kelt_server.facts import DefinitionFact, SessionFact
from kelt_server.lineage import Line
from kelt_server.liveness import SessionState, holds_until, judge
from kelt_server.metrics.store import MetricsStore, RowTotals, Span
from kelt_server.run_table import Resolved
from kelt_server.run_view import RunView, SessionView
from kelt_server.scope import Scope, cut, labels_of, stream_order
from kelt_server.span_numbers import Numbers, NumbersByKey, key_of


@dataclass(frozen=True, slots=True)
class _History:
    """What a branch descends from, the rows of that, and how its metrics are summarised."""

    line: Line
    spans: Sequence[Span]
    definitions: Mapping[str, DefinitionFact]


class Viewer:
    """Mutable state: numbers of spans, behind a lock."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        metrics: MetricsStore,
        clock: Callable[[], float],
        server_started_at: float,
        lease_s: float,
    ) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._clock = clock
        self._server_started_at = server_started_at
        self._lease_s = lease_s
        self._numbers = Numbers(metrics)
        self._numbers_lock = threading.Lock()

    def resolved(self, names: Sequence[Name]) -> list[Resolved]:
        """The runs that names point at, as the table of runs keeps them."""
        now = self._clock()  # before anything is judged: what changes meanwhile is judged again
        scope = Scope(self._catalog.family(names), self._metrics)
        branches = scope.family.branches
        held = [(name, holder) for name in names if (holder := branches.holder(name)) is not None]
        views = self.views([holder for _, holder in held], scope)
        return [
            Resolved(
                name,
                view.as_json(),
                _rests_on(name, scope.family),
                self._holds_until(view, scope.family, now),
            )
            for (name, _), view in zip(held, views, strict=True)
        ]

    def views(self, branch_ids: Sequence[str], scope: Scope) -> list[RunView]:
        """Branches, each seen whole."""
        histories = [_history(branch_id, scope) for branch_id in branch_ids]
        numbers = self._numbers_of(histories, scope)
        return [self._view(history, numbers, scope) for history in histories]

    def _numbers_of(self, histories: Sequence[_History], scope: Scope) -> NumbersByKey:
        spans = [span for history in histories for span in history.spans]
        in_full = [
            span
            for history in histories
            if summary.wants_aggregates(history.definitions)
            for span in history.spans
        ]
        with self._numbers_lock:
            return self._numbers.of_spans(spans, scope.streams, in_full=in_full)

    def _view(self, history: _History, numbers: NumbersByKey, scope: Scope) -> RunView:
        family, lineage, line = scope.family, scope.lineage, history.line
        shown = run_view.sessions_of(run_view.same_name_chain(line), family)
        judged = run_view.sessions_of(run_view.continued_chain(line), family)
        totals = _shifted_totals(history.spans, numbers)
        of_writer: dict[bytes, list[RowTotals]] = {}
        for total in totals:
            session_id = session_order(total.writer_id, family.sessions).session_id
            of_writer.setdefault(session_id, []).append(total)
        views = {
            session.writer_id: SessionView(
                session,
                self._state(session, family),
                tuple(of_writer.get(session.writer_id, ())),
                is_asked_to_stop=session.writer_id in family.stopped,
            )
            for session in shown
        }
        decides = run_view.deciding([views[session.writer_id] for session in judged])
        order = stream_order(history.spans, scope)
        last = summary.of_last_row(totals, order=order)
        archived = self.archived(line.branch.name, scope)
        holder = family.branches.holder(line.branch.name)
        losses = [loss for s in shown for loss in family.losses.get(s.writer_id, ())]
        return RunView(
            line=line,
            held_by=holder or line.branch.branch_id,
            archived=tuple(archived),
            created_at=run_view.created_at(line, family),
            state=run_view.no_state(line) if decides is None else decides[1],
            newest=None if decides is None else decides[0],
            sessions=tuple(views[session.writer_id] for session in shown),
            info=resolve_info(line, infos=family.infos, sessions=family.sessions),
            config=resolve_config(line, items=family.configs, sessions=family.sessions),
            summary=_summary(history, numbers, scope) | _row_fields(last),
            definitions=tuple(history.definitions.values()),
            labels=labels_of(history.spans, scope),
            rows=sum(total.rows for total in totals),
            last_step=max((total.last_step for total in totals), default=-1),
            runtime=None if last is None else last.last_runtime,
            rows_step_went_down=sum(
                stream.rows_step_went_down
                for own in run_view.same_name_chain(line)
                for stream in scope.streams.get(own, ())
            ),
            losses=tuple(losses),
            problems=(
                *line.problems,
                *lineage.point_problems(line),
                *run_view.resume_problems(judged, line),
                *run_view.rival_problems(line, archived),
                *run_view.writer_problems([views[s.writer_id] for s in shown], line),
            ),
        )

    def _state(self, session: SessionFact, family: Family) -> SessionState:
        writer_id = session.writer_id
        return judge(
            session,
            goodbye=family.exits.get(writer_id),
            assertions=family.assertions.get(writer_id, ()),
            sign=family.life_signs.get(writer_id),
            now=self._clock(),
            server_started_at=self._server_started_at,
            lease_s=self._lease_s,
            is_asked_to_stop=writer_id in family.stopped,
        )

    def summary_at(self, branch_id: str, scope: Scope, step: int) -> dict[str, Any]:
        """The summary of a branch's history up to a step."""
        history = _history(branch_id, scope, step_max=step)
        return _summary(history, self._numbers_of([history], scope), scope, step_max=step)

    def archived(self, name: Name, scope: Scope) -> list[str]:
        """The immutable ids of the archived branches of a name, newest first."""
        branches = scope.family.branches
        holder = branches.holder(name)
        kept = () if holder is None else run_view.continued_chain(scope.lineage.line(holder))
        return branches.archived(name, kept)

    def _holds_until(self, view: RunView, family: Family, now: float) -> float:
        return min(
            (
                holds_until(
                    shown.session,
                    goodbye=family.exits.get(shown.session.writer_id),
                    assertions=family.assertions.get(shown.session.writer_id, ()),
                    sign=family.life_signs.get(shown.session.writer_id),
                    now=now,
                    server_started_at=self._server_started_at,
                    lease_s=self._lease_s,
                )
                for shown in view.sessions
            ),
            default=math.inf,
        )


def _history(branch_id: str, scope: Scope, *, step_max: int | None = None) -> _History:
    line, spans = scope.lineage.line(branch_id), scope.lineage.spans(branch_id)
    if step_max is not None:
        spans = tuple(cut(span, step_max) for span in spans)
    definitions = summary.inherited(
        line,
        scope.family.definitions,
        sessions=scope.family.sessions,
        base=scope.lineage.base,
        step_max=step_max,
    )
    return _History(line, spans, summary.settle_definitions(definitions))


def _summary(
    history: _History, numbers: NumbersByKey, scope: Scope, *, step_max: int | None = None
) -> dict[str, Any]:
    by_hand = summary.inherited(
        history.line,
        scope.family.summaries,
        sessions=scope.family.sessions,
        base=scope.lineage.base,
        step_max=step_max,
    )
    found = [numbers[key_of(span)] for span in history.spans]
    return summary.summarise(
        (last for of_span in found for last in of_span.lasts),
        (one for of_span in found for one in of_span.aggregates or ()),
        by_hand,
        history.definitions,
        order=stream_order(history.spans, scope),
    )


def _shifted_totals(spans: Sequence[Span], numbers: NumbersByKey) -> list[RowTotals]:
    return [
        replace(total, last_step=total.last_step + span.offset)
        for span in spans
        for total in numbers[key_of(span)].totals
    ]


def _rests_on(name: Name, family: Family) -> frozenset[Key]:
    """All that a view of a name is made of: branches, names and writers."""
    related = family.branches.related(name)
    writers = {w for key in related if isinstance(key, str) for w in family.writers_of.get(key, ())}
    return frozenset(related | writers)


def _row_fields(last: RowTotals | None) -> dict[str, Any]:
    if last is None:
        return {}
    return {
        "_step": last.last_step,
        "_timestamp": last.last_timestamp,
        "_runtime": last.last_runtime,
    }
