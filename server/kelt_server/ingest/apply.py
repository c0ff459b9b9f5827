"""A batch and where its writer stands → what both stores must take. Pure.

The two stores may stand at different records. Facts above the catalog's cursor and rows above the
metrics' cursor are new; what lies between is repeated for the one that is behind. The branch of
a row is that of the writer's route at its sequence number, so rows that come again long after a
rewind still land where they were logged.
"""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from google.protobuf.message import DecodeError
from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import Kind

from kelt_server import facts
from kelt_server.ingest.columns import Column, ControlRecord, LostRange, RowBlock, decode_batch

#: What SQLite holds in an integer column.
INT64_MAX = 2**63 - 1
PROJECT_DEFAULT = "Uncategorized"


@dataclass(frozen=True, slots=True)
class WriterState:
    """Where a writer stands in both stores.

    `lost` holds the ranges that other writers declared lost, in no order; `name` is the name that
    the session opened.
    """

    catalog_cursor: int = 0
    metrics_cursor: int = 0
    routes: tuple[facts.RouteFact, ...] = ()
    lost: tuple[tuple[int, int], ...] = ()
    name: tuple[str, str, str] | None = None

    @property
    def committed_through(self) -> int:
        """What may be acknowledged."""
        return min(self.catalog_cursor, self.metrics_cursor)

    def branch_at(self, seq: int) -> str | None:
        """The branch to which a record belongs."""
        index = bisect.bisect_right(self.routes, seq, key=lambda route: route.from_seq)
        return self.routes[index - 1].branch_id if index else None

    def beyond_losses(self) -> WriterState:
        """The same with cursors moved over ranges that are declared lost."""
        return replace(
            self,
            catalog_cursor=_extend(self.catalog_cursor, self.lost),
            metrics_cursor=_extend(self.metrics_cursor, self.lost),
        )


@dataclass(frozen=True, slots=True)
class RoutedBlock:
    """Rows with the branch and the writer that they belong to."""

    branch_id: str
    writer_id: bytes
    rows: RowBlock


@dataclass(frozen=True, slots=True)
class BatchEffect:
    """What one batch changes."""

    facts: tuple[facts.Fact, ...]
    blocks: tuple[RoutedBlock, ...]
    state: WriterState


def is_gap(first_seq: int, state: WriterState) -> bool:
    """Whether records are missing between what is committed and this batch."""
    return first_seq > state.committed_through + 1


def apply_batch(
    batch: record_pb2.Batch, state: WriterState, *, default_entity: str, received_at: float
) -> BatchEffect:
    """What a batch that leaves no gap changes. `received_at` dates only what has no date."""
    context = _Context(batch.writer_id, default_entity, received_at)
    found: list[facts.Fact] = []
    blocks: list[RoutedBlock] = []
    pieces = decode_batch(
        batch.frames,
        writer_id=batch.writer_id,
        first_seq=batch.first_seq,
        last_seq=batch.last_seq,
        after_seq=state.committed_through,
    )
    for piece in pieces:
        if isinstance(piece, LostRange):
            found.append(_own_loss(batch.writer_id, piece))
            continue
        seq = int(piece.seqs[0]) if isinstance(piece, RowBlock) else piece.seq
        is_witness = isinstance(piece, ControlRecord) and piece.kind in _WITNESS_KINDS
        is_opening = isinstance(piece, ControlRecord) and piece.kind == Kind.RUN_OPENED
        if not (is_witness or is_opening) and state.branch_at(seq) is None:
            orphan = _orphan(context, seq)
            found += orphan
            state = _with_routes(state, orphan)
        if isinstance(piece, RowBlock):
            blocks += _new_rows(piece, state, batch.writer_id)
        else:
            said = _read_control(piece, context, state)
            found += said
            state = _with_routes(_with_name(state, said), said)
    parts = (_new_part(fact, state.catalog_cursor) for fact in found)
    return BatchEffect(
        tuple(part for part in parts if part is not None),
        tuple(blocks),
        replace(
            state,
            catalog_cursor=max(state.catalog_cursor, batch.last_seq),
            metrics_cursor=max(state.metrics_cursor, batch.last_seq),
        ),
    )


