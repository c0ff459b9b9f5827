"""What goes on in one stream of batches: its writers, and what each of them is told.

A writer that is not shared has the stream for itself: while it has no room the stream is not read,
and what goes wrong with it ends the call. Of shared ones each is opened and ended by itself. What
comes of one that has no room is not taken, as waiting for room would hold up the others: callers
send again what is not synced after a while, and keep a window that is smaller than a writer's room,
so that this is for journals that fail or are full.

Of gRPC it knows nothing: a stream is an iterator of requests and a function that writes replies.
"""

from __future__ import annotations

import math
import zlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol

import anyio
import anyio.abc
import structlog

from kelt_daemon.commit import GroupCommitter
from kelt_daemon.config import DaemonConfig
from kelt_daemon.errors import CallRefusedError, Refusal, sentence_of
from kelt_daemon.run_folders import Offer, RunFolder
from kelt_daemon.signals import Signal
from kelt_daemon.stream_writer import StreamWriter
from kelt_proto.v1 import sidecar_pb2
from kelt_proto.v1.record_pb2 import Batch

log = structlog.get_logger()
Write = Callable[[sidecar_pb2.AppendReply], Awaitable[object]]
#: What opening the writer again later may mend.
_PASSING = frozenset({Refusal.AWAY, Refusal.TOO_MANY})
_WRITER_ID_BYTES = 16
#: How long a caller that reads nothing may keep a stream from ending.
_WRITE_S_MAX = 1.0
#: A path of this operating system has 4 KiB at most.
_OPENING_BYTES_MAX = 16 * 1024
#: Last replies that wait to be written: more gather only if nobody reads them.
_ENDS_MAX = 1024


class Writers(Protocol):
    """Where writers are opened, of all streams."""

    async def open_writer(self, opening: sidecar_pb2.OpenWriter) -> RunFolder:
        """Its folder.

        Raises:
            CallRefusedError: it cannot be opened.
        """

    def close_writer(self, folder: RunFolder) -> None:
        """It has left its stream."""

    def linger_s(self) -> float:
        """How long a caller should gather rows before it sends them."""


