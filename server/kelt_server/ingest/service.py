"""The gRPC edge: messages to and from the committer and the reader, errors to status codes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import anyio.to_thread
import grpc
import grpc.aio
import structlog

from kelt_proto.v1 import record_pb2, upstream_pb2, upstream_pb2_grpc
from kelt_proto.v1.frames import WRITER_ID_BYTES
from kelt_proto.v1.protocol import OURS, said
from kelt_server import __version__
from kelt_server.access.callers import Caller
from kelt_server.access.gate import Gate
from kelt_server.artifacts.receiving import ArtifactReceiver, OfferedArtifact
from kelt_server.catalog.stops import Stops
from kelt_server.errors import (
    BadBatchError,
    BadRequestError,
    BusyError,
    ForbiddenError,
    KeltServerError,
    KeyRefusedError,
    NoRoomError,
    NotFoundError,
    RunDeletedError,
    StoreError,
    TooLargeError,
)
from kelt_server.facts import LifeSign
from kelt_server.ingest.committer import Committer
from kelt_server.ingest.group import Counters, WriterAck
from kelt_server.ingest.records import PROJECT_DEFAULT
from kelt_server.liveness import RUNNING
from kelt_server.reader import RunReader
from kelt_server.run_view import RunView

Context = Any  # grpc.aio.ServicerContext; the generated base asks for a mixture
_Reply = TypeVar("_Reply")

#: What a daemon may do: resend (DATA_LOSS, RESOURCE_EXHAUSTED, UNAVAILABLE), or wait for somebody.
_STATUS: tuple[tuple[type[KeltServerError], grpc.StatusCode], ...] = (
    (BadBatchError, grpc.StatusCode.DATA_LOSS),
    (BadRequestError, grpc.StatusCode.INVALID_ARGUMENT),
    (BusyError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (TooLargeError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (NoRoomError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (NotFoundError, grpc.StatusCode.NOT_FOUND),
    (RunDeletedError, grpc.StatusCode.NOT_FOUND),
    (KeyRefusedError, grpc.StatusCode.UNAUTHENTICATED),
    (ForbiddenError, grpc.StatusCode.PERMISSION_DENIED),
    (StoreError, grpc.StatusCode.UNAVAILABLE),
)


class UpstreamService(upstream_pb2_grpc.UpstreamServicer):
    """Answers daemons."""

    def __init__(
        self,
        *,
        committer: Committer,
        reader: RunReader,
        clock: Callable[[], float],
        server_id: str,
        gate: Gate,
        stops: Stops,
        artifacts: ArtifactReceiver,
        push_bytes_max: int,
        counters: Counters,
    ) -> None:
        self._counters = counters
        self._committer = committer
        self._reader = reader
        self._clock = clock
        self._server_id = server_id
        self._gate = gate
        self._stops = stops
        self._artifacts = artifacts
        self._push_bytes_max = push_bytes_max
        self._log = structlog.get_logger("kelt_server.grpc")

    async def Hello(  # noqa: N802 # as the protocol names it
        self, request: upstream_pb2.UpstreamHelloRequest, context: Context
    ) -> upstream_pb2.UpstreamHelloReply:
        """Who is there."""
        caller = await self._admit(context)
        theirs = said(request.protocol, request.protocol_min)
        if not OURS.common(theirs):
            older = "kelt on that host" if theirs.is_older_than(OURS) else "this server"
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"kelt {request.version or '(unnamed)'} speaks {theirs}, this server "
                f"({__version__}) {OURS}: upgrade {older}; nothing is lost",
            )
        return upstream_pb2.UpstreamHelloReply(
            version=__version__,
            protocol=OURS.newest,
            protocol_min=OURS.oldest,
            server_id=self._server_id,
            default_entity=caller.entity,
            push_bytes_max=self._push_bytes_max,
        )

    async def Push(  # noqa: N802
        self, request: upstream_pb2.PushRequest, context: Context
    ) -> upstream_pb2.PushReply:
        """Replies after commit."""
        caller = await self._admit(context)
        acks = await self._answer(context, self._push(list(request.batches), caller))
        return upstream_pb2.PushReply(cursors=[_cursor(ack) for ack in acks])

    async def _push(self, batches: list[record_pb2.Batch], caller: Caller) -> list[WriterAck]:
        size_bytes = sum(len(batch.frames) for batch in batches)
        if len(batches) > 1 and size_bytes > self._push_bytes_max:  # one record travels in any size
            self._counters.pushes_too_large += 1
            raise TooLargeError(
                f"a push of {size_bytes} bytes is larger than max {self._push_bytes_max}; send "
                "fewer batches at a time"
            )
        return await self._committer.push(batches, caller)

    async def Cursors(  # noqa: N802
        self, request: upstream_pb2.CursorsRequest, context: Context
    ) -> upstream_pb2.CursorsReply:
        """Where writers stand; unknown ones at 0."""
        await self._admit(context)
        acks = await self._answer(context, self._committer.committed_through(request.writer_ids))
        return upstream_pb2.CursorsReply(cursors=[_cursor(ack) for ack in acks])

    async def Heartbeat(  # noqa: N802
        self, request: upstream_pb2.HeartbeatRequest, context: Context
    ) -> upstream_pb2.HeartbeatReply:
        """Notes who lives, written with the next commit; says who was asked to stop."""
        await self._admit(context)
        now = self._clock()
        self._committer.beat(
            LifeSign(beat.writer_id, now, beat.stalled)
            for beat in request.beats
            if len(beat.writer_id) == WRITER_ID_BYTES
        )
        stopped = self._stops.of(beat.writer_id for beat in request.beats)
        return upstream_pb2.HeartbeatReply(stopped_writer_ids=sorted(stopped))

    async def DescribeRun(  # noqa: N802
        self, request: upstream_pb2.DescribeRunRequest, context: Context
    ) -> upstream_pb2.DescribeRunReply:
        """What a host needs to go on with a run from elsewhere."""
        caller = await self._admit(context)
        return await self._answer(
            context, anyio.to_thread.run_sync(self._describe, request, caller)
        )

    def _describe(
        self, request: upstream_pb2.DescribeRunRequest, caller: Caller
    ) -> upstream_pb2.DescribeRunReply:
        reader = self._reader.seen_by(caller)
        where = (request.entity, request.project, request.run_id)
        try:
            view = reader.run(*where)
        except NotFoundError:
            return upstream_pb2.DescribeRunReply(exists=False, last_step=-1)
        summary = {key: value for key, value in view.summary.items() if key not in _ROW_FIELDS}
        if request.HasField("step"):
            summary = reader.summary_at(*where, request.step)
        return _description(view, summary)

    async def LogArtifact(  # noqa: N802
        self, request: upstream_pb2.LogArtifactRequest, context: Context
    ) -> upstream_pb2.LogArtifactReply:
        """What is missing, or which version it is."""
        caller = await self._admit(context)
        offered = OfferedArtifact(
            client_id=request.id,
            writer_id=request.writer_id,
            entity=request.entity,
            project=request.project or PROJECT_DEFAULT,
            run_id=request.run_id,
            name=request.name,
            type=request.type,
            description=request.description,
            metadata=request.metadata_json,
            aliases=tuple(request.aliases),
            tags=tuple(request.tags),
            history_step=request.step if request.step >= 0 else None,
            manifest_md5=request.manifest_md5,
        )
        offer = anyio.to_thread.run_sync(self._artifacts.offer, offered, caller)
        received = await self._answer(context, offer)
        return upstream_pb2.LogArtifactReply(missing=received.missing, version=received.version)

    async def PutArtifactFile(  # noqa: N802
        self, request_iterator: AsyncIterator[upstream_pb2.ArtifactPiece], context: Context
    ) -> upstream_pb2.PutArtifactFileReply:
        """Replies once the file is on disk."""
        caller = await self._admit(context)
        await self._answer(context, self._put(request_iterator, caller))
        return upstream_pb2.PutArtifactFileReply()

    async def _put(self, pieces: AsyncIterator[upstream_pb2.ArtifactPiece], caller: Caller) -> None:
        first = await anext(aiter(pieces), None)
        if first is None:
            raise BadRequestError("a file without a piece")

        async def content() -> AsyncIterator[bytes]:
            yield first.content
            async for piece in pieces:
                yield piece.content

        await self._artifacts.put(first.entity, first.md5, content(), caller)

    async def _admit(self, context: Context) -> Caller:
        given = dict(context.invocation_metadata() or ()).get("authorization", "")
        try:
            return self._gate.admit(str(given))
        except (KeyRefusedError, StoreError) as error:
            await _refuse(context, error)

    async def _answer(self, context: Context, asked: Awaitable[_Reply]) -> _Reply:
        try:
            return await asked
        except KeltServerError as error:
            await _refuse(context, error)
        except Exception:  # noqa: BLE001 # told as a status, and logged
            self._log.exception("a call failed")
            await context.abort(
                grpc.StatusCode.INTERNAL, "the server made a mistake; its log says more"
            )
        raise AssertionError  # abort raises


_ROW_FIELDS = ("_step", "_timestamp", "_runtime")
_PROBLEMS_MAX = 20
#: When to ask again what may work then; in seconds.
_LATER = (("retry-after", "1"),)


async def _refuse(context: Context, error: KeltServerError) -> NoReturn:
    codes = [code for kind, code in _STATUS if isinstance(error, kind)]
    await context.abort(
        codes[0] if codes else grpc.StatusCode.INTERNAL,
        str(error),
        trailing_metadata=_LATER if isinstance(error, BusyError | NoRoomError | StoreError) else (),
    )
    raise AssertionError  # abort raises


def _cursor(ack: WriterAck) -> upstream_pb2.WriterCursor:
    return upstream_pb2.WriterCursor(
        writer_id=ack.writer_id, committed_through=ack.committed_through, gap=ack.gap
    )


def _description(view: RunView, summary: dict[str, Any]) -> upstream_pb2.DescribeRunReply:
    """JSON here is with bare NaN and infinities, as in records."""
    branch, info = view.line.branch, view.info
    return upstream_pb2.DescribeRunReply(
        exists=True,
        entity=branch.entity,
        project=branch.project,
        run_id=branch.run_id,
        branch_id=branch.branch_id,
        last_step=view.last_step,
        info=record_pb2.RunInfo(
            name=info.name,
            notes=info.notes,
            group=info.group,
            job_type=info.job_type,
            tags=record_pb2.Tags(values=info.tags),
        ),
        config_json=json.dumps(dict(view.config)),
        summary_json=json.dumps(summary),
        state=view.state.state,
        runtime=view.runtime or 0.0,
        definitions=[
            record_pb2.MetricDefinition(
                name=definition.name,
                step_metric=definition.step_metric,
                summary=definition.summary,
                goal=definition.goal,
                hidden=definition.hidden,
                step=definition.step,
            )
            for definition in view.definitions
        ],
        problems=view.problems[:_PROBLEMS_MAX],
        live_writers=[
            upstream_pb2.LiveWriter(
                writer_id=shown.session.writer_id,
                label=shown.session.label,
                hostname=shown.session.hostname,
                is_primary=shown.session.is_primary,
            )
            for shown in view.sessions
            if shown.session.is_shared and shown.state.state == RUNNING
        ],
    )