def whole_batch_lost(batch: record_pb2.Batch, state: WriterState, reason: str) -> BatchEffect:
    """What is left to do with a batch on which the decoder itself failed."""
    first_seq = max(batch.first_seq, state.committed_through + 1)
    loss = _own_loss(batch.writer_id, LostRange(first_seq, batch.last_seq, reason))
    state = replace(
        state,
        catalog_cursor=max(state.catalog_cursor, batch.last_seq),
        metrics_cursor=max(state.metrics_cursor, batch.last_seq),
    )
    return BatchEffect((loss,), (), state)


@dataclass(frozen=True, slots=True)
class _Context:
    writer_id: bytes
    default_entity: str
    received_at: float


_Reader = Callable[[ControlRecord, _Context, WriterState], Iterator[facts.Fact]]
_WITNESS_KINDS = (Kind.LOSS, Kind.ASSERTION)


def _extend(cursor: int, lost: tuple[tuple[int, int], ...]) -> int:
    for first, last in sorted(lost):
        if first <= cursor + 1:
            cursor = max(cursor, last)
    return cursor


def _new_part(fact: facts.Fact, cursor: int) -> facts.Fact | None:
    """The fact, as far as the record that said it is above the catalog's cursor."""
    if isinstance(fact, facts.LossFact) and fact.by_server:
        if fact.last_seq <= cursor:
            return None
        first_seq = max(fact.first_seq, cursor + 1)
        return replace(
            fact, by_seq=first_seq, first_seq=first_seq, rows=fact.last_seq - first_seq + 1
        )
    if isinstance(fact, facts.RouteFact):
        seq = fact.from_seq
    elif isinstance(fact, facts.LossFact | facts.AssertionFact):
        seq = fact.by_seq
    else:
        seq = fact.seq
    return fact if seq > cursor else None


def _own_loss(writer_id: bytes, lost: LostRange) -> facts.LossFact:
    return facts.LossFact(
        writer_id,
        writer_id,
        lost.first_seq,
        lost.first_seq,
        lost.last_seq,
        lost.last_seq - lost.first_seq + 1,
        lost.reason,
        by_server=True,
    )


def _with_name(state: WriterState, said: Iterable[facts.Fact]) -> WriterState:
    """The name that the session opened is the one that its rewinds move."""
    for fact in said:
        if isinstance(fact, facts.BranchFact) and fact.kind != facts.REWOUND:
            return replace(state, name=fact.name)
        if isinstance(fact, facts.BranchFact) and state.name is None:
            return replace(state, name=fact.name)
    return state


def _with_routes(state: WriterState, said: Iterable[facts.Fact]) -> WriterState:
    """Routes are kept in order of records; one that is known already is not doubled."""
    known = {route.from_seq for route in state.routes}
    new = [
        fact for fact in said if isinstance(fact, facts.RouteFact) and fact.from_seq not in known
    ]
    if not new:
        return state
    routes = sorted((*state.routes, *new), key=lambda route: route.from_seq)
    return replace(state, routes=tuple(routes))


def _new_rows(block: RowBlock, state: WriterState, writer_id: bytes) -> Iterator[RoutedBlock]:
    last_seq = int(block.seqs[-1])
    if last_seq <= state.metrics_cursor:
        return
    branch_id = state.branch_at(last_seq)
    if branch_id is None:  # apply_batch gave orphans a route
        raise AssertionError
    if block.seqs[0] <= state.metrics_cursor:
        block = _rows_from(block, int((block.seqs <= state.metrics_cursor).sum()))
    yield RoutedBlock(branch_id, writer_id, block)


def _rows_from(block: RowBlock, start: int) -> RowBlock:
    columns = tuple(
        Column(
            column.name,
            column.kind,
            column.values[start:],
            None if column.texts is None else column.texts[start:],
        )
        for column in block.columns
    )
    return RowBlock(
        block.seqs[start:],
        block.flags[start:],
        block.steps[start:],
        block.timestamps[start:],
        block.runtimes[start:],
        columns,
    )


def _orphan(context: _Context, seq: int) -> list[facts.Fact]:
    """A branch for records whose opening was lost, so that they can be seen."""
    branch_id = f"orphan-{context.writer_id.hex()}"
    at = context.received_at
    return [
        facts.BranchFact(
            branch_id,
            context.writer_id,
            seq,
            context.default_entity,
            PROJECT_DEFAULT,
            branch_id,
            facts.ORPHAN,
            at,
        ),
        facts.SessionFact(context.writer_id, seq, branch_id, at),
        facts.RouteFact(context.writer_id, seq, branch_id),
    ]


