"""A batch and where its writer stands → what both stores must take. Pure.

The two stores may stand at different records. Facts above the catalog's cursor and rows above the
metrics' cursor are new; what lies between is repeated for the one that is behind. The branch of
a row is that of the writer's route at its sequence number, so rows that come again long after a
rewind still land where they were logged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from google.protobuf.message import DecodeError

from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import Kind
from kelt_server import facts
from kelt_server.ingest.blocks import Column, ControlRecord, LostRange, Piece, RowBlock
from kelt_server.ingest.columns import decode_batch
from kelt_server.ingest.output_records import (
    StoredObject,
    console_lines,
    file_piece,
    system_branch,
    system_rows,
)
from kelt_server.ingest.records import (
    RecordContext,
    orphan,
    own_loss,
    read_control,
    retold_process,
    unreadable,
)
from kelt_server.ingest.writer_state import WriterState


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
    #: To be kept before the facts that name them are.
    objects: tuple[StoredObject, ...] = ()
    #: What the opening of a writer that retells says of its process.
    retold_process: str = ""


def is_gap(first_seq: int, state: WriterState) -> bool:
    """Whether records are missing between what is committed and this batch."""
    return first_seq > state.committed_through + 1


def apply_batch(
    batch: record_pb2.Batch, state: WriterState, *, default_entity: str, received_at: float
) -> BatchEffect:
    """What a batch that leaves no gap changes. `received_at` dates only what has no date."""
    context = RecordContext(batch.writer_id, default_entity, received_at)
    found: list[facts.Fact] = []
    blocks: list[RoutedBlock] = []
    objects: list[StoredObject] = []
    process = ""
    pieces = list(
        decode_batch(
            batch.frames,
            writer_id=batch.writer_id,
            first_seq=batch.first_seq,
            last_seq=batch.last_seq,
            after_seq=state.committed_through,
        )
    )
    declared = [_declared_loss(piece, batch.writer_id) for piece in pieces]
    for piece in pieces:
        if isinstance(piece, LostRange):
            if not any(first <= piece.first_seq <= last for first, last in declared):
                found.append(own_loss(batch.writer_id, piece))
            continue
        seq = int(piece.seqs[0]) if isinstance(piece, RowBlock) else piece.seq
        is_witness = isinstance(piece, ControlRecord) and piece.kind in _OF_OTHERS
        is_opening = isinstance(piece, ControlRecord) and piece.kind == Kind.RUN_OPENED
        if not (is_witness or is_opening) and state.branch_at(seq) is None:
            said = orphan(context, seq)
            found += said
            state = _with_routes(state, said)
        if isinstance(piece, RowBlock):
            blocks += _new_rows(piece, state, batch.writer_id)
        elif piece.kind in _OUTPUT_KINDS:
            put_out = _put_out(piece, context, state)
            found += put_out.facts
            blocks += put_out.blocks
            objects += put_out.objects
        else:
            said = read_control(piece, context, state)
            found += said
            if is_opening:
                state, process = _with_retold(state, said), retold_process(piece)
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
        tuple(objects),
        process,
    )


def whole_batch_lost(batch: record_pb2.Batch, state: WriterState, reason: str) -> BatchEffect:
    """What is left to do with a batch on which the decoder itself failed."""
    first_seq = max(batch.first_seq, state.committed_through + 1)
    loss = own_loss(batch.writer_id, LostRange(first_seq, batch.last_seq, reason))
    state = replace(
        state,
        catalog_cursor=max(state.catalog_cursor, batch.last_seq),
        metrics_cursor=max(state.metrics_cursor, batch.last_seq),
    )
    return BatchEffect((loss,), (), state)


def _declared_loss(piece: Piece, writer_id: bytes) -> tuple[int, int]:
    """The range before a LOSS record in the writer's own stream that the record accounts for.

    So a daemon replaces a damaged range: one batch over all of it, whose only frame is the last.
    """
    if isinstance(piece, ControlRecord) and piece.kind == Kind.LOSS:
        with contextlib.suppress(DecodeError):
            said = record_pb2.Loss.FromString(piece.payload)
            if said.writer_id == writer_id and said.first_seq <= piece.seq == said.last_seq:
                return said.first_seq, said.last_seq
    return 0, 0


#: Said of other writers too, so whoever says it needs no branch.
_OF_OTHERS = (Kind.LOSS, Kind.ASSERTION, Kind.FILE_PIECE)
_OUTPUT_KINDS = (Kind.CONSOLE, Kind.SYSTEM, Kind.FILE_PIECE)


def _put_out(record: ControlRecord, context: RecordContext, state: WriterState) -> BatchEffect:
    """What a record of the console, of the system or of a file comes to."""
    branch_id, writer_id = state.branch_at(record.seq) or "", context.writer_id
    try:
        if record.kind == Kind.FILE_PIECE:
            fact, found = file_piece(record, writer_id=writer_id)
            return BatchEffect((fact,), (), state, (found,))
        if record.kind == Kind.CONSOLE:
            lines = console_lines(record, branch_id=branch_id, writer_id=writer_id)
            return BatchEffect(tuple(lines), (), state)
        pieces = list(system_rows(record, received_at=context.received_at))
    except (DecodeError, ValueError, RecursionError) as error:
        return BatchEffect((unreadable(record, writer_id, error),), (), state)
    rows = (piece for piece in pieces if isinstance(piece, RowBlock))
    lost = (own_loss(writer_id, piece) for piece in pieces if isinstance(piece, LostRange))
    blocks = [
        replace(block, branch_id=system_branch(branch_id))
        for of_record in rows
        for block in _new_rows(of_record, state, writer_id)
    ]
    return BatchEffect(tuple(lost), tuple(blocks), state)


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
    elif isinstance(fact, facts.LossFact | facts.AssertionFact | facts.FilePieceFact):
        seq = fact.by_seq
    else:
        seq = fact.seq
    return fact if seq > cursor else None


def _with_retold(state: WriterState, said: Iterable[facts.Fact]) -> WriterState:
    for fact in said:
        if isinstance(fact, facts.SessionFact) and not state.retells:
            return replace(state, retells=fact.retells)
    return state


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
