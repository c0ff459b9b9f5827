"""The daemon's gRPC service as a caller on this host sees it, over its Unix socket.

gRPC is imported when the first client is made, because training pays for it otherwise. What gRPC
raises is mapped here, once: `DaemonUnavailableError` for what may pass by itself,
`DaemonRefusedError` for what the daemon means. Every call has a deadline, except the two streams,
which live as long as somebody listens. Each carries the token that the daemon gave at its door.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kelt.door import TOKEN_KEY, fetch_token
from kelt.errors import DaemonError, DaemonRefusedError, DaemonUnavailableError
from kelt.state_dir import door_of
from kelt.version import __version__
from kelt_proto.v1.protocol import OURS, said

if TYPE_CHECKING:
    import grpc
    from typing_extensions import Self

    from kelt_proto.v1 import sidecar_pb2, upstream_pb2

MESSAGE_BYTES_MAX = 10 * 1024 * 1024
#: Messages that wait to be taken by gRPC: a few batches, so that memory stays bounded.
_OUTGOING_MAX = 8
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

    def append(self, *, writer_id: bytes, run_folder: Path) -> AppendStream:
        """Opens the stream of a writer.

        Raises:
            DaemonError: the daemon gives no token.
        """
        from kelt_proto.v1 import sidecar_pb2  # noqa: PLC0415

        opening = sidecar_pb2.OpenWriter(writer_id=writer_id, run_folder=str(run_folder))
        stream = AppendStream()
        metadata = self._credentials(is_new=True)
        stream.start(self._stub, sidecar_pb2.AppendRequest(open=opening), metadata)
        return stream

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


class AppendStream:
    """The stream of one writer: batches go out, cumulative acknowledgements come back.

    Replies are read by a thread of the stream's own, because gRPC's blocking API has no other way
    to send and listen at once. Only the newest reply counts, as all of them are cumulative.
    """

    def __init__(self) -> None:
        self._outgoing: queue.Queue[sidecar_pb2.AppendRequest | None] = queue.Queue(_OUTGOING_MAX)
        self._changed = threading.Event()
        self._latest: sidecar_pb2.AppendReply | None = None
        self._error: DaemonError | None = None
        self._ended = threading.Event()
        self._call: Any = None

    def start(
        self, stub: Any, opening: sidecar_pb2.AppendRequest, metadata: tuple[tuple[str, str], ...]
    ) -> None:
        """Begins the call with its first message."""
        self._outgoing.put(opening)
        self._call = stub.Append(iter(self._outgoing.get, None), metadata=metadata)
        reader = threading.Thread(target=self._read, name="kelt-replies", daemon=True)
        reader.start()

    def _read(self) -> None:
        try:
            with mapped_errors():
                for reply in self._call:
                    self._latest = reply
                    self._changed.set()
            self._error = DaemonUnavailableError("The daemon ended the stream.")
        except DaemonError as error:
            self._error = error
        finally:
            self._ended.set()
            self._changed.set()
            with contextlib.suppress(queue.Full):  # lets gRPC's own thread go
                self._outgoing.put_nowait(None)

    @property
    def has_room(self) -> bool:
        """Whether a batch can be sent without waiting."""
        return not self._outgoing.full()

    def send(self, batch: sidecar_pb2.AppendRequest, *, timeout_s: float) -> bool:
        """Hands a message to gRPC; False where there was no room in time.

        Raises:
            DaemonError: the stream has ended.
        """
        self._raise_ended()
        try:
            self._outgoing.put(batch, timeout=timeout_s)
        except queue.Full:
            return False
        return True

    def latest(self, *, timeout_s: float = 0) -> sidecar_pb2.AppendReply | None:
        """The newest reply, waiting for a new one if there is none yet since the last call.

        Raises:
            DaemonError: the stream has ended.
        """
        if timeout_s:
            self._changed.wait(timeout_s)
        self._changed.clear()
        self._raise_ended()
        return self._latest

    def _raise_ended(self) -> None:
        if self._ended.is_set():
            raise self._error or DaemonUnavailableError("The daemon ended the stream.")

    def close(self, *, timeout_s: float = 1.0) -> None:
        """Says that no more comes, and ends the call if the daemon does not."""
        with contextlib.suppress(queue.Full):
            self._outgoing.put(None, timeout=timeout_s)
        if not self._ended.wait(timeout_s):
            self._call.cancel()


@contextlib.contextmanager
def mapped_errors() -> Iterator[None]:
    """Turns what gRPC raises into the errors of this package.

    Raises:
        DaemonUnavailableError: no answer, or not in time.
        DaemonRefusedError: any other status; its message is the daemon's own sentence.
    """
    import grpc  # noqa: PLC0415 # see the module's description

    try:
        yield
    except grpc.RpcError as error:
        raise _mapped(error) from error
    except ValueError as error:  # what gRPC raises on a closed channel
        raise DaemonUnavailableError(
            f"The connection to the daemon is closed ({error})."
        ) from error


def _mapped(error: grpc.RpcError) -> DaemonError:
    import grpc  # noqa: PLC0415

    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    details = (error.details() if isinstance(error, grpc.Call) else None) or str(error)
    passing = (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )
    return DaemonUnavailableError(details) if code in passing else DaemonRefusedError(details)
