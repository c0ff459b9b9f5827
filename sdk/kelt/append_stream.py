"""The stream that carries writers' batches to the daemon, and acknowledgements back.

The writers of a process share one where the daemon takes several on a stream: each stream needs two
threads of gRPC's blocking API, and they wake up ten times a second for as long as it is open.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from kelt.daemon_errors import mapped_errors
from kelt.errors import (
    DaemonError,
    DaemonRefusedError,
    DaemonUnavailableError,
    WriterEndedError,
)
from kelt.journal.batches import BATCH_BYTES_MAX

if TYPE_CHECKING:
    from kelt_proto.v1 import sidecar_pb2

#: Batches that wait to be taken by gRPC, of all writers, so that memory stays bounded.
_OUTGOING_MAX = 32
#: What a writer of a shared stream has under way at most: less than the daemon takes, which ends a
#: writer that sends more than it can sync, rather than let it hold up the others. A record may be
#: larger, and then travels alone.
WINDOW_BYTES = 4 * 1024 * 1024


class AppendStream:
    """A stream, which its writers join and leave; it ends with the last of them.

    Replies are read by a thread of the stream's own, because gRPC's blocking API has no other way
    to send and listen at once.

    Args:
        writers_max: how many it carries; one has it for itself.
    """

    def __init__(self, *, writers_max: int) -> None:
        self._is_shared = writers_max > 1
        self._writers_max = writers_max
        #: Bounded by who puts batches in; an opening or a goodbye finds its place at any time.
        self._outgoing: queue.Queue[sidecar_pb2.AppendRequest | None] = queue.Queue()
        self._lock = threading.Lock()
        self._writers: dict[bytes, WriterStream] = {}
        self._is_closing = False
        self._ended = threading.Event()
        self._call: Any = None

    def start(
        self, stub: Any, metadata: tuple[tuple[str, str], ...], *, writer_id: bytes
    ) -> WriterStream:
        """Begins the call, for its first writer.

        Raises:
            RuntimeError: no thread can be started.
        """
        writer = self._placed(writer_id)
        self._call = stub.Append(iter(self._outgoing.get, None), metadata=metadata)
        try:
            threading.Thread(target=self._read, name="kelt-replies", daemon=True).start()
        except RuntimeError:
            self._call.cancel()
            self._outgoing.put(None)
            raise
        return writer

    def admit(self, writer_id: bytes) -> WriterStream | None:
        """A place on the stream for one more writer; None where there is none."""
        with self._lock:
            is_full = len(self._writers) >= self._writers_max
            if self._is_closing or is_full or writer_id in self._writers:
                return None
            return self._placed(writer_id)

    def _placed(self, writer_id: bytes) -> WriterStream:
        writer = WriterStream(stream=self, writer_id=writer_id, is_shared=self._is_shared)
        self._writers[writer_id] = writer
        return writer

    def _read(self) -> None:
        error: DaemonError = DaemonUnavailableError("The daemon ended the stream.")
        try:
            with mapped_errors():
                for reply in self._call:
                    self._deliver(reply)
        except DaemonError as said:
            error = said
        finally:
            with self._lock:
                self._is_closing = True
                writers = [*self._writers.values()]
            for writer in writers:
                writer.end(error)
            self._ended.set()
            self._outgoing.put(None)  # lets gRPC's own thread go

    def _deliver(self, reply: sidecar_pb2.AppendReply) -> None:
        # A daemon that knows of no sharing does not name the one writer.
        writers = [*self._writers.values()] if not reply.writer_id else []
        writer = writers[0] if writers else self._writers.get(reply.writer_id)
        if writer is not None:
            writer.take(reply)

    @property
    def has_room(self) -> bool:
        """Whether a batch can be handed over."""
        return self._outgoing.qsize() < _OUTGOING_MAX

    def put(self, message: sidecar_pb2.AppendRequest) -> None:
        """Hands a message to gRPC."""
        self._outgoing.put(message)

    def leave(self, writer_id: bytes, *, timeout_s: float) -> None:
        """A writer is done with it. After the last one the call ends, if need be by force."""
        with self._lock:
            self._writers.pop(writer_id, None)
            if self._writers or self._is_closing:
                return
            self._is_closing = True
        self._outgoing.put(None)
        if not self._ended.wait(timeout_s):
            self._call.cancel()


class WriterStream:
    """A writer's part of a stream: batches go out, cumulative acknowledgements come back.

    Only the newest reply counts.

    Args:
        stream: what carries it.
        writer_id: whose records.
        is_shared: whether other writers may be on the stream.
    """

    def __init__(self, *, stream: AppendStream, writer_id: bytes, is_shared: bool) -> None:
        self._stream = stream
        self._writer_id = writer_id
        self._is_shared = is_shared
        self._changed = threading.Event()
        self._latest: sidecar_pb2.AppendReply | None = None
        self._error: DaemonError | None = None
        self._ended = threading.Event()
        #: The last record and the size of each batch that is not known to be durable.
        self._under_way: deque[tuple[int, int]] = deque()
        self._under_way_bytes = 0

    def put(self, opening: sidecar_pb2.AppendRequest) -> None:
        """Asks the daemon to take the writer; its first reply says from where to send."""
        self._stream.put(opening)

    def take(self, reply: sidecar_pb2.AppendReply) -> None:
        """A reply has come."""
        self._latest = reply
        self._changed.set()
        if reply.HasField("end"):
            kind = WriterEndedError if reply.end.is_passing else DaemonRefusedError
            self.end(kind(reply.end.problem or "The daemon ended the writer."))

    def end(self, error: DaemonError) -> None:
        """Nothing more comes."""
        self._error = error
        self._ended.set()
        self._changed.set()

    @property
    def has_room(self) -> bool:
        """Whether a batch can be handed over without waiting."""
        return self._fits(BATCH_BYTES_MAX) and self._stream.has_room

    def send(self, message: sidecar_pb2.AppendRequest) -> bool:
        """Hands a batch to gRPC; False where there is no room.

        Raises:
            DaemonError: the stream or the writer has ended.
        """
        self._raise_ended()
        size_bytes = len(message.batch.frames)
        if not self._fits(size_bytes) or not self._stream.has_room:
            return False
        self._stream.put(message)
        self._under_way.append((message.batch.last_seq, size_bytes))
        self._under_way_bytes += size_bytes
        return True

    def forget_under_way(self) -> None:
        """What was sent is sent again: the daemon did not take it, or takes it for a repeat."""
        self._under_way.clear()
        self._under_way_bytes = 0

    def _fits(self, size_bytes: int) -> bool:
        durable = 0 if self._latest is None else self._latest.durable_through
        while self._under_way and self._under_way[0][0] <= durable:
            self._under_way_bytes -= self._under_way.popleft()[1]
        is_within = self._under_way_bytes + size_bytes <= WINDOW_BYTES
        return is_within or not self._under_way or not self._is_shared

    def latest(self, *, timeout_s: float = 0) -> sidecar_pb2.AppendReply | None:
        """The newest reply, waiting for a new one if there is none yet since the last call.

        Raises:
            DaemonError: the stream or the writer has ended.
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
        """Says that no more comes of the writer, and waits until the daemon has taken leave."""
        self._say_goodbye()
        if self._is_shared:
            self._ended.wait(timeout_s)
        self._stream.leave(self._writer_id, timeout_s=timeout_s)

    def cancel(self) -> None:
        """Leaves at once."""
        self._say_goodbye()
        self._stream.leave(self._writer_id, timeout_s=0)

    def _say_goodbye(self) -> None:
        from kelt_proto.v1 import sidecar_pb2  # noqa: PLC0415 # loaded long since

        if self._is_shared and not self._ended.is_set():
            leave = sidecar_pb2.CloseWriter(writer_id=self._writer_id)
            self._stream.put(sidecar_pb2.AppendRequest(close=leave))
