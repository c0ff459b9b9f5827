"""The upstream that is a kelt server: found by HTTP, spoken to by gRPC.

Everything foreign is mapped to the daemon's errors here and nowhere else.
"""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio.lowlevel
import anyio.to_thread
import grpc
import grpc.aio

from kelt.artifacts.logged import content_path, is_content_name
from kelt.errors import SettingsError
from kelt.journal.files import open_regular
from kelt.proxies import proxy_for
from kelt.tls import root_certificates
from kelt.version import __version__
from kelt_daemon.batch import Outgoing
from kelt_daemon.config import DaemonConfig
from kelt_daemon.errors import OverloadedError, UnreachableError, UpstreamError
from kelt_daemon.upstream import Access, OutgoingArtifact, PushedCursor, ServerInfo
from kelt_daemon.upstream.discovery import discover
from kelt_daemon.upstream.grpc_errors import map_error
from kelt_proto.v1.protocol import OURS
from kelt_proto.v1.record_pb2 import Batch
from kelt_proto.v1.upstream_pb2 import (
    ArtifactPiece,
    CursorsRequest,
    DescribeRunReply,
    DescribeRunRequest,
    HeartbeatRequest,
    LogArtifactReply,
    LogArtifactRequest,
    PushRequest,
    UpstreamHelloRequest,
    WriterBeat,
)
from kelt_proto.v1.upstream_pb2_grpc import UpstreamStub

_PIECE_BYTES = 1024 * 1024


