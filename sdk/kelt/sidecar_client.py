"""The daemon's gRPC service as a caller on this host sees it, over its Unix socket.

gRPC is imported when the first client is made, because training pays for it otherwise. Every call
has a deadline, except the two streams, which live as long as somebody listens; each carries the
token that the daemon gave at its door, and raises what `kelt.daemon_errors` says.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kelt.append_stream import AppendStream, WriterStream
from kelt.daemon_errors import mapped_errors
from kelt.door import TOKEN_KEY, fetch_token
from kelt.errors import DaemonRefusedError
from kelt.state_dir import door_of
from kelt.version import __version__
from kelt_proto.v1.protocol import OURS, said

if TYPE_CHECKING:
    from typing_extensions import Self

    from kelt_proto.v1 import sidecar_pb2, upstream_pb2

MESSAGE_BYTES_MAX = 10 * 1024 * 1024
_CALL_TIMEOUT_S = 5.0


class SidecarClient:
    """A connection to the daemon.

    Args:
        socket: the path of its socket.
    """

    def __init__(self, *, socket: Path) -> None:
        # Otherwise gRPC writes a line on standard error for every process that training forks.
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
        import grpc  # noqa: PLC0415 # see the module's description

        from kelt_proto.v1 import sidecar_pb2_grpc  # noqa: PLC0415

        self.socket = socket
        self._token: str | None = None
        self._lock = threading.Lock()
        self._stream: AppendStream | None = None
        self._channel = grpc.insecure_channel(
            f"unix:{os.fsdecode(socket)}",
            options=[
                ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
                ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
                ("grpc.enable_http_proxy", 0),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        self._stub = sidecar_pb2_grpc.SidecarStub(self._channel)  # type: ignore[no-untyped-call,unused-ignore] # generated

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection and whatever runs on it."""
        self._channel.close()

    def hello(
        self,
        *,
        upstream: str,
        api_key: str | None,
        ca_file: Path | None = None,
        proxy: str | None = None,
        timeout_s: float = _CALL_TIMEOUT_S,
    ) -> sidecar_pb2.SidecarHelloReply:
        """Who is there, and what it knows of the upstream.

        Raises:
            DaemonError: as the module says.
        """
        from kelt_proto.v1 import sidecar_pb2  # noqa: PLC0415

        request = sidecar_pb2.SidecarHelloRequest(
            version=__version__,
            protocol=OURS.newest,
            protocol_min=OURS.oldest,
            upstream=upstream,
            api_key=api_key or "",
            ca_file=os.fsdecode(ca_file) if ca_file else "",
            proxy=proxy or "",
        )
        with mapped_errors():
            reply: sidecar_pb2.SidecarHelloReply = self._ask(self._stub.Hello, request, timeout_s)
        theirs = said(reply.protocol, reply.protocol_min)
        if not OURS.common(theirs):
            raise DaemonRefusedError(
                f"The daemon (kelt {reply.version}) speaks {theirs} and this program (kelt "
                f"{__version__}) {OURS}: upgrade the older kelt, then run `kelt daemon stop`."
            )
        return reply

    def append(self, *, writer_id: bytes, run_folder: Path, writers_max: int = 1) -> WriterStream:
        """Opens a writer, on a stream with others where there is room for it on one.

        Args:
            writer_id: whose records.
            run_folder: its folder.
            writers_max: how many writers the daemon takes on a stream, as its Hello says.

        Raises:
            DaemonError: the daemon gives no token.
            RuntimeError: no thread can be started.
        """
        from kelt_proto.v1 import sidecar_pb2  # noqa: PLC0415

        opening = sidecar_pb2.OpenWriter(
            writer_id=writer_id, run_folder=str(run_folder), is_shared=writers_max > 1
        )
        with self._lock:
            writer = self._stream.admit(writer_id) if self._stream is not None else None
            if writer is None:
                stream = AppendStream(writers_max=writers_max)
                credentials = self._credentials(is_new=True)
                writer = stream.start(self._stub, credentials, writer_id=writer_id)
                self._stream = stream
        writer.put(sidecar_pb2.AppendRequest(open=opening))
        return writer

    def describe_run(
        self,
        *,
        upstream: str,
        entity: str,
        project: str,
        run_id: str,
        step: int | None = None,
        timeout_s: float,
    ) -> upstream_pb2.DescribeRunReply:
        """What the upstream knows of a run.

        Raises:
            DaemonUnavailableError: also where the upstream does not answer in time.
            DaemonError: as the module says.
        """
        from kelt_proto.v1 import sidecar_pb2, upstream_pb2  # noqa: PLC0415

        run = upstream_pb2.DescribeRunRequest(entity=entity, project=project, run_id=run_id)
        if step is not None:
            run.step = step
        request = sidecar_pb2.SidecarDescribeRequest(upstream=upstream, run=run)
        with mapped_errors():
            reply: upstream_pb2.DescribeRunReply = self._ask(
                self._stub.DescribeRun, request, timeout_s
            )
        return reply

    def sync(
        self,
        *,
        paths: list[Path],
        retry_now: bool = False,
        upstream: str = "",
        live: bool = False,
    ) -> Iterator[sidecar_pb2.SyncReply]:
        """Has run folders sent and yields reports until all of them are committed.

        Args:
            paths: run folders, or folders of them; empty: all that wait.
            retry_now: do not sit out a back-off or a refusal.
            upstream: where to send them, whatever their run.json names.
            live: follow runs that are still being written, until they end.

        Raises:
            DaemonError: as the module says.
        """
        from kelt_proto.v1 import sidecar_pb2  # noqa: PLC0415

        request = sidecar_pb2.SyncRequest(
            paths=[str(p) for p in paths], retry_now=retry_now, upstream=upstream, live=live
        )
        with mapped_errors():
            yield from self._stub.Sync(request, metadata=self._credentials(is_new=True))

    def status(self, *, timeout_s: float = _CALL_TIMEOUT_S) -> sidecar_pb2.StatusReply:
        """What the daemon is doing.

        Raises:
            DaemonError: as the module says.
        """
        from kelt_proto.v1 import sidecar_pb2  # noqa: PLC0415

        with mapped_errors():
            reply: sidecar_pb2.StatusReply = self._ask(
                self._stub.Status, sidecar_pb2.StatusRequest(), timeout_s
            )
        return reply

    def stop(self, *, successor_version: str = "", timeout_s: float = _CALL_TIMEOUT_S) -> None:
        """Asks the daemon to drain and exit.

        Args:
            successor_version: of the kelt that takes over; a daemon that is not older refuses.
            timeout_s: how long to wait for its answer.

        Raises:
            DaemonError: as the module says.
        """
        from kelt_proto.v1 import sidecar_pb2  # noqa: PLC0415

        request = sidecar_pb2.StopRequest(successor_version=successor_version)
        with mapped_errors():
            self._ask(self._stub.Stop, request, timeout_s)

    def _ask(self, method: Any, request: Any, timeout_s: float) -> Any:
        import grpc  # noqa: PLC0415

        is_new = self._token is None
        try:
            return method(request, timeout=timeout_s, metadata=self._credentials())
        except grpc.RpcError as error:
            is_refused = isinstance(error, grpc.Call) and (
                error.code() is grpc.StatusCode.UNAUTHENTICATED
            )
            if is_new or not is_refused:
                raise
        # The token was of the daemon before this one.
        return method(request, timeout=timeout_s, metadata=self._credentials(is_new=True))

    def _credentials(self, *, is_new: bool = False) -> tuple[tuple[str, str], ...]:
        """The metadata of a call.

        Raises:
            DaemonError: the daemon gives no token.
        """
        if self._token is None or is_new:
            self._token = fetch_token(door_of(self.socket))
        return ((TOKEN_KEY, self._token),) if self._token else ()
