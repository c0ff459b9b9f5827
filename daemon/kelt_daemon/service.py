"""The gRPC service on the socket: from messages to the parts that answer them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
import anyio.to_thread
import grpc
import grpc.aio
import structlog

from kelt.version import __version__, is_newer
from kelt_daemon.config import DaemonConfig
from kelt_daemon.control import Control
from kelt_daemon.door import TokenGate
from kelt_daemon.errors import CallRefusedError, Refusal
from kelt_daemon.ingest import Ingest
from kelt_proto.v1 import sidecar_pb2
from kelt_proto.v1.sidecar_pb2_grpc import SidecarServicer, add_SidecarServicer_to_server
from kelt_proto.v1.upstream_pb2 import DescribeRunReply

if TYPE_CHECKING:
    from typing_extensions import Self

log = structlog.get_logger()
_STATUS = {
    Refusal.MISTAKE: grpc.StatusCode.INVALID_ARGUMENT,
    Refusal.UNUSABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Refusal.CHANGED: grpc.StatusCode.DATA_LOSS,
    Refusal.AWAY: grpc.StatusCode.UNAVAILABLE,
    Refusal.TOO_MANY: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class _Refusal:
    """Takes the error of a call that is not served, and tells the caller once it is let go.

    While an error is handled it holds the call's messages, and gRPC keeps what ends a call: eight
    MiB a time, until Python collects its cycles.
    """

    def __init__(self) -> None:
        self._said: tuple[grpc.StatusCode, str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, CallRefusedError):
            return False
        self._said = _STATUS[error.refusal], str(error)
        return True

    async def tell(self, context: Any) -> NoReturn:
        """Ends the call."""
        if self._said is not None:
            await context.abort(*self._said)
        raise AssertionError  # not reached: only a refusal leads here, and abort raises


class SidecarService(SidecarServicer):
    """Implements `Sidecar`.

    Args:
        ingest: serves trainers.
        control: serves people.
    """

    def __init__(self, *, ingest: Ingest, control: Control) -> None:
        self._ingest = ingest
        self._control = control
        self.calls = 0
        #: When the last call ended, on the monotonic clock.
        self.used_at_s = time.monotonic()

    async def Hello(  # noqa: N802 # the name in sidecar.proto
        self, request: sidecar_pb2.SidecarHelloRequest, context: Any
    ) -> sidecar_pb2.SidecarHelloReply:
        """See sidecar.proto."""
        self.used_at_s = time.monotonic()
        with _Refusal() as refusal:
            return self._ingest.hello(request)
        return await refusal.tell(context)

    async def Append(  # type: ignore[override] # noqa: N802 # writes replies on its own
        self, request_iterator: AsyncIterator[sidecar_pb2.AppendRequest], context: Any
    ) -> None:
        """See sidecar.proto."""
        self.calls += 1
        refusal = _Refusal()
        try:
            with refusal:
                await self._ingest.append(request_iterator, context.write)
                return
        finally:
            self.calls -= 1
            self.used_at_s = time.monotonic()
            await _let_go(request_iterator)
        await refusal.tell(context)

    async def DescribeRun(  # noqa: N802
        self, request: sidecar_pb2.SidecarDescribeRequest, context: Any
    ) -> DescribeRunReply:
        """See sidecar.proto."""
        self.used_at_s = time.monotonic()
        with _Refusal() as refusal:
            return await self._ingest.describe_run(request, remaining_s=context.time_remaining())
        return await refusal.tell(context)

    async def Sync(  # noqa: N802
        self, request: sidecar_pb2.SyncRequest, _context: Any
    ) -> AsyncIterator[sidecar_pb2.SyncReply]:
        """See sidecar.proto."""
        self.calls += 1
        try:
            async for reply in self._control.sync(request):
                yield reply
        finally:
            self.calls -= 1
            self.used_at_s = time.monotonic()

    async def Status(  # noqa: N802
        self, _request: sidecar_pb2.StatusRequest, _context: Any
    ) -> sidecar_pb2.StatusReply:
        """See sidecar.proto."""
        reply = self._control.status()
        reply.bounds.append(self._ingest.writers_bound())
        return reply

    async def Stop(  # noqa: N802
        self, request: sidecar_pb2.StopRequest, context: Any
    ) -> sidecar_pb2.StopReply:
        """See sidecar.proto."""
        successor = request.successor_version
        if successor and not is_newer(successor, __version__):
            # Two versions on one host must not take turns.
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"This daemon (kelt {__version__}) hands over only to a newer version, and "
                f"{successor[:64]} is not newer: use this daemon, or run `kelt daemon stop`.",
            )
        log.info("stop_asked", successor=successor[:64] or None)
        self._control.stop_asked.set()
        return sidecar_pb2.StopReply()


async def _let_go(messages: AsyncIterator[Any]) -> None:
    """Closes the iterator of a call: gRPC has it keep the last message that it gave."""
    close = getattr(aiter(messages), "aclose", None)
    if close is not None:
        with anyio.CancelScope(shield=True), contextlib.suppress(RuntimeError):  # still in use
            await close()


async def start_server(
    service: SidecarService, *, socket: Path, gate: TokenGate, config: DaemonConfig
) -> grpc.aio.Server:
    """Listens on the socket, for this user alone.

    Raises:
        OSError: the socket cannot be made there.
    """
    server = grpc.aio.server(
        interceptors=[gate],
        options=[
            ("grpc.max_send_message_length", config.message_bytes_max),
            # Of what a compressed message becomes, too: a bomb ends here.
            ("grpc.max_receive_message_length", config.message_bytes_max),
            ("grpc.max_metadata_size", config.metadata_bytes_max),
            ("grpc.absolute_max_metadata_size", config.metadata_bytes_max),
            ("grpc.max_concurrent_streams", config.calls_per_connection_max),
            ("grpc.so_reuseport", 0),
        ],
    )
    add_SidecarServicer_to_server(service, server)  # type: ignore[no-untyped-call,unused-ignore] # generated
    try:
        bound = server.add_insecure_port(f"unix:{socket}")
    except RuntimeError as error:
        raise OSError(f"cannot listen on {socket}: {error}") from error
    if not bound:
        raise OSError(f"cannot listen on {socket}")
    await server.start()
    await anyio.to_thread.run_sync(socket.chmod, 0o600)
    return server
