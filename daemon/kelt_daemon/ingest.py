"""The part of the service that trainers use: greeting, streams of batches, questions upstream.

Of gRPC it knows nothing: a stream is an iterator of requests and a function that writes replies.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import structlog

from kelt.addresses import without_user
from kelt.version import __version__
from kelt_daemon.bounds import stream_bound
from kelt_daemon.commit import GroupCommitter
from kelt_daemon.config import DaemonConfig
from kelt_daemon.errors import CallRefusedError, FolderProblemError, Refusal, UpstreamError
from kelt_daemon.links import UpstreamLink
from kelt_daemon.registry import Registry
from kelt_daemon.run_folders import Offer, RunFolder
from kelt_proto.v1 import sidecar_pb2
from kelt_proto.v1.protocol import OURS, said
from kelt_proto.v1.record_pb2 import Batch
from kelt_proto.v1.upstream_pb2 import DescribeRunReply

log = structlog.get_logger()
_DESCRIBE_DEADLINE_S = 5.0
Write = Callable[[sidecar_pb2.AppendReply], Awaitable[object]]


class Ingest:
    """Serves trainers.

    Args:
        registry: run folders and upstreams.
        committer: makes batches durable.
        config: bounds.
        keep_secret: is told of keys that must not be logged.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        committer: GroupCommitter,
        config: DaemonConfig,
        keep_secret: Callable[[str], None],
    ) -> None:
        self._registry = registry
        self._committer = committer
        self._config = config
        self._keep_secret = keep_secret
        self._stopping = anyio.Event()
        #: Streams that are open now, and how many were refused because there were too many.
        self.streams = 0
        self.streams_refused = 0

    def stop(self) -> None:
        """Nothing more is taken from streams; each is told what became durable, and ended."""
        self._stopping.set()

    def stream_bound(self) -> sidecar_pb2.BoundUse:
        """How many writers are open, of how many."""
        return stream_bound(self.streams, self.streams_refused, self._config)

    def hello(self, request: sidecar_pb2.SidecarHelloRequest) -> sidecar_pb2.SidecarHelloReply:
        """Answers who is there, and takes the caller's key.

        Raises:
            CallRefusedError: there is no protocol that both speak.
        """
        theirs = said(request.protocol, request.protocol_min)
        if not OURS.common(theirs):
            older = "kelt in that program" if theirs.is_older_than(OURS) else "the daemon's kelt"
            raise CallRefusedError(
                Refusal.UNUSABLE,
                f"kelt {request.version or '(unnamed)'} speaks {theirs} and this daemon {OURS} "
                f"(kelt {__version__}): upgrade {older}, then run `kelt daemon stop`. What is "
                "logged waits on this host.",
            )
        reply = sidecar_pb2.SidecarHelloReply(
            version=__version__,
            protocol=OURS.newest,
            protocol_min=OURS.oldest,
            pid=os.getpid(),
        )
        if request.upstream.startswith(("http://", "https://")):
            link = self._registry.connected_link(without_user(request.upstream).rstrip("/"))
            self._keep_secret(request.api_key)
            self._keep_secret(_password_of(request.proxy))
            link.take_way(
                ca_file=Path(request.ca_file) if request.ca_file else None, proxy=request.proxy
            )
            link.take_key(request.api_key)
            reply.default_entity = link.default_entity
            reply.upstream_state.CopyFrom(upstream_state(link))
        return reply

    async def describe_run(
        self, request: sidecar_pb2.SidecarDescribeRequest, *, remaining_s: float | None
    ) -> DescribeRunReply:
        """Passes a question on, with the caller's deadline.

        Raises:
            CallRefusedError: there is no answer.
        """
        if not request.upstream.startswith(("http://", "https://")):
            raise CallRefusedError(Refusal.MISTAKE, "The upstream must be an HTTP address.")
        link = self._registry.connected_link(without_user(request.upstream).rstrip("/"))
        deadline_s = _DESCRIBE_DEADLINE_S if remaining_s is None else remaining_s
        try:
            with anyio.fail_after(deadline_s):
                await link.wait_settled()
                if link.is_ready:
                    return await link.upstream.describe_run(request.run, deadline_s=deadline_s)
        except (UpstreamError, TimeoutError) as error:
            reason = str(error) or f"{link.url} does not answer in time."
        else:
            reason = link.report.reason
        raise CallRefusedError(Refusal.AWAY, reason)

    async def append(
        self, requests: AsyncIterator[sidecar_pb2.AppendRequest], write: Write
    ) -> None:
        """One writer's stream: batches in, cumulative replies out.

        Raises:
            CallRefusedError: the caller did something wrong, or the daemon stops.
        """
        first = await anext(aiter(requests), None)
        if first is None or first.WhichOneof("message") != "open":
            raise CallRefusedError(Refusal.MISTAKE, "A stream begins with OpenWriter.")
        if self.streams >= self._config.streams_max:
            self.streams_refused += 1
            raise CallRefusedError(
                Refusal.TOO_MANY,
                f"{self.streams} writers are open, and more are not taken at a time; rows wait in "
                "their spools until some have ended.",
            )
        folder = await self._open(first.open)
        stream = _AppendStream(
            folder=folder,
            committer=self._committer,
            config=self._config,
            linger_s=lambda: self._config.linger_s(self.streams),
            stopping=self._stopping,
        )
        cursor = folder.cursor(folder.writer_id)
        self.streams += 1
        cursor.streams += 1
        try:
            await stream.serve(requests, write)
        finally:
            self.streams -= 1
            cursor.streams -= 1
            folder.changed.notify()

    async def _open(self, opening: sidecar_pb2.OpenWriter) -> RunFolder:
        path = Path(opening.run_folder)
        if not path.is_absolute():
            raise CallRefusedError(Refusal.MISTAKE, "OpenWriter.run_folder must be absolute.")
        try:
            folder = await self._registry.adopt(path)
        except (FolderProblemError, OSError) as error:
            raise CallRefusedError(Refusal.UNUSABLE, str(error)) from error
        if folder.writer_id != opening.writer_id:
            raise CallRefusedError(
                Refusal.UNUSABLE,
                f"{path} is another writer's folder: its run.json names {folder.writer_id.hex()}.",
            )
        self._registry.activate(folder)
        return folder


