"""A run's way to the daemon: found or started, opened, lost and found again.

`poll` is called in every round and waits for nothing: what takes a while, finding or starting the
daemon and being greeted by it, is done in a thread for that attempt. While there is no daemon one
is started again, at growing intervals; one line says that it was lost and one that it is back,
with what had gathered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kelt.console import Console
from kelt.errors import (
    DaemonError,
    DaemonRefusedError,
    DaemonUnavailableError,
    WriterEndedError,
)
from kelt.launcher import RespawnDelay, ensure_daemon
from kelt.notices import Notices
from kelt.settings import Settings
from kelt.shared_clients import SharedClients, shared_clients

if TYPE_CHECKING:
    from kelt.append_stream import WriterStream
    from kelt.journal.batches import CutBatch
    from kelt.sidecar_client import SidecarClient
    from kelt_proto.v1 import sidecar_pb2

OPEN_TIMEOUT_S = 5.0
_TOPIC = "daemon"
#: Losses of the upstream within this time after one that was told are not told.
_UPSTREAM_QUIET_S = 60.0


@dataclass
class LinkState:
    """What is known of the daemon and the upstream.

    Attributes:
        durable_through: L1: synced to this host's disk.
        committed_through: L2: committed by the upstream.
        linger_s: how long to gather rows before sending, as the daemon says.
        upstream: the name of the upstream's state, such as REACHABLE.
        upstream_reason: a sentence, unless it is reachable.
        default_entity: of the upstream, once known.
        failures: attempts in a row that did not reach the daemon.
    """

    durable_through: int = 0
    committed_through: int = 0
    linger_s: float = 0.0
    is_connected: bool = False
    has_tried: bool = False
    failures: int = 0
    upstream: str = ""
    upstream_reason: str = ""
    default_entity: str = ""


@dataclass(frozen=True)
class _Open:
    """A writer's part of a stream that the daemon has greeted, with what it said."""

    clients: SharedClients
    client: SidecarClient
    stream: WriterStream
    hello: sidecar_pb2.SidecarHelloReply
    first: sidecar_pb2.AppendReply

    def lose(self, *, is_broken: bool) -> None:
        """Leaves at once, and says whether the connection failed."""
        self.stream.cancel()
        self.clients.give_back(self.client, is_broken=is_broken)

    def close(self) -> None:
        """Takes leave of the daemon, which may take seconds, and gives the connection back."""
        self.stream.close()
        self.clients.give_back(self.client, is_broken=False)


class _Attempt:
    """One attempt to reach the daemon, in a thread of its own."""

    def __init__(self, connect: Callable[[], _Open], on_done: Callable[[], None]) -> None:
        self._connect = connect
        self._on_done = on_done
        self._lock = threading.Lock()
        self._is_given_up = False
        self._found: _Open | DaemonError | OSError | None = None
        try:
            threading.Thread(target=self._run, name="kelt-connect", daemon=True).start()
        except RuntimeError as error:  # the interpreter ends, or the process has its fill of them
            raise DaemonUnavailableError(f"no thread can be started ({error})") from error

    def _run(self) -> None:
        found: _Open | DaemonError | OSError
        try:
            found = self._connect()
        except (DaemonError, OSError) as error:  # OSError: the state folder or the disk
            found = error
        except Exception as error:  # noqa: BLE001 # nothing here may end without an answer
            found = DaemonUnavailableError(f"{type(error).__name__}: {error}")
        with self._lock:
            self._found = found
            is_given_up = self._is_given_up
        if is_given_up and isinstance(found, _Open):
            found.close()
        self._on_done()

    def result(self) -> _Open | None:
        """What came of it, or None while that is not known.

        Raises:
            DaemonError: it failed.
            OSError: the same, because of the state folder.
        """
        if isinstance(self._found, Exception):
            raise self._found
        return self._found

    def give_up(self) -> None:
        """What it still finds is closed."""
        with self._lock:
            self._is_given_up = True
            found = self._found
        if isinstance(found, _Open):
            found.close()


