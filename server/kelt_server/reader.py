"""Questions about runs, answered from both stores. Blocking: called in worker threads."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kelt_server import bands, run_view, shared_writers, summary
from kelt_server.bands import Banded, BandRequest
from kelt_server.branch_names import Name
from kelt_server.catalog.store import Catalog, Family
from kelt_server.changes import Key
from kelt_server.config_history import resolve_config, resolve_info, session_order
from kelt_server.errors import BadRequestError, NotFoundError
from kelt_server.facts import SessionFact
from kelt_server.lineage import Line
from kelt_server.liveness import SessionState, holds_until, judge
from kelt_server.metrics.store import Bucket, MetricsStore, Page, PageRequest, RowTotals, Span
from kelt_server.run_table import Document, Resolved, RunTable
from kelt_server.run_view import RunView, SessionView
from kelt_server.scope import Scope, cut, lowest
from kelt_server.span_numbers import Numbers, key_of


@dataclass(frozen=True, slots=True)
class Bucketed:
    """Buckets with the range that they divide."""

    step_min: int
    step_max: int
    width: int
    buckets: list[Bucket]


@dataclass(frozen=True, slots=True)
class Writers:
    """The writers of a history, in the order of their rows at one step; shared ones have labels."""

    ids: tuple[bytes, ...]
    labels: Mapping[bytes, str]


class RunReader:
    """Mutable state: remembered runs, and numbers of spans behind a lock."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        metrics: MetricsStore,
        clock: Callable[[], float],
        server_started_at: float,
        lease_s: float,
        default_entity: str,
    ) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._clock = clock
        self._server_started_at = server_started_at
        self._lease_s = lease_s
        self.default_entity = default_entity
        self._numbers = Numbers(metrics)
        self._numbers_lock = threading.Lock()
        self._table = RunTable(names=catalog.names, resolve=self._resolved, clock=clock)

    # -- runs ----------------------------------------------------------------------------------

    def projects(self) -> list[dict[str, Any]]:
        """Every project."""
        return [
            {"entity": entity, "project": project, "runs": runs, "last_started_at": at}
            for entity, project, runs, at in self._catalog.projects()
        ]

    def runs(self, entity: str, project: str | None) -> list[Document]:
        """RUN of the run that each name points at; not to be changed."""
        return self._table.documents(self._entity(entity), project)

    def notice(self, keys: set[Key]) -> None:
        """What was remembered of these is to be read again; told after each commit."""
        self._table.notice(keys)

    @property
    def projects_forgotten(self) -> int:
        """How often a project's remembered runs were let go for lack of room."""
        return self._table.forgotten

    def _resolved(self, names: Sequence[Name]) -> list[Resolved]:
        now = self._clock()  # before anything is judged: what changes meanwhile is judged again
        scope = Scope(self._catalog.family(names), self._metrics)
        branches = scope.family.branches
        held = [(name, holder) for name in names if (holder := branches.holder(name)) is not None]
        views = self._views([holder for _, holder in held], scope)
        return [
            Resolved(
                name,
                view.as_json(),
                _rests_on(name, scope.family),
                self._holds_until(view, scope.family, now),
            )
            for (name, _), view in zip(held, views, strict=True)
        ]

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

    def run(self, entity: str, project: str, run: str) -> RunView:
        """One run by run id or immutable id."""
        branch_id, scope = self._find(entity, project, run)
        return self._views([branch_id], scope)[0]

    def branch(self, branch_id: str) -> RunView:
        """One branch by immutable id."""
        branch_id, scope = self._find_branch(branch_id)
        return self._views([branch_id], scope)[0]

    def archived(self, entity: str, project: str, run: str) -> list[RunView]:
        """The archived branches of a run's name, newest first."""
        branch_id, scope = self._find(entity, project, run)
        name = scope.family.branches.by_id[branch_id].name
        return self._views(self._archived(name, scope), scope)

    def _entity(self, entity: str) -> str:
        return self.default_entity if entity in ("", "-") else entity

    def _find(self, entity: str, project: str, run: str) -> tuple[str, Scope]:
        name = (self._entity(entity), project, run)
        family = self._catalog.family([name])
        holder = family.branches.holder(name)
        if holder is not None:
            return holder, Scope(family, self._metrics)
        try:
            return self._find_branch(run)
        except NotFoundError:
            raise NotFoundError(
                f"there is no run {run!r} in {name[0]}/{project}; `kelt runs ls` lists what "
                "is there, and a run logged offline comes with `kelt sync`"
            ) from None

    def _find_branch(self, branch_id: str) -> tuple[str, Scope]:
        name = self._catalog.name_of(branch_id)
        if name is None:
            raise NotFoundError(
                f"there is no branch {branch_id!r}; a run's `immutable_id`, `lineage` and "
                "`archived` name those that are there"
            )
        return branch_id, Scope(self._catalog.family([name], [branch_id]), self._metrics)

    def _archived(self, name: Name, scope: Scope) -> list[str]:
        branches = scope.family.branches
        holder = branches.holder(name)
        kept = () if holder is None else run_view.continued_chain(scope.lineage.line(holder))
        return branches.archived(name, kept)

    # -- views ---------------------------------------------------------------------------------

    def _views(self, branch_ids: Sequence[str], scope: Scope) -> list[RunView]:
        spans = {branch_id: scope.lineage.spans(branch_id) for branch_id in branch_ids}
        with self._numbers_lock:
            numbers = self._numbers.of_spans(
                (span for of_branch in spans.values() for span in of_branch), scope.streams
            )
        return [self._view(branch_id, spans[branch_id], numbers, scope) for branch_id in branch_ids]

    def _view(self, branch_id: str, spans: Sequence[Span], numbers: Any, scope: Scope) -> RunView:
        family, lineage = scope.family, scope.lineage
        line = lineage.line(branch_id)
        shown = run_view.sessions_of(run_view.same_name_chain(line), family)
        judged = run_view.sessions_of(run_view.continued_chain(line), family)
        definitions = summary.settle_definitions(
            summary.inherited(line, family.definitions, sessions=family.sessions, base=lineage.base)
        )
        totals = self._shifted_totals(spans, numbers)
        of_writer: dict[bytes, list[RowTotals]] = {}
        for total in totals:
            of_writer.setdefault(total.writer_id, []).append(total)
        views = {
            session.writer_id: SessionView(
                session,
                self._state(session, family),
                tuple(of_writer.get(session.writer_id, ())),
            )
            for session in shown
        }
        decides = run_view.deciding([views[session.writer_id] for session in judged])
        order = _stream_order(spans, scope)
        last = summary.of_last_row(totals, order=order)
        archived = self._archived(line.branch.name, scope)
        holder = family.branches.holder(line.branch.name)
        losses = [loss for s in shown for loss in family.losses.get(s.writer_id, ())]
        return RunView(
            line=line,
            held_by=holder or branch_id,
            archived=tuple(archived),
            created_at=run_view.created_at(line, family),
            state=run_view.no_state(line) if decides is None else decides[1],
            newest=None if decides is None else decides[0],
            sessions=tuple(views[session.writer_id] for session in shown),
            info=resolve_info(line, infos=family.infos, sessions=family.sessions),
            config=resolve_config(line, items=family.configs, sessions=family.sessions),
            summary=self._summary(line, spans, numbers, definitions, scope) | _row_fields(last),
            definitions=tuple(definitions.values()),
            labels=_labels(spans, scope),
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
        )

    def _summary(
        self,
        line: Line,
        spans: Sequence[Span],
        numbers: Any,
        definitions: Any,
        scope: Scope,
        *,
        step_max: int | None = None,
    ) -> dict[str, Any]:
        family = scope.family
        by_hand = summary.inherited(
            line,
            family.summaries,
            sessions=family.sessions,
            base=scope.lineage.base,
            step_max=step_max,
        )
        aggregates = [one for span in spans for one in numbers[key_of(span)].aggregates]
        return summary.summarise(
            aggregates, by_hand, definitions, order=_stream_order(spans, scope)
        )

    @staticmethod
    def _shifted_totals(spans: Sequence[Span], numbers: Any) -> list[RowTotals]:
        return [
            replace(total, last_step=total.last_step + span.offset)
            for span in spans
            for total in numbers[key_of(span)].totals
        ]

    def summary_at(self, entity: str, project: str, run: str, step: int) -> dict[str, Any]:
        """The summary of a run's history up to a step."""
        branch_id, scope = self._find(entity, project, run)
        line = scope.lineage.line(branch_id)
        spans = [cut(span, step) for span in scope.lineage.spans(branch_id)]
        with self._numbers_lock:
            numbers = self._numbers.of_spans(spans, scope.streams)
        definitions = summary.settle_definitions(
            summary.inherited(
                line,
                scope.family.definitions,
                sessions=scope.family.sessions,
                base=scope.lineage.base,
                step_max=step,
            )
        )
        return self._summary(line, spans, numbers, definitions, scope, step_max=step)

    # -- rows ----------------------------------------------------------------------------------

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
        branch_id, scope = self._find(entity, project, run)
        spans = scope.lineage.spans(branch_id)
        writers = _writers(spans, scope)
        ranks = {writer_id: rank for rank, writer_id in enumerate(writers)}
        labels = shared_writers.labels(writers, scope.family.sessions)
        shown = _labelled(spans, label, scope)
        if request.after is not None and after_writer in ranks:
            after = replace(request.after, rank=ranks[after_writer])
            request = replace(request, after=after)
        page = self._metrics.page(replace(request, spans=shown, ranks=ranks))
        return page, Writers(tuple(writers), labels)

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
        branch_id, scope = self._find(*run)
        spans = scope.lineage.spans(branch_id)
        start = lowest(spans, scope) if step_min is None else step_min
        stop = scope.lineage.end(branch_id) if step_max is None else step_max
        if stop < start:
            return Bucketed(start, stop, 1, [])
        width = -(-(stop - start + 1) // number)
        limited = [cut(span, stop) for span in _labelled(spans, label, scope)]
        found = self._metrics.buckets(limited, metrics, start=start, width=width, number=number)
        return Bucketed(start, stop, width, found)

    def bands(self, wanted: BandRequest) -> Banded:
        """Numbers of metrics over several runs, by equal ranges of steps."""
        request = replace(wanted, entity=self._entity(wanted.entity))
        return bands.read_bands(request, self._catalog, self._metrics, self._table)

    def keys(self, entity: str, project: str, run: str, *, label: str = "") -> list[str]:
        """Every key of a run's history."""
        branch_id, scope = self._find(entity, project, run)
        spans = _labelled(scope.lineage.spans(branch_id), label, scope)
        return self._metrics.metric_names(spans)


def _rests_on(name: Name, family: Family) -> frozenset[Key]:
    """All that a view of a name is made of: branches, names and writers."""
    related = family.branches.related(name)
    writers = {w for key in related if isinstance(key, str) for w in family.writers_of.get(key, ())}
    return frozenset(related | writers)


def _writers(spans: Iterable[Span], scope: Scope) -> list[bytes]:
    """The writers of a history, in the order of their sessions."""
    found = {stream.writer_id for span in spans for stream in scope.streams.get(span.branch_id, ())}
    return sorted(found, key=lambda w: session_order(w, scope.family.sessions))


def _labels(spans: Iterable[Span], scope: Scope) -> tuple[str, ...]:
    found = shared_writers.labels(_writers(spans, scope), scope.family.sessions)
    return tuple(dict.fromkeys(found.values()))


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


def _stream_order(spans: Sequence[Span], scope: Scope) -> Callable[[str, bytes, bool], Any]:
    """The place of a stream in a history: line of descent, then session."""
    positions = {span.branch_id: span.position for span in spans}

    def order(branch_id: str, writer_id: bytes, relative: bool) -> Any:
        return positions[branch_id], session_order(writer_id, scope.family.sessions), relative

    return order


def _row_fields(last: RowTotals | None) -> dict[str, Any]:
    if last is None:
        return {}
    return {
        "_step": last.last_step,
        "_timestamp": last.last_timestamp,
        "_runtime": last.last_runtime,
    }