class KeltServer:
    """A kelt server.

    Args:
        url: its HTTP address.
        config: deadlines and limits.
    """

    def __init__(self, *, url: str, config: DaemonConfig) -> None:
        self._url = url
        self._config = config
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None
        self._metadata: tuple[tuple[str, str], ...] = ()

    async def connect(self, access: Access) -> ServerInfo:
        """As in `Upstream`."""
        await self.aclose()
        deadline_s = self._config.call_deadline_s
        proxy = proxy_for(self._url, proxy=access.proxy, environ=os.environ)
        found = await discover(self._url, access=access, proxy=proxy, deadline_s=deadline_s)
        key = access.api_key
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self._channel = await self._open_channel(found.grpc_port, access, proxy)
        self._stub = UpstreamStub(self._channel)
        request = UpstreamHelloRequest(
            version=__version__, protocol=OURS.newest, protocol_min=OURS.oldest
        )
        hello = await self._call(self._stub.Hello, request, deadline_s)
        limit = hello.push_bytes_max or self._config.push_bytes_max
        return ServerInfo(
            server_id=hello.server_id,
            version=hello.version,
            default_entity=hello.default_entity or found.default_entity,
            push_bytes_max=min(limit, self._config.push_bytes_max),
        )

    async def _open_channel(self, port: int, access: Access, proxy: str) -> grpc.aio.Channel:
        parts = urlsplit(self._url)
        host = parts.hostname or ""
        limit = self._config.upstream_message_bytes_max
        options: list[tuple[str, Any]] = [
            ("grpc.max_send_message_length", limit),
            ("grpc.max_receive_message_length", limit),
            ("grpc.keepalive_time_ms", int(self._config.keepalive_s * 1000)),
            ("grpc.keepalive_timeout_ms", int(self._config.keepalive_timeout_s * 1000)),
            ("grpc.enable_http_proxy", int(bool(proxy))),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),  # who tries again, and when, is decided in one place
        ]
        if proxy:
            options.append(("grpc.http_proxy", proxy))
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if parts.scheme != "https":
            return grpc.aio.insecure_channel(target, options)
        try:
            roots = await anyio.to_thread.run_sync(root_certificates, access.ca_file)
        except (SettingsError, OSError) as error:
            raise UnreachableError(f"{self._url} cannot be trusted yet: {error}") from error
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(roots), options)

    async def push(self, batches: Sequence[Outgoing]) -> Mapping[bytes, PushedCursor]:
        """As in `Upstream`."""
        request = PushRequest(
            batches=[
                Batch(
                    writer_id=batch.writer_id,
                    first_seq=batch.first_seq,
                    last_seq=batch.last_seq,
                    crc32=zlib.crc32(batch.frames or b""),
                    frames=batch.frames or b"",
                )
                for batch in batches
            ]
        )
        reply = await self._call(self._connected().Push, request, self._config.push_deadline_s)
        return {c.writer_id: PushedCursor(c.committed_through, c.gap) for c in reply.cursors}

    async def cursors(self, writer_ids: Sequence[bytes]) -> Mapping[bytes, int]:
        """As in `Upstream`."""
        request = CursorsRequest(writer_ids=writer_ids)
        reply = await self._call(self._connected().Cursors, request, self._config.call_deadline_s)
        return {cursor.writer_id: cursor.committed_through for cursor in reply.cursors}

    async def heartbeat(self, beats: Sequence[tuple[bytes, bool]]) -> Collection[bytes]:
        """As in `Upstream`."""
        request = HeartbeatRequest(
            beats=[WriterBeat(writer_id=writer, stalled=stalled) for writer, stalled in beats]
        )
        reply = await self._call(self._connected().Heartbeat, request, self._config.call_deadline_s)
        return set(reply.stopped_writer_ids)

    async def describe_run(
        self, request: DescribeRunRequest, *, deadline_s: float
    ) -> DescribeRunReply:
        """As in `Upstream`."""
        reply: DescribeRunReply = await self._call(
            self._connected().DescribeRun, request, deadline_s
        )
        return reply

    @property
    def artifacts(self) -> KeltServer:
        """As in `Upstream`."""
        return self

    async def log_artifact(self, artifact: OutgoingArtifact) -> str:
        """As in `ArtifactUpstream`: the server says what it lacks, until it lacks nothing."""
        put: set[str] = set()
        while not (reply := await self._offer(artifact.said)).version:
            for md5 in _missing(reply, put):
                path = content_path(artifact.place, md5)
                await self._put(artifact.said.entity, md5, path)
                put.add(md5)
        version: str = reply.version
        return version

    async def _offer(self, said: LogArtifactRequest) -> LogArtifactReply:
        reply: LogArtifactReply = await self._call(
            self._connected().LogArtifact, said, self._config.artifact_deadline_s
        )
        return reply

    async def _put(self, entity: str, md5: str, path: Path) -> None:
        failures: list[OSError] = []
        file = await anyio.to_thread.run_sync(open_regular, path)  # a copy may hold what it likes

        async def pieces() -> AsyncIterator[ArtifactPiece]:
            yield ArtifactPiece(entity=entity, md5=md5)
            try:
                while content := await anyio.to_thread.run_sync(file.read, _PIECE_BYTES):
                    yield ArtifactPiece(content=content)
            except OSError as error:  # the server then refuses what it has of it
                failures.append(error)

        try:
            size_bytes = os.fstat(file.fileno()).st_size
            slowest_s = size_bytes / self._config.artifact_bytes_per_s_min
            deadline_s = self._config.artifact_deadline_s + slowest_s
            await self._call(self._connected().PutArtifactFile, pieces(), deadline_s)
        except UpstreamError:
            if failures:
                raise failures[0] from None
            raise
        finally:
            file.close()

    async def wait_lost(self) -> None:
        """As in `Upstream`."""
        channel = self._channel
        try:
            while channel is not None and channel is self._channel:
                if channel.get_state() is not grpc.ChannelConnectivity.READY:
                    return
                await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        except asyncio.CancelledError:
            await anyio.lowlevel.checkpoint_if_cancelled()
            raise
        except grpc.aio.UsageError:  # closed meanwhile
            return

    async def aclose(self) -> None:
        """As in `Upstream`."""
        channel, self._channel, self._stub = self._channel, None, None
        if channel is not None:
            with anyio.CancelScope(shield=True):
                await channel.close()

    def _connected(self) -> Any:
        if self._stub is None:
            raise UnreachableError(f"There is no connection to {self._url}.")
        return self._stub

    async def _call(self, method: Any, request: Any, deadline_s: float) -> Any:
        channel = self._channel
        try:
            call: Awaitable[Any] = method(request, timeout=deadline_s, metadata=self._metadata)
            return await call
        except asyncio.CancelledError:
            # grpc.aio loses the message by which anyio knows its own cancellation
            # (grpc/grpc#43502): ask anyio first whether it was its own.
            await anyio.lowlevel.checkpoint_if_cancelled()
            if channel is not self._channel:
                raise UnreachableError(f"The connection to {self._url} was closed.") from None
            raise
        except grpc.aio.AioRpcError as error:
            raise map_error(error, url=self._url) from error
        except grpc.aio.UsageError as error:  # the channel was closed meanwhile
            raise UnreachableError(f"The connection to {self._url} was closed.") from error


def _missing(reply: LogArtifactReply, put: set[str]) -> list[str]:
    """What is to be put: nothing but contents, whatever the server asks for.

    Raises:
        OverloadedError: it was, and the server does not have it all the same.
    """
    missing = [md5 for md5 in reply.missing if is_content_name(md5) and md5 not in put]
    if not missing:
        raise OverloadedError("The server asks for what it was sent; it is asked again.")
    return missing