def _read_control(
    record: ControlRecord, context: _Context, state: WriterState
) -> list[facts.Fact]:
    """The facts in a record; what cannot be read becomes a loss of that record."""
    reader = _READERS.get(record.kind)
    if reader is None:
        reason = f"a record of the unknown kind {record.kind}, perhaps of a newer kelt"
        return [_own_loss(context.writer_id, LostRange(record.seq, record.seq, reason))]
    try:
        return list(reader(record, context, state))
    except (DecodeError, UnicodeDecodeError) as error:
        reason = f"a record that cannot be read: {error}"
        return [_own_loss(context.writer_id, LostRange(record.seq, record.seq, reason))]


def _branch(record: ControlRecord, state: WriterState) -> str:
    return state.branch_at(record.seq) or ""


def _time(seconds: float, context: _Context) -> float:
    """A time that a database can hold and order."""
    return seconds if math.isfinite(seconds) and seconds > 0 else context.received_at


def _opened(record: ControlRecord, context: _Context, _state: WriterState) -> Iterator[facts.Fact]:
    said = record_pb2.RunOpened.FromString(record.payload)
    if not said.branch_id:
        raise DecodeError("it names no branch")
    writer_id, seq = context.writer_id, record.seq
    started_at = _time(said.started_at, context)
    entity = said.entity or context.default_entity
    project = said.project or PROJECT_DEFAULT
    run_id = said.run_id or said.branch_id
    name = (entity, project, run_id)
    origin = said.WhichOneof("origin")
    if origin == "forked":
        yield _branch_from(said.forked, facts.FORKED, said.branch_id, name, started_at, context, seq)
    elif origin == "rewound":
        yield _branch_from(
            said.rewound, facts.REWOUND, said.branch_id, name, started_at, context, seq
        )
    else:
        kind, parent_run_id = facts.CREATED, ""
        if origin == "resumed":
            kind = facts.CONTINUED if said.resumed.point_unknown else facts.RESUMED
            parent_run_id = run_id if said.resumed.point_unknown else ""
        yield facts.BranchFact(
            said.branch_id, writer_id, seq, *name, kind, started_at,
            entity, project, parent_run_id,
        )  # fmt: skip
    host = said.host
    yield facts.SessionFact(
        writer_id, seq, said.branch_id, started_at,
        said.resumed.point_unknown if origin == "resumed" else False,
        said.resumed.mode if origin == "resumed" else "",
        host.hostname, host.machine_id, host.boot_id, host.pid, host.program, host.python,
        said.sdk_version,
    )  # fmt: skip
    yield facts.RouteFact(writer_id, seq, said.branch_id)
    if said.HasField("info"):
        yield _info_fact(said.info, said.branch_id, writer_id, seq)


def _branch_from(
    point: record_pb2.BranchPoint,
    kind: str,
    branch_id: str,
    name: tuple[str, str, str],
    made_at: float,
    context: _Context,
    seq: int,
) -> facts.BranchFact:
    run_id = point.run_id
    if not run_id and not point.branch_id:
        run_id = name[2]  # nothing else could be meant
    return facts.BranchFact(
        branch_id, context.writer_id, seq, *name, kind, made_at,
        point.entity or context.default_entity, point.project or name[1], run_id,
        point.branch_id, point.step,
    )  # fmt: skip


def _rewind(record: ControlRecord, context: _Context, state: WriterState) -> Iterator[facts.Fact]:
    said = record_pb2.Rewind.FromString(record.payload)
    if not said.branch_id:
        raise DecodeError("it names no branch")
    point = said.point
    name = state.name or (
        point.entity or context.default_entity,
        point.project or PROJECT_DEFAULT,
        point.run_id or said.branch_id,
    )
    if not point.branch_id:
        point.branch_id = state.branch_at(record.seq) or ""
    at = _time(said.at, context)
    yield _branch_from(point, facts.REWOUND, said.branch_id, name, at, context, record.seq)
    yield facts.RouteFact(context.writer_id, record.seq, said.branch_id)


