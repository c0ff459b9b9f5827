"""The queue in front of the committing thread: bounded in bytes, many pushes into one commit."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from kelt_proto.v1 import record_pb2
from kelt_server.access.callers import Caller
from kelt_server.branch_names import Name
from kelt_server.catalog.deletions import Deletion
from kelt_server.counters import Counters
from kelt_server.errors import BusyError, KeltServerError, StoreError
from kelt_server.facts import LifeSign
from kelt_server.ingest.group import GroupCommitter
from kelt_server.ingest.pushes import Push, PushResult, WriterAck

#: Signs of life between two commits; more are dropped and counted: the next ones come soon.
_BEATS_MAX = 200_000


@dataclass(eq=False)
class _Queued:
    push: Push
    size_bytes: int
    done: anyio.Event = field(default_factory=anyio.Event)
    result: PushResult | None = None


class Committer:
    """Takes everything queued, up to a bound, into each commit. Mutable state: the queue."""

    def __init__(
        self,
        group: GroupCommitter,
        *,
        counters: Counters,
        queue_bytes_max: int,
        group_bytes_max: int,
    ) -> None:
        self._group = group
        self._counters = counters
        self._queue_bytes_max = queue_bytes_max
        self._group_bytes_max = group_bytes_max
        self._queue: deque[_Queued] = deque()
        self._queued_bytes = 0
        self._beats: dict[bytes, LifeSign] = {}
        self._wake = anyio.Event()
        self._is_stopping = False
        self._one_thread = anyio.CapacityLimiter(1)
        #: Set when `run` has committed all and returned.
        self.finished = anyio.Event()

    async def push(
        self, batches: Sequence[record_pb2.Batch], caller: Caller | None = None
    ) -> list[WriterAck]:
        """Returns when the batches are committed.

        Args:
            batches: of any writers.
            caller: who sends them; None where this server itself has seen to that.

        Raises:
            BusyError: the queue is full, or the server is stopping.
            BadBatchError, BadRequestError: a batch that is not one.
            ForbiddenError: it is of an entity that is not open to the caller.
            RunDeletedError: its run was deleted.
            StoreError: a store could not commit.
        """
        size_bytes = sum(len(batch.frames) for batch in batches)
        if self._is_stopping:
            raise BusyError("the server is stopping; send it again to the next one")
        if self._queue and self._queued_bytes + size_bytes > self._queue_bytes_max:
            self._counters.pushes_refused_busy += 1
            raise BusyError(
                f"{self._queued_bytes} bytes wait to be committed already; send it again later"
            )
        queued = _Queued(Push(batches, caller), size_bytes)
        self._queue.append(queued)
        self._queued_bytes += size_bytes
        self._wake.set()
        await queued.done.wait()
        if isinstance(queued.result, KeltServerError):
            raise queued.result
        return queued.result or []

    def beat(self, signs: Iterable[LifeSign]) -> None:
        """Signs of life go along with the next commit."""
        for sign in signs:
            if sign.writer_id in self._beats or len(self._beats) < _BEATS_MAX:
                self._beats[sign.writer_id] = sign
            else:
                self._counters.beats_dropped += 1
        self._wake.set()

    async def committed_through(self, writer_ids: Iterable[bytes]) -> list[WriterAck]:
        """Where writers stand, in turn with commits."""
        ids = list(writer_ids)
        return await anyio.to_thread.run_sync(
            self._group.committed_through, ids, limiter=self._one_thread
        )

    async def delete_run(self, name: Name, *, by_user: str) -> Deletion:
        """Deletes a run, in turn with commits; when this returns, it is.

        Raises:
            NotFoundError: there is none.
            StoreError: nothing was changed.
        """
        return await anyio.to_thread.run_sync(
            lambda: self._group.delete_run(name, by_user=by_user), limiter=self._one_thread
        )

    async def run(self) -> None:
        """Commits until stopped, and then what is queued."""
        while True:
            if not self._queue and not self._beats:
                if self._is_stopping:
                    self.finished.set()
                    return
                self._wake = anyio.Event()
                await self._wake.wait()
                continue
            await self._commit(self._next_group())

    def stop(self) -> None:
        """Takes nothing more; `run` returns when all is committed."""
        self._is_stopping = True
        self._wake.set()

    def _next_group(self) -> list[_Queued]:
        taken: list[_Queued] = []
        size_bytes = 0
        while self._queue:
            queued = self._queue[0]
            if taken and size_bytes + queued.size_bytes > self._group_bytes_max:
                break
            taken.append(self._queue.popleft())
            size_bytes += queued.size_bytes
        return taken

    async def _commit(self, taken: list[_Queued]) -> None:
        beats, self._beats = list(self._beats.values()), {}
        failure: KeltServerError = StoreError("the commit did not end; send it again")
        try:
            with anyio.CancelScope(shield=True):
                results = await anyio.to_thread.run_sync(
                    self._group.commit,
                    [queued.push for queued in taken],
                    beats,
                    limiter=self._one_thread,
                )
            for queued, result in zip(taken, results, strict=True):
                queued.result = result
        except StoreError as error:
            failure = error
        finally:
            for queued in taken:
                queued.result = failure if queued.result is None else queued.result
                self._queued_bytes -= queued.size_bytes
                queued.done.set()
