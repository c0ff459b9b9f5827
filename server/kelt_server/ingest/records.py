"""Control records → facts. Pure. What cannot be read becomes a loss of that record."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from kelt_proto.v1 import record_pb2
from kelt_proto.v1.frames import Kind
from kelt_server import facts
from kelt_server.ingest.blocks import ControlRecord, LostRange
from kelt_server.ingest.writer_state import INT64_MAX, WriterState

PROJECT_DEFAULT = "Uncategorized"


@dataclass(frozen=True, slots=True)
class RecordContext:
    """What a record does not say itself. `received_at` dates only what has no date."""

    writer_id: bytes
    default_entity: str
    received_at: float


def own_loss(writer_id: bytes, lost: LostRange) -> facts.LossFact:
    """A loss that this server found itself."""
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


def orphan(context: RecordContext, seq: int) -> list[facts.Fact]:
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


def read_control(
    record: ControlRecord, context: RecordContext, state: WriterState
) -> list[facts.Fact]:
    """The facts in a record; what cannot be read becomes a loss of that record."""
    reader = _READERS.get(record.kind)
    if reader is None:
        reason = f"a record of the unknown kind {record.kind}, perhaps of a newer kelt"
        return [own_loss(context.writer_id, LostRange(record.seq, record.seq, reason))]
    try:
        return list(reader(record, context, state))
    except (DecodeError, UnicodeDecodeError) as error:
        return [unreadable(record, context.writer_id, error)]


def unreadable(record: ControlRecord, writer_id: bytes, error: Exception) -> facts.LossFact:
    """The loss of a record that cannot be read."""
    reason = f"a record that cannot be read: {error}"
    return own_loss(writer_id, LostRange(record.seq, record.seq, reason))


def _branch(record: ControlRecord, state: WriterState) -> str:
    return state.branch_at(record.seq) or ""


def _time(seconds: float, context: RecordContext) -> float:
    """A time that a database can hold and order."""
    return seconds if math.isfinite(seconds) and seconds > 0 else context.received_at


def _opened(
    record: ControlRecord, context: RecordContext, _state: WriterState
) -> Iterator[facts.Fact]:
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
        yield _branch_from(
            said.forked, facts.FORKED, said.branch_id, name, started_at, context, seq
        )
    elif origin == "rewound":
        yield _branch_from(
            said.rewound, facts.REWOUND, said.branch_id, name, started_at, context, seq
        )
    else:
        kind = facts.SHARED if said.HasField("shared") else facts.CREATED
        if origin == "resumed":
            kind = facts.CONTINUED if said.resumed.point_unknown else facts.RESUMED
        parent_run_id = run_id if kind in facts.GOING_ON else ""
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
        said.sdk_version, said.HasField("shared"), said.shared.is_primary,
        (said.shared.label or writer_id.hex()[:8]) if said.HasField("shared") else "",
        writer_id if said.HasField("retold") else b"",
    )  # fmt: skip
    yield facts.RouteFact(writer_id, seq, said.branch_id)
    if said.HasField("info"):
        yield _info_fact(said.info, said.branch_id, writer_id, seq)


def retold_process(record: ControlRecord) -> str:
    """What the opening of a writer that retells says of its process: nothing, perhaps."""
    try:
        return record_pb2.RunOpened.FromString(record.payload).retold.process
    except DecodeError:
        return ""


def _branch_from(  # noqa: PLR0917
    point: record_pb2.BranchPoint,
    kind: str,
    branch_id: str,
    name: tuple[str, str, str],
    made_at: float,
    context: RecordContext,
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


def _rewind(
    record: ControlRecord, context: RecordContext, state: WriterState
) -> Iterator[facts.Fact]:
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


def _info(
    record: ControlRecord, context: RecordContext, state: WriterState
) -> Iterator[facts.Fact]:
    said = record_pb2.RunInfo.FromString(record.payload)
    yield _info_fact(said, _branch(record, state), context.writer_id, record.seq)


def _info_fact(said: record_pb2.RunInfo, branch: str, writer_id: bytes, seq: int) -> facts.InfoFact:
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
    items: Iterable[record_pb2.JsonItem], record: ControlRecord, context: RecordContext
) -> Iterator[tuple[int, record_pb2.JsonItem] | facts.LossFact]:
    for index, item in enumerate(items):
        try:
            if not item.removed:
                json.loads(item.json)
        except (ValueError, RecursionError) as error:
            reason = f"the value of {item.key!r} is not JSON: {error}"
            yield own_loss(context.writer_id, LostRange(record.seq, record.seq, reason))
        else:
            yield index, item


def _config(
    record: ControlRecord, context: RecordContext, state: WriterState
) -> Iterator[facts.Fact]:
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


def _summary(
    record: ControlRecord, context: RecordContext, state: WriterState
) -> Iterator[facts.Fact]:
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


def _definition(
    record: ControlRecord, context: RecordContext, state: WriterState
) -> Iterator[facts.Fact]:
    said = record_pb2.MetricDefinition.FromString(record.payload)
    yield facts.DefinitionFact(
        _branch(record, state), context.writer_id, record.seq, said.name, said.step_metric,
        said.summary, said.goal, said.hidden, said.step,
    )  # fmt: skip


def _exit(
    record: ControlRecord, context: RecordContext, _state: WriterState
) -> Iterator[facts.Fact]:
    said = record_pb2.Exit.FromString(record.payload)
    at = _time(said.at, context)
    yield facts.ExitFact(
        context.writer_id, record.seq, said.exit_code, said.reason, said.signal, at
    )


def _loss(
    record: ControlRecord, context: RecordContext, _state: WriterState
) -> Iterator[facts.Fact]:
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


def _assertion(
    record: ControlRecord, context: RecordContext, _state: WriterState
) -> Iterator[facts.Fact]:
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


def _artifact(
    _record: ControlRecord, _context: RecordContext, _state: WriterState
) -> Iterator[facts.Fact]:
    """Nothing to keep: it comes by `LogArtifact`, with all that is said of it."""
    yield from ()


_Reader = Callable[[ControlRecord, RecordContext, WriterState], Iterator[facts.Fact]]


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
    Kind.ARTIFACT: _artifact,
}