class DaemonLink:
    """The way from one writer to the daemon.

    Args:
        settings: where the daemon is and where it sends to.
        writer_id: whose records.
        folder: the run folder.
        console: told of losses and recoveries.
        backlog: how many records the daemon does not have yet.
        on_news: called, from other threads, when there is something to `poll` for.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        writer_id: bytes,
        folder: Path,
        console: Console,
        backlog: Callable[[], int],
        on_news: Callable[[], None],
    ) -> None:
        self.state = LinkState()
        self._settings = settings
        self._writer_id = writer_id
        self._folder = folder
        self._console = console
        self._backlog = backlog
        self._on_news = on_news
        self._attempt: _Attempt | None = None
        self._open: _Open | None = None
        self._delay = RespawnDelay()
        self._next_try = 0.0
        self._was_lost = False
        self._upstream_notices = Notices(quiet_s=_UPSTREAM_QUIET_S)
        self._is_upstream_lost = False

    def poll(self) -> bool:
        """Takes in what the daemon said, or tries to reach it when it is time.

        Returns:
            Whether records can be sent.
        """
        try:
            if self._open is not None:
                self._take(self._open.stream.latest())
                return True
            return self._attempted()
        except (DaemonError, OSError) as error:
            self._lose(error)
            self.state.has_tried = True
            return False

    def _attempted(self) -> bool:
        """Goes on with reaching the daemon; whether it is reached."""
        if self._attempt is None:
            if time.monotonic() >= self._next_try:
                self._attempt = _Attempt(self._connect, self._on_news)
            return False
        if (found := self._attempt.result()) is None:
            return False
        self._attempt = None
        self._begin(found)
        self.state.has_tried = True
        return True

    @property
    def has_room(self) -> bool:
        """Whether a batch can be handed over now."""
        return self._open is not None and self._open.stream.has_room

    def send(self, batch: CutBatch) -> bool:
        """Hands a batch to the daemon; False where it must be sent again later."""
        from kelt_proto.v1 import record_pb2, sidecar_pb2  # noqa: PLC0415 # after the start

        if self._open is None:
            return False
        message = sidecar_pb2.AppendRequest(
            batch=record_pb2.Batch(
                writer_id=self._writer_id,
                first_seq=batch.first_seq,
                last_seq=batch.last_seq,
                crc32=batch.crc32,
                frames=batch.frames,
            )
        )
        try:
            return self._open.stream.send(message)
        except DaemonError as error:
            self._lose(error)
            return False

    def send_again(self) -> None:
        """What the daemon was sent and has not synced counts as not sent."""
        if self._open is not None:
            self._open.stream.forget_under_way()

    def close(self) -> None:
        """Ends the stream."""
        if self._attempt is not None:
            self._attempt.give_up()
        if self._open is not None:
            self._open.close()
        self._attempt = self._open = None
        self.state.is_connected = False

    def _connect(self) -> _Open:
        """In the attempt's thread: touches nothing of the link.

        Raises:
            DaemonError: it cannot be reached, or refuses.
            OSError: the state folder cannot be used.
        """
        place = ensure_daemon(self._settings)
        clients = shared_clients()
        client = clients.take(place.socket)
        try:
            hello = client.hello(
                upstream=self._settings.upstream,
                api_key=self._settings.api_key,
                ca_file=self._settings.ca_file,
                proxy=self._settings.proxy,
            )
            stream = client.append(
                writer_id=self._writer_id,
                run_folder=self._folder,
                writers_max=hello.writers_per_stream or 1,
            )
            first = _first_reply(stream, is_shared=hello.writers_per_stream > 1)
        except BaseException as error:
            clients.give_back(client, is_broken=_is_broken(error))
            raise
        return _Open(clients=clients, client=client, stream=stream, hello=hello, first=first)

    def _begin(self, found: _Open) -> None:
        self.state.default_entity = found.hello.default_entity
        self._take_upstream(found.hello.upstream_state)
        self.state.is_connected = True
        self.state.failures = 0
        # The daemon's word counts, also where it had to fall back (a damaged journal).
        self.state.durable_through = found.first.durable_through
        self._take(found.first)
        self._open = found
        self._delay.succeeded()
        if self._was_lost:
            self._was_lost = False
            self._console.forget(_TOPIC)
            self._console.say(
                f"the daemon is back; {self._backlog()} records are being handed over"
            )

    def _take(self, reply: sidecar_pb2.AppendReply | None) -> None:
        if reply is None:
            return
        state = self.state
        state.durable_through = max(state.durable_through, reply.durable_through)
        state.committed_through = max(state.committed_through, reply.committed_through)
        state.linger_s = reply.linger_s
        if reply.HasField("upstream_state"):
            self._take_upstream(reply.upstream_state)

    def _take_upstream(self, upstream: sidecar_pb2.UpstreamState) -> None:
        self.state.upstream = type(upstream).State.Name(upstream.state)
        self.state.upstream_reason = upstream.reason
        if self.state.upstream == "REFUSED":
            self._console.warn_once("upstream", f"the upstream refuses: {upstream.reason}")
        elif self.state.upstream == "UNREACHABLE":
            self._say_upstream_lost(upstream.reason)
        elif self.state.upstream == "REACHABLE":
            self._console.forget("upstream")
            self._say_upstream_back()

    def _say_upstream_lost(self, reason: str) -> None:
        before = self._upstream_notices
        is_new = not self._is_upstream_lost
        self._upstream_notices = before.lost(now_s=time.monotonic(), is_new=is_new)
        self._is_upstream_lost = True
        if self._upstream_notices.is_told and not before.is_told:
            self._console.warn(f"{reason.rstrip('.')}; training goes on")

    def _say_upstream_back(self) -> None:
        was_told = self._upstream_notices.is_told
        self._upstream_notices = self._upstream_notices.recovered()
        self._is_upstream_lost = False
        if was_told:
            state = self.state
            waiting = self._backlog() + state.durable_through - state.committed_through
            self._console.say(f"the upstream is back; {waiting} records are on their way to it")

    def _lose(self, error: Exception) -> None:
        delay_s = self._delay.next_s()
        self.state.failures += 1
        if isinstance(error, DaemonRefusedError):
            delay_s = max(delay_s, 5.0)
        self._next_try = time.monotonic() + delay_s
        self._was_lost = True
        if isinstance(error, WriterEndedError):
            text = f"the daemon does not take rows now ({error}); they are kept on disk"
        else:
            text = (
                f"the daemon is not there ({error}); rows are kept on disk, and it is started as "
                "soon as that can be done"
            )
        self._console.warn_once(_TOPIC, text)
        self._attempt = None
        if self._open is not None:
            self._open.lose(is_broken=_is_broken(error))
            self._open = None
        self.state.is_connected = False


def _is_broken(error: BaseException) -> bool:
    """Whether the connection is to be given to nobody else."""
    return not isinstance(error, (DaemonRefusedError, WriterEndedError))


def _first_reply(stream: WriterStream, *, is_shared: bool) -> sidecar_pb2.AppendReply:
    """Says from where to send.

    Raises:
        DaemonError: there is none.
    """
    deadline = time.monotonic() + OPEN_TIMEOUT_S
    try:
        while (first := stream.latest(timeout_s=0.05)) is None:
            if time.monotonic() > deadline:
                # A shared stream is well where Hello was answered: reading the folder takes longer.
                kind = WriterEndedError if is_shared else DaemonUnavailableError
                raise kind("The daemon does not answer.")  # noqa: TRY301
    except BaseException:
        stream.cancel()
        raise
    return first