class _AppendStream:
    """What goes on in one stream."""

    def __init__(
        self,
        *,
        folder: RunFolder,
        committer: GroupCommitter,
        config: DaemonConfig,
        linger_s: Callable[[], float],
        stopping: anyio.Event,
    ) -> None:
        self._folder = folder
        self._cursor = folder.cursor(folder.writer_id)
        self._committer = committer
        self._config = config
        self._linger_s = linger_s
        self._stopping = stopping
        self._must_reply = True
        #: What the caller did wrong: told once nothing else runs in this stream.
        self._fault: CallRefusedError | None = None

    async def serve(self, requests: AsyncIterator[sidecar_pb2.AppendRequest], write: Write) -> None:
        """Until the caller has said all, or the daemon stops."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._reply_on_changes, write)
            async with anyio.create_task_group() as reading:
                reading.start_soon(self._cancel_on_stop, reading.cancel_scope)
                await self._read(requests)
                reading.cancel_scope.cancel()
            with anyio.move_on_after(self._config.drain_s):
                await self._committer.drain(self._folder)
            group.cancel_scope.cancel()
        # Last, as the replies before it may have missed the end.
        await write(self._reply())
        if self._fault is not None:
            raise self._fault
        if self._stopping.is_set():
            raise CallRefusedError(Refusal.AWAY, "The daemon stops.")

    async def _cancel_on_stop(self, scope: anyio.CancelScope) -> None:
        await self._stopping.wait()
        scope.cancel()

    async def _read(self, requests: AsyncIterator[sidecar_pb2.AppendRequest]) -> None:
        async for request in requests:
            self._fault = self._fault_of(request)
            if self._fault is not None:
                return
            self._take(request.batch)
            # Reading on only when there is room holds the caller back by gRPC's own flow control.
            await self._committer.wait_room(self._folder, self._folder.writer_id)

    def _fault_of(self, request: sidecar_pb2.AppendRequest) -> CallRefusedError | None:
        batch = request.batch
        if request.WhichOneof("message") != "batch":
            return CallRefusedError(Refusal.MISTAKE, "A batch was expected.")
        if batch.writer_id != self._folder.writer_id or not 0 < batch.first_seq <= batch.last_seq:
            reason = "A batch of another writer, or without records."
            return CallRefusedError(Refusal.MISTAKE, reason)
        if zlib.crc32(batch.frames) != batch.crc32:
            reason = f"Batch {batch.first_seq} to {batch.last_seq} was changed on its way."
            return CallRefusedError(Refusal.CHANGED, reason)
        return None

    def _take(self, batch: Batch) -> None:
        folder = self._folder
        offer = folder.offer(batch.writer_id, batch.first_seq, batch.last_seq, batch.frames)
        if offer is Offer.TAKEN:
            self._committer.submit(folder)
            return
        # A repeat or a gap: the caller is told where to go on, at once.
        self._must_reply = True
        folder.changed.notify()

    async def _reply_on_changes(self, write: Write) -> None:
        said: sidecar_pb2.AppendReply | None = None
        said_at_s = -math.inf
        while True:
            # Before looking, so that no change between looking and waiting is missed.
            events = (self._folder.changed.next(), self._folder.link.changed.next())
            reply = self._reply()
            due_at_s = math.inf
            if reply != said or self._must_reply:
                due_at_s = said_at_s + self._may_wait_s(reply, said)
            if anyio.current_time() >= due_at_s:
                said, said_at_s, self._must_reply = reply, anyio.current_time(), False
                await write(reply)
                continue
            with anyio.CancelScope(deadline=due_at_s):
                async with anyio.create_task_group() as group:
                    for event in events:
                        group.start_soon(_cancel_after, event, group.cancel_scope)

    def _may_wait_s(
        self, reply: sidecar_pb2.AppendReply, said: sidecar_pb2.AppendReply | None
    ) -> float:
        """How long after the one before a reply may come.

        What the upstream has committed nobody waits for before the writer's end, so it travels with
        what became durable.
        """
        if said is None or self._must_reply or self._folder.goodbye is not None:
            return 0.0
        only_committed = sidecar_pb2.AppendReply()
        only_committed.CopyFrom(said)
        only_committed.committed_through = reply.committed_through
        return self._config.committed_reply_s if only_committed == reply else 0.0

    def _reply(self) -> sidecar_pb2.AppendReply:
        return sidecar_pb2.AppendReply(
            durable_through=self._cursor.durable,
            committed_through=min(self._cursor.committed, self._cursor.durable),
            linger_s=self._linger_s(),
            upstream_state=upstream_state(self._folder.link),
        )


async def _cancel_after(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _password_of(proxy: str) -> str:
    return urlsplit(proxy).password or ""


def upstream_state(link: UpstreamLink) -> sidecar_pb2.UpstreamState:
    """How it stands with an upstream, as a message."""
    report = link.report
    return sidecar_pb2.UpstreamState(
        state=report.state.name,
        reason=report.reason,
        since=report.since,
        url=link.url,
    )