def _info(record: ControlRecord, context: _Context, state: WriterState) -> Iterator[facts.Fact]:
    said = record_pb2.RunInfo.FromString(record.payload)
    yield _info_fact(said, _branch(record, state), context.writer_id, record.seq)


def _info_fact(
    said: record_pb2.RunInfo, branch: str, writer_id: bytes, seq: int
) -> facts.InfoFact:
    return facts.InfoFact(
        branch,
        writer_id,
        seq,
        said.name if said.HasField("name") else None,
        said.notes if said.HasField("notes") else None,
        said.group if said.HasField("group") else None,
        said.job_type if said.HasField("job_type") else None,
        json.dumps(list(said.tags.values)) if said.HasField("tags") else None,
    )


def _checked_items(
    items: Iterable[record_pb2.JsonItem], record: ControlRecord, context: _Context
) -> Iterator[tuple[int, record_pb2.JsonItem] | facts.LossFact]:
    for index, item in enumerate(items):
        try:
            if not item.removed:
                json.loads(item.json)
        except (ValueError, RecursionError) as error:
            reason = f"the value of {item.key!r} is not JSON: {error}"
            yield _own_loss(context.writer_id, LostRange(record.seq, record.seq, reason))
        else:
            yield index, item


def _config(record: ControlRecord, context: _Context, state: WriterState) -> Iterator[facts.Fact]:
    said = record_pb2.Config.FromString(record.payload)
    at = _time(said.at, context)
    for checked in _checked_items(said.items, record, context):
        if isinstance(checked, facts.LossFact):
            yield checked
            continue
        index, item = checked
        yield facts.ConfigFact(
            _branch(record, state), context.writer_id, record.seq, index, at, item.key,
            item.json, item.removed,
        )  # fmt: skip


def _summary(record: ControlRecord, context: _Context, state: WriterState) -> Iterator[facts.Fact]:
    said = record_pb2.Summary.FromString(record.payload)
    for checked in _checked_items(said.items, record, context):
        if isinstance(checked, facts.LossFact):
            yield checked
            continue
        index, item = checked
        yield facts.SummaryFact(
            _branch(record, state), context.writer_id, record.seq, index, said.step, item.key,
            item.json, item.removed,
        )  # fmt: skip


def _definition(record: ControlRecord, context: _Context, state: WriterState) -> Iterator[facts.Fact]:
    said = record_pb2.MetricDefinition.FromString(record.payload)
    yield facts.DefinitionFact(
        _branch(record, state), context.writer_id, record.seq, said.name, said.step_metric,
        said.summary, said.goal, said.hidden, said.step,
    )  # fmt: skip


def _exit(record: ControlRecord, context: _Context, _state: WriterState) -> Iterator[facts.Fact]:
    said = record_pb2.Exit.FromString(record.payload)
    at = _time(said.at, context)
    yield facts.ExitFact(
        context.writer_id, record.seq, said.exit_code, said.reason, said.signal, at
    )


def _loss(record: ControlRecord, context: _Context, _state: WriterState) -> Iterator[facts.Fact]:
    said = record_pb2.Loss.FromString(record.payload)
    yield facts.LossFact(
        said.writer_id or context.writer_id,
        context.writer_id,
        record.seq,
        min(said.first_seq, INT64_MAX),
        min(said.last_seq, INT64_MAX),
        min(said.rows, INT64_MAX),
        said.reason,
    )


def _assertion(record: ControlRecord, context: _Context, _state: WriterState) -> Iterator[facts.Fact]:
    said = record_pb2.Assertion.FromString(record.payload)
    yield facts.AssertionFact(
        said.writer_id,
        context.writer_id,
        record.seq,
        said.state,
        said.reason,
        said.exit_code,
        said.signal,
        _time(said.at, context),
    )


_READERS: dict[int, _Reader] = {
    Kind.RUN_OPENED: _opened,
    Kind.CONFIG: _config,
    Kind.SUMMARY: _summary,
    Kind.METRIC_DEFINITION: _definition,
    Kind.RUN_INFO: _info,
    Kind.REWIND: _rewind,
    Kind.EXIT: _exit,
    Kind.LOSS: _loss,
    Kind.ASSERTION: _assertion,
}
