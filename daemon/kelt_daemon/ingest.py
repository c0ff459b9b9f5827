"""The part of the service that trainers use: greeting, streams of batches, questions upstream."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import structlog

from kelt.addresses import without_user
from kelt.version import __version__
from kelt.wandb_upstream import has_scheme
from kelt_daemon.append_stream import AppendStream, Write
from kelt_daemon.bounds import writers_bound
from kelt_daemon.commit import GroupCommitter
from kelt_daemon.config import DaemonConfig
from kelt_daemon.errors import CallRefusedError, FolderProblemError, Refusal, UpstreamError
from kelt_daemon.link_messages import upstream_state
from kelt_daemon.registry import Registry
from kelt_daemon.run_folders import RunFolder
from kelt_proto.v1 import sidecar_pb2
from kelt_proto.v1.protocol import OURS, said
from kelt_proto.v1.upstream_pb2 import DescribeRunReply

log = structlog.get_logger()
_DESCRIBE_DEADLINE_S = 5.0


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
        #: Writers that are open now, and how many were refused because there were too many.
        self.writers = 0
        self.writers_refused = 0

    def stop(self) -> None:
        """Nothing more is taken from streams; each is told what became durable, and ended."""
        self._stopping.set()

    def writers_bound(self) -> sidecar_pb2.BoundUse:
        """How many writers are open, of how many."""
        return writers_bound(self.writers, self.writers_refused, self._config)

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
            writers_per_stream=self._config.writers_per_stream_max,
        )
        if has_scheme(request.upstream):
            link = self._registry.links.connected(without_user(request.upstream).rstrip("/"))
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
        if not has_scheme(request.upstream):
            raise CallRefusedError(Refusal.MISTAKE, "The upstream must be an HTTP address.")
        link = self._registry.links.connected(without_user(request.upstream).rstrip("/"))
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
        """A stream of writers' batches in, cumulative replies out.

        Raises:
            CallRefusedError: the caller did something wrong, or the daemon stops.
        """
        stream = AppendStream(
            writers=self,
            committer=self._committer,
            config=self._config,
            stopping=self._stopping,
        )
        await stream.serve(requests, write)

    async def open_writer(self, opening: sidecar_pb2.OpenWriter) -> RunFolder:
        """A writer begins on a stream.

        Raises:
            CallRefusedError: it cannot be opened.
        """
        if self.writers >= self._config.writers_max:
            self.writers_refused += 1
            raise CallRefusedError(
                Refusal.TOO_MANY,
                f"{self.writers} writers are open, and more are not taken at a time; rows wait in "
                "their spools until some have ended.",
            )
        self.writers += 1
        try:
            folder = await self._adopt(opening)
        except BaseException:
            self.writers -= 1
            raise
        folder.cursor(folder.writer_id).streams += 1
        return folder

    def close_writer(self, folder: RunFolder) -> None:
        """A writer has left its stream."""
        self.writers -= 1
        folder.cursor(folder.writer_id).streams -= 1
        folder.changed.notify()

    def linger_s(self) -> float:
        """How long a caller should gather rows before it sends them."""
        return self._config.linger_s(self.writers)

    async def _adopt(self, opening: sidecar_pb2.OpenWriter) -> RunFolder:
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


def _password_of(proxy: str) -> str:
    return urlsplit(proxy).password or ""
