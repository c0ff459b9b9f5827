"""A run's way to the daemon: found or started, opened, lost and found again.

`poll` is called in every round and waits for nothing: what takes a while, finding or starting the
daemon and being greeted by it, is done in a thread for that attempt. While there is no daemon one
is started again, at growing intervals; one line says that it was lost and one that it is back,
with what had gathered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kelt.console import Console
from kelt.errors import DaemonError, DaemonRefusedError, WriterEndedError
from kelt.launcher import RespawnDelay
from kelt.notices import Notices
from kelt.reaching import Attempt, Opened, is_broken, reach
from kelt.settings import Settings

if TYPE_CHECKING:
    from kelt.journal.batches import CutBatch
    from kelt_proto.v1 import sidecar_pb2

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
        must_stop: whether somebody asked the process to stop, at the upstream.
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
    must_stop: bool = False


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
        self._writer_id = writer_id
        self._console = console
        self._backlog = backlog
        self._on_news = on_news
        self._reach = partial(reach, settings, writer_id=writer_id, folder=folder)
        self._attempt: Attempt | None = None
        self._open: Opened | None = None
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
                self._attempt = Attempt(self._reach, self._on_news)
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

    def _begin(self, found: Opened) -> None:
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
        state.must_stop = state.must_stop or reply.must_stop
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
            self._open.lose(is_broken=is_broken(error))
            self._open = None
        self.state.is_connected = False
