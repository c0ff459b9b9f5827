"""The upstream that is a kelt server: found by HTTP, spoken to by gRPC.

Everything foreign is mapped to the daemon's errors here and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import anyio.lowlevel
import grpc
import grpc.aio

from kelt.version import PROTOCOL, __version__
from kelt_daemon.batch import Outgoing
from kelt_daemon.config import DaemonConfig
from kelt_daemon.errors import (
    OverloadedError,
    RefusedError,
    RejectedDataError,
    UnreachableError,
    UpstreamError,
)
from kelt_daemon.upstream import PushedCursor, ServerInfo
from kelt_proto.v1.record_pb2 import Batch
from kelt_proto.v1.upstream_pb2 import (
    CursorsRequest,
    DescribeRunReply,
    DescribeRunRequest,
    HeartbeatRequest,
    PushRequest,
    UpstreamHelloRequest,
    WriterBeat,
)
from kelt_proto.v1.upstream_pb2_grpc import UpstreamStub

_LOCAL_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
_RETRY_AFTER_KEY = "retry-after"

#: What a gRPC status means for us.
_ERRORS: Mapping[grpc.StatusCode, type[UpstreamError]] = {
    grpc.StatusCode.UNAVAILABLE: UnreachableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: UnreachableError,
    grpc.StatusCode.CANCELLED: UnreachableError,
    grpc.StatusCode.UNIMPLEMENTED: RefusedError,
    grpc.StatusCode.UNAUTHENTICATED: RefusedError,
    grpc.StatusCode.PERMISSION_DENIED: RefusedError,
    grpc.StatusCode.FAILED_PRECONDITION: RefusedError,
    grpc.StatusCode.INVALID_ARGUMENT: RejectedDataError,
    grpc.StatusCode.OUT_OF_RANGE: RejectedDataError,
    grpc.StatusCode.DATA_LOSS: OverloadedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.ABORTED: OverloadedError,
    grpc.StatusCode.INTERNAL: OverloadedError,
    grpc.StatusCode.UNKNOWN: OverloadedError,
}


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

    async def connect(self, api_key: str) -> ServerInfo:
        """As in `Upstream`."""
        await self.aclose()
        info = await self._fetch_info(api_key)
        parts = urlsplit(self._url)
        host = parts.hostname or ""
        self._metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        self._channel = self._open_channel(parts.scheme, host, int(info["grpc_port"]))
        self._stub = UpstreamStub(self._channel)
        request = UpstreamHelloRequest(version=__version__, protocol=PROTOCOL)
        hello = await self._call(self._stub.Hello, request, self._config.call_deadline_s)
        limit = hello.push_bytes_max or self._config.push_bytes_max
        return ServerInfo(
            server_id=hello.server_id,
            version=hello.version,
            default_entity=hello.default_entity or str(info.get("default_entity", "")),
            push_bytes_max=min(limit, self._config.push_bytes_max),
        )

    async def _fetch_info(self, api_key: str) -> dict[str, Any]:
        import httpx  # noqa: PLC0415 # costs a third of the daemon's start

        address = f"{self._url}/api/v1/info"
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        is_local = (urlsplit(self._url).hostname or "") in _LOCAL_HOSTS
        try:
            async with httpx.AsyncClient(
                timeout=self._config.call_deadline_s, trust_env=not is_local
            ) as client:
                reply = await client.get(address, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise UnreachableError(
                f"{self._url} does not answer ({reason}); start it with `kelt server`, or check "
                "KELT_UPSTREAM. What is logged waits on this host."
            ) from error
        if reply.status_code in {401, 403}:
            raise RefusedError(self._refusal("the key is not accepted"))
        try:
            info = reply.raise_for_status().json()
            if int(info["protocol"]) != PROTOCOL:
                raise RefusedError(self._other_protocol(info))
            return dict(info, grpc_port=int(info["grpc_port"]))
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
            raise UnreachableError(
                f"What answers at {self._url} is not a kelt server ({error}); check KELT_UPSTREAM."
            ) from error

    def _other_protocol(self, info: Mapping[str, Any]) -> str:
        newer = "server" if int(info["protocol"]) < PROTOCOL else "kelt on this host"
        return (
            f"{self._url} speaks protocol {info['protocol']} (kelt {info.get('version', '?')}) and "
            f"this daemon {PROTOCOL} (kelt {__version__}); upgrade the {newer}, then run any kelt "
            "command. What is logged waits on this host."
        )

    def _refusal(self, reason: str) -> str:
        return (
            f"{self._url} refused the key: {reason}; set KELT_API_KEY to one that it knows and run "
            "any kelt command. What is logged waits on this host."
        )

    def _open_channel(self, scheme: str, host: str, port: int) -> grpc.aio.Channel:
        limit = self._config.upstream_message_bytes_max
        options = [
            ("grpc.max_send_message_length", limit),
            ("grpc.max_receive_message_length", limit),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.enable_http_proxy", int(host not in _LOCAL_HOSTS)),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if scheme == "https":
            return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options)
        return grpc.aio.insecure_channel(target, options)

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

    async def heartbeat(self, beats: Sequence[tuple[bytes, bool]]) -> None:
        """As in `Upstream`."""
        request = HeartbeatRequest(
            beats=[WriterBeat(writer_id=writer, stalled=stalled) for writer, stalled in beats]
        )
        await self._call(self._connected().Heartbeat, request, self._config.call_deadline_s)

    async def describe_run(
        self, request: DescribeRunRequest, *, deadline_s: float
    ) -> DescribeRunReply:
        """As in `Upstream`."""
        reply: DescribeRunReply = await self._call(
            self._connected().DescribeRun, request, deadline_s
        )
        return reply

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
            raise self._mapped(error) from error
        except grpc.aio.UsageError as error:  # the channel was closed meanwhile
            raise UnreachableError(f"The connection to {self._url} was closed.") from error

    def _mapped(self, error: grpc.aio.AioRpcError) -> UpstreamError:
        code, details = error.code(), error.details() or "no reason given"
        kind = _ERRORS.get(code, OverloadedError)
        if kind is RefusedError:
            if code in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}:
                return RefusedError(self._refusal(details))
            return RefusedError(
                f"{self._url} refused this daemon: {details} (kelt {__version__}, protocol "
                f"{PROTOCOL}); upgrade the older one, then run any kelt command. What is logged "
                "waits on this host."
            )
        if kind is RejectedDataError:
            return RejectedDataError(f"{self._url} does not accept these records: {details}")
        if kind is UnreachableError:
            return UnreachableError(
                f"{self._url} does not answer ({details}). What is logged waits on this host."
            )
        after_s = None
        with contextlib.suppress(TypeError, ValueError):
            found = dict(error.trailing_metadata() or ())
            after_s = float(found[_RETRY_AFTER_KEY]) if _RETRY_AFTER_KEY in found else None
        return OverloadedError(
            f"{self._url} answered with an error ({code.name}: {details}); it is asked again.",
            retry_after_s=after_s,
        )
