"""A run's connection to the daemon: found or started, opened, lost and found again.

The background thread calls `poll` in every round. While there is no daemon it starts one again, at
growing intervals; one line says that it was lost and one that it is back, with what had gathered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kelt.console import Console
from kelt.errors import DaemonError, DaemonRefusedError, DaemonUnavailableError
from kelt.launcher import RespawnDelay, ensure_daemon
from kelt.notices import Notices
from kelt.settings import Settings

if TYPE_CHECKING:
    from kelt.append_stream import AppendStream
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


class DaemonLink:
    """The way from one writer to the daemon.

    Args:
        settings: where the daemon is and where it sends to.
        writer_id: whose records.
        folder: the run folder.
        console: told of losses and recoveries.
        backlog: how many records the daemon does not have yet.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        writer_id: bytes,
        folder: Path,
        console: Console,
        backlog: Callable[[], int],
    ) -> None:
        self.state = LinkState()
        self._settings = settings
        self._writer_id = writer_id
        self._folder = folder
        self._console = console
        self._backlog = backlog
        self._client: SidecarClient | None = None
        self._stream: AppendStream | None = None
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
            if self._stream is not None:
                self._take(self._stream.latest())
                return True
            if time.monotonic() < self._next_try:
                return False
            self._connect()
        except (DaemonError, OSError) as error:  # OSError: the state folder or the disk
            self._lose(error)
            return False
        finally:
            self.state.has_tried = True
        return True

    def send(self, batch: CutBatch, *, timeout_s: float) -> bool:
        """Hands a batch to the daemon; False where it must be sent again later."""
        from kelt_proto.v1 import record_pb2, sidecar_pb2  # noqa: PLC0415 # after the start

        if self._stream is None:
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
            return self._stream.send(message, timeout_s=timeout_s)
        except DaemonError as error:
            self._lose(error)
            return False

    def close(self) -> None:
        """Ends the stream and the connection."""
        if self._stream is not None:
            self._stream.close()
        if self._client is not None:
            self._client.close()
        self._stream = self._client = None
        self.state.is_connected = False

    def _connect(self) -> None:
        from kelt.sidecar_client import SidecarClient  # noqa: PLC0415 # loads gRPC

        place = ensure_daemon(self._settings)
        client = SidecarClient(socket=place.socket)
        try:
            hello = client.hello(
                upstream=self._settings.upstream,
                api_key=self._settings.api_key,
                ca_file=self._settings.ca_file,
                proxy=self._settings.proxy,
            )
            self.state.default_entity = hello.default_entity
            self._take_upstream(hello.upstream_state)
            stream = client.append(writer_id=self._writer_id, run_folder=self._folder)
            # The first reply says from where to send.
            deadline = time.monotonic() + OPEN_TIMEOUT_S
            while (reply := stream.latest(timeout_s=0.05)) is None:
                if time.monotonic() > deadline:
                    raise DaemonUnavailableError("The daemon does not answer.")  # noqa: TRY301
        except BaseException:
            client.close()
            raise
        self._client, self._stream = client, stream
        self.state.is_connected = True
        self.state.failures = 0
        # The daemon's word counts, also where it had to fall back (a damaged journal).
        self.state.durable_through = reply.durable_through
        self._take(reply)
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
        self._console.warn_once(
            _TOPIC,
            f"the daemon is not there ({error}); rows are kept on disk, and it is started as soon "
            "as that can be done",
        )
        if self._client is not None:
            self._client.close()
        self._stream = self._client = None
        self.state.is_connected = False
