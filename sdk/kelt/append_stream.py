"""The stream that carries one writer's batches to the daemon, and its acknowledgements back."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any

from kelt.daemon_errors import mapped_errors
from kelt.errors import DaemonError, DaemonUnavailableError

if TYPE_CHECKING:
    from kelt_proto.v1 import sidecar_pb2

#: Messages that wait to be taken by gRPC: a few batches, so that memory stays bounded.
_OUTGOING_MAX = 8


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
        """Whether a message can be handed over without waiting."""
        return not self._outgoing.full()

    def send(self, batch: sidecar_pb2.AppendRequest, *, timeout_s: float = 0) -> bool:
        """Hands a message to gRPC; False where there is no room in time.

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
            self.cancel()

    def cancel(self) -> None:
        """Ends the call at once."""
        self._call.cancel()
