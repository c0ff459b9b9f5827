"""Keeps sessions: loads, commits and writes them down, one at a time for each name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import anyio
import anyio.to_thread

from kelt_proto.v1 import record_pb2
from kelt_server.branch_names import Name
from kelt_server.errors import BusyError
from kelt_server.facts import LifeSign
from kelt_server.ingest.committer import Committer
from kelt_server.wandb_api import announcing
from kelt_server.wandb_api.batches import BatchBuilder
from kelt_server.wandb_api.session_table import SessionTable
from kelt_server.wandb_api.sessions import Phase, Session

_Result = TypeVar("_Result")

#: Names that are worked on at a time; who comes beyond is told to come later.
_NAMES_MAX = 2000
#: Of how many names it is remembered what was committed, and what has rows.
_REMEMBERED_MAX = 2000
#: A batch that is committed is not kept for longer if it is larger.
_KEPT_BYTES_MAX = 64 * 1024
#: Of its own: who asks a question holds a thread of another kind while it waits for these.
_THREADS = 8


@dataclass(slots=True)
class _Turn:
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    waiting: int = 0


@dataclass(slots=True)
class Known:
    """What need not be looked up again of a session."""

    writer_id: str
    committed_through: int = 0
    metrics: set[str] = field(default_factory=set)


class SessionKeeper:
    """Mutable state: turns by name, and what is remembered of sessions."""

    def __init__(
        self, *, table: SessionTable, committer: Committer, clock: Callable[[], float]
    ) -> None:
        self._table = table
        self._committer = committer
        self._clock = clock
        self._turns: dict[Name, _Turn] = {}
        self._known: OrderedDict[Name, Known] = OrderedDict()
        self._threads = anyio.CapacityLimiter(_THREADS)

    async def load(self, name: Name) -> Session | None:
        """The session of a name, with all that it had written down committed."""
        found = await self.read(lambda: self._table.load(name))
        if found is None:
            return None
        session, raw = found
        if raw and self.remember(session).committed_through < session.last_seq:
            await self._push(session, record_pb2.Batch.FromString(raw))
        return session

    async def commit(self, session: Session, builder: BatchBuilder) -> Session:
        """Writes down what is in the builder, and the session as it will then be; commits it.

        Raises:
            StoreError, BusyError: it is to be said again later.
        """
        batch = builder.batch()
        session = replace(session, last_seq=builder.last_seq)
        raw = b"" if batch is None else batch.SerializeToString()
        await self.save(session, raw)
        if batch is not None:
            await self._push(session, batch)
            if len(raw) > _KEPT_BYTES_MAX:
                await self.save(session, b"")
        return session

    async def _push(self, session: Session, batch: record_pb2.Batch) -> None:
        (ack,) = await self._committer.push([batch])
        if ack.gap:
            # A store was set aside as damaged, and this writer's beginning with it.
            succeeding = announcing.succeeding(session, self._clock())
            await self.save(replace(succeeding, said={"lost": session.lines}), b"")
            raise BusyError("what this session wrote before is not here any more; post it again")
        self.remember(session).committed_through = session.last_seq

    async def save(self, session: Session, raw: bytes = b"") -> None:
        """Writes a session down, with a batch that may not be committed."""
        await self.read(lambda: self._table.save(session, raw))

    def beat(self, session: Session) -> None:
        """The session's process lives."""
        if session.has_writer and session.phase is Phase.OPEN:
            writer_id = bytes.fromhex(session.writer_id)
            self._committer.beat([LifeSign(writer_id, self._clock(), stalled=False)])

    async def read(self, ask: Callable[[], _Result]) -> _Result:
        """Asks a store, in a thread."""
        return await anyio.to_thread.run_sync(ask, limiter=self._threads)

    def remember(self, session: Session) -> Known:
        """What is known of a session, to be changed."""
        known = self._known.get(session.name)
        if known is None or known.writer_id != session.writer_id:
            known = self._known[session.name] = Known(session.writer_id)
        self._known.move_to_end(session.name)
        while len(self._known) > _REMEMBERED_MAX:
            self._known.popitem(last=False)
        return known

    @asynccontextmanager
    async def turn(self, name: Name) -> AsyncIterator[None]:
        """One at a time, and to its end once it has begun.

        Raises:
            BusyError: too many names are worked on.
        """
        turn = self._turns.get(name)
        if turn is None:
            if len(self._turns) >= _NAMES_MAX:
                raise BusyError(f"{_NAMES_MAX} runs are written at this moment; come again later")
            turn = self._turns[name] = _Turn()
        turn.waiting += 1
        try:
            async with turn.lock:
                with anyio.CancelScope(shield=True):
                    yield
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                self._turns.pop(name, None)


def builder_for(session: Session) -> BatchBuilder:
    """For what comes next of a session."""
    return BatchBuilder(writer_id=bytes.fromhex(session.writer_id), last_seq=session.last_seq)