class AppendStream:
    """Serves one stream.

    Args:
        writers: where writers are opened.
        committer: makes batches durable.
        config: bounds.
        stopping: set when the daemon stops.
    """

    def __init__(
        self,
        *,
        writers: Writers,
        committer: GroupCommitter,
        config: DaemonConfig,
        stopping: anyio.Event,
    ) -> None:
        self._all_writers = writers
        self._committer = committer
        self._config = config
        self._stopping = stopping
        self._writers: dict[bytes, StreamWriter] = {}
        self._opening: dict[bytes, anyio.CancelScope] = {}
        self._has_begun = self._is_shared = False
        #: Writers of which something may have to be told, and the last replies of those that ended.
        self._news: dict[StreamWriter, None] = {}
        self._ends: deque[sidecar_pb2.AppendReply] = deque()
        self._woken = Signal()
        self._is_over, self._said_all = False, anyio.Event()

    async def serve(self, requests: AsyncIterator[sidecar_pb2.AppendRequest], write: Write) -> None:
        """Until the caller has said all, or the daemon stops.

        Raises:
            CallRefusedError: the caller did something wrong, or the daemon stops.
        """
        fault: CallRefusedError | None = None
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._reply_on_changes, write)
                async with anyio.create_task_group() as reading:
                    reading.start_soon(self._cancel_on_stop, reading.cancel_scope)
                    fault = await self._read(requests, reading)
                    reading.cancel_scope.cancel()
                with anyio.move_on_after(self._config.drain_s):
                    for writer in self._writers.values():
                        await self._committer.drain(writer.folder)
                # Not in the middle of a reply, behind which gRPC would take no other.
                self._is_over = True
                self._woken.notify()
                with anyio.move_on_after(_WRITE_S_MAX):
                    await self._said_all.wait()
                group.cancel_scope.cancel()
            # Last, as the replies before them may have missed the end.
            for end in self._ends:
                await write(end)
            for writer in self._writers.values():
                await write(self._reply(writer))
        finally:
            for writer_id in [*self._writers]:
                self._forget(writer_id)
        if fault is not None:
            raise fault
        if self._stopping.is_set():
            raise CallRefusedError(Refusal.AWAY, "The daemon stops.")

    async def _cancel_on_stop(self, scope: anyio.CancelScope) -> None:
        await self._stopping.wait()
        scope.cancel()

    # -- what the caller says ----------------------------------------------------------------------

    async def _read(
        self, requests: AsyncIterator[sidecar_pb2.AppendRequest], group: anyio.abc.TaskGroup
    ) -> CallRefusedError | None:
        """Until the last request, or the one that was wrong: why it was."""
        async for request in requests:
            kind = request.WhichOneof("message")
            if kind == "open":
                fault = await self._open(request.open, group)
            elif not self._has_begun:
                break
            elif kind == "batch":
                fault = await self._take(request.batch)
            elif kind == "close" and self._is_shared:
                self._close(request.close.writer_id, group)
                fault = None
            else:
                fault = CallRefusedError(Refusal.MISTAKE, "A batch was expected.")
            if fault is not None:
                return fault
        if not self._has_begun:
            return CallRefusedError(Refusal.MISTAKE, "A stream begins with OpenWriter.")
        return None

    async def _open(
        self, opening: sidecar_pb2.OpenWriter, group: anyio.abc.TaskGroup
    ) -> CallRefusedError | None:
        if self._has_begun and not (self._is_shared and opening.is_shared):
            reason = "A writer that is not shared has a stream for itself."
            return CallRefusedError(Refusal.MISTAKE, reason)
        is_large = opening.ByteSize() > _OPENING_BYTES_MAX  # its fields would be copied when read
        if is_large or len(opening.writer_id) != _WRITER_ID_BYTES or len(self._ends) > _ENDS_MAX:
            reason = "OpenWriter names no writer, or replies are not read."
            return CallRefusedError(Refusal.MISTAKE, reason)
        self._has_begun, self._is_shared = True, opening.is_shared
        if not self._is_shared:
            try:
                self._add(await self._all_writers.open_writer(opening))
            except CallRefusedError as error:
                return error
        elif opening.writer_id in self._writers or opening.writer_id in self._opening:
            reason = "This writer is open already, on the same stream."
            self._end(opening.writer_id, CallRefusedError(Refusal.MISTAKE, reason))
        elif len(self._writers) + len(self._opening) >= self._config.writers_per_stream_max:
            reason = "This stream has no place for one more writer; begin another."
            self._end(opening.writer_id, CallRefusedError(Refusal.TOO_MANY, reason))
        else:
            self._opening[opening.writer_id] = anyio.CancelScope()
            group.start_soon(self._join, opening)
        return None

    async def _join(self, opening: sidecar_pb2.OpenWriter) -> None:
        """Beside the others' batches, as adopting a long journal takes its time."""
        scope, folder = self._opening[opening.writer_id], None
        try:
            with scope:
                folder = await self._all_writers.open_writer(opening)
            if folder is not None and not scope.cancel_called:
                self._add(folder)
                return
            if folder is not None:  # what takes its time may not notice that it is cancelled
                self._all_writers.close_writer(folder)
            self._end(opening.writer_id, None)
        except CallRefusedError as error:
            self._end(opening.writer_id, error)
        except Exception as error:  # one folder must not end the stream for all
            sentence = sentence_of(error, Path(opening.run_folder))
            log.exception("opening_failed", folder=opening.run_folder)
            self._end(opening.writer_id, CallRefusedError(Refusal.UNUSABLE, sentence))
        finally:
            del self._opening[opening.writer_id]

    def _add(self, folder: RunFolder) -> None:
        writer = StreamWriter(folder=folder, on_change=self._note)
        self._writers[folder.writer_id] = writer
        self._note(writer)

    async def _take(self, batch: Batch) -> CallRefusedError | None:
        writer = self._writers.get(batch.writer_id)
        if writer is None and self._is_shared:
            return None  # it was under way when its writer was ended
        if writer is None or not 0 < batch.first_seq <= batch.last_seq:
            fault = CallRefusedError(
                Refusal.MISTAKE, "A batch of another writer, or without records."
            )
        elif zlib.crc32(batch.frames) != batch.crc32:
            reason = f"Batch {batch.first_seq} to {batch.last_seq} was changed on its way."
            fault = CallRefusedError(Refusal.CHANGED, reason)
        elif self._is_shared and not self._committer.takes_from(writer.folder, batch.writer_id):
            return None
        else:
            await self._offer(writer, batch)
            return None
        if not self._is_shared:
            return fault
        self._end(batch.writer_id, fault)
        return None

    async def _offer(self, writer: StreamWriter, batch: Batch) -> None:
        folder = writer.folder
        offer = folder.offer(batch.writer_id, batch.first_seq, batch.last_seq, batch.frames)
        if offer is Offer.TAKEN:
            self._committer.submit(folder)
        else:
            # A repeat or a gap: the caller is told where to go on, at once.
            writer.must_reply = True
            self._note(writer)
        # Reading on only when there is room holds the caller back by the flow control of streams.
        if self._is_shared:
            await self._committer.wait_room_for_all()
        else:
            await self._committer.wait_room(folder, batch.writer_id)

    def _close(self, writer_id: bytes, group: anyio.abc.TaskGroup) -> None:
        if (scope := self._opening.get(writer_id)) is not None:
            scope.cancel()
        writer = self._writers.get(writer_id)
        if writer is not None and not writer.is_leaving:
            writer.is_leaving = True
            group.start_soon(self._drain_and_end, writer)

    async def _drain_and_end(self, writer: StreamWriter) -> None:
        with anyio.move_on_after(self._config.drain_s):
            await self._committer.drain(writer.folder)
        self._end(writer.folder.writer_id, None)

    # -- what the caller is told -------------------------------------------------------------------

    def _end(self, writer_id: bytes, why: CallRefusedError | None) -> None:
        """Ends a shared writer."""
        writer = self._writers.get(writer_id)
        reply = sidecar_pb2.AppendReply(writer_id=writer_id)
        if writer is not None:
            reply = self._reply(writer)
            self._forget(writer_id)
        reply.end.SetInParent()
        if why is not None:
            reply.end.problem, reply.end.is_passing = str(why), why.refusal in _PASSING
        self._ends.append(reply)
        self._woken.notify()

    def _forget(self, writer_id: bytes) -> None:
        writer = self._writers.pop(writer_id)
        self._news.pop(writer, None)
        writer.close()
        self._all_writers.close_writer(writer.folder)

    def _note(self, writer: StreamWriter) -> None:
        self._news[writer] = None
        self._woken.notify()

    def _reply(self, writer: StreamWriter) -> sidecar_pb2.AppendReply:
        return writer.reply(self._all_writers.linger_s())

    async def _reply_on_changes(self, write: Write) -> None:
        while not self._is_over:
            # Before looking, so that no change between looking and waiting is missed.
            woken = self._woken.next()
            due_at_s = math.inf
            while self._ends:
                await write(self._ends.popleft())
            for writer in [*self._news]:
                due_at_s = min(due_at_s, await self._tell(writer, write))
            with anyio.CancelScope(deadline=due_at_s):
                await woken.wait()
        self._said_all.set()

    async def _tell(self, writer: StreamWriter, write: Write) -> float:
        """Writes what is due for a writer; when the rest will be."""
        if writer not in self._news:  # it was ended while another was told
            return math.inf
        reply = self._reply(writer)
        at_s = writer.due_at_s(reply, committed_reply_s=self._config.committed_reply_s)
        if at_s == math.inf:
            del self._news[writer]
        elif anyio.current_time() >= at_s:
            del self._news[writer]
            writer.said, writer.said_at_s = reply, anyio.current_time()
            writer.must_reply = False
            await write(reply)
            return math.inf
        return at_s
