"""Keeps sessions: loads, commits and writes them down, one at a time for each name and client."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread
from google.protobuf.message import DecodeError

from kelt_proto.v1 import record_pb2
from kelt_server.branch_names import Name
from kelt_server.errors import BusyError, KeltServerError, RunDeletedError
from kelt_server.facts import LifeSign
from kelt_server.ingest.committer import Committer
from kelt_server.wandb_api import announcing
from kelt_server.wandb_api.batches import BatchBuilder
from kelt_server.wandb_api.session_table import Kept, Key, SessionTable
from kelt_server.wandb_api.sessions import DISPLACED, Phase, Session

_Result = TypeVar("_Result")

#: Sessions that are worked on at a time; who comes beyond is told to come later.
_TURNS_MAX = 2000
#: Of how many sessions it is remembered what was committed, and what has rows.
_REMEMBERED_MAX = 2000
#: Metrics that are remembered of a session; of more it is looked up.
METRICS_REMEMBERED_MAX = 2000
#: A batch that is committed is not kept for longer if it is larger.
_KEPT_BYTES_MAX = 64 * 1024
#: Of its own: who asks a question holds a thread of another kind while it waits for these.
_THREADS = 8
#: Displaced sessions of a name that are kept. An older process's rows go to the latest session, or
#: to another one each time.
_EARLIER_MAX = 64
#: Sessions are let go when nothing came of them for so long, or when there are more. What they
#: logged is known again by step and time, so nothing is doubled by it.
_KEPT_S = 30 * 86400.0
_KEPT_MAX = 200_000
_SWEEP_EVERY_S = 60.0
_SWEPT_MAX = 100


@dataclass(slots=True)
class _Turn:
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    waiting: int = 0


@dataclass(slots=True)
class Known:
    """What need not be looked up again of a session. `metrics`: digests of its last values."""

    committed_through: int = 0
    metrics: dict[str, str] = field(default_factory=dict)
    looked_at: float = 0.0


class SessionKeeper:
    """Mutable state: turns by session, and what is remembered of sessions."""

    def __init__(
        self, *, table: SessionTable, committer: Committer, clock: Callable[[], float]
    ) -> None:
        self._table = table
        self._committer = committer
        self._clock = clock
        self._turns: dict[Key, _Turn] = {}
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._swept_at = clock()

    async def load(self, name: Name, client: str) -> Session | None:
        """The session of a client, with all that it had written down committed."""
        found = await self.read(lambda: self._table.load(name, client))
        return None if found is None else await self._committed(found)

    async def ordinary(self, name: Name) -> list[Session]:
        """The latest session of a name's ordinary clients and those that it displaced."""
        found = await self.read(lambda: self._table.ordinary(name))
        return [await self._committed(kept) for kept in found]

    async def shared(self, name: Name) -> list[Session]:
        """The sessions of the writers of a shared run, to be looked at only."""
        return await self.read(lambda: self._table.shared(name))

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
            if len(raw) > _KEPT_BYTES_MAX or session.phase is Phase.ENDED:
                await self.save(session)
        return session

    async def save(self, session: Session, raw: bytes = b"") -> None:
        """Writes a session down, with a batch that may not be committed."""
        now = self._clock()
        await self.read(lambda: self._table.save([session], raw, at=now))

    async def displace(self, session: Session, before: Sequence[Session]) -> None:
        """Writes down a session that is now the latest of its name; earlier ones live on."""
        now = self._clock()
        alive = [s for s in before if s.phase is Phase.OPEN]
        kept = [s.displaced() if not s.client else s for s in alive[:_EARLIER_MAX]]
        names = {s.client for s in kept}
        gone = [(s.name, s.client) for s in before if s.client and s.client not in names]
        await self.read(lambda: self._table.save([session, *kept], b"", at=now, gone=gone))

    async def make_room(self, sessions: Sequence[Session]) -> None:
        """Lets the oldest displaced sessions of a name go, so that another may be kept."""
        displaced = [session for session in sessions if session.is_displaced]
        gone = [(session.name, session.client) for session in displaced[_EARLIER_MAX - 1 :]]
        if gone:
            now = self._clock()
            await self.read(lambda: self._table.save([], b"", at=now, gone=gone))

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
        known = self._known.setdefault(session.writer_id, Known())
        self._known.move_to_end(session.writer_id)
        while len(self._known) > _REMEMBERED_MAX:
            self._known.popitem(last=False)
        return known

    @asynccontextmanager
    async def turn(self, name: Name, client: str) -> AsyncIterator[None]:
        """One at a time, and to its end once it has begun.

        Raises:
            BusyError: too many sessions are worked on.
        """
        key = name, client
        turn = self._turns.get(key)
        if turn is None:
            if len(self._turns) >= _TURNS_MAX:
                raise BusyError(f"{_TURNS_MAX} runs are written at this moment; come again later")
            turn = self._turns[key] = _Turn()
        turn.waiting += 1
        try:
            async with turn.lock:
                with anyio.CancelScope(shield=True):
                    yield
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                self._turns.pop(key, None)

    async def sweep(self) -> None:
        """Lets old sessions go, now and then; never while one of them has its turn."""
        now = self._clock()
        if now - self._swept_at < _SWEEP_EVERY_S:
            return
        self._swept_at = now
        try:
            old = await self.read(
                lambda: self._table.oldest(
                    before=now - _KEPT_S, kept_max=_KEPT_MAX, limit=_SWEPT_MAX
                )
            )
            for name, client in old:
                turn_of = "" if client.startswith(DISPLACED) else client
                async with self.turn(name, turn_of):
                    with suppress(RunDeletedError):
                        await self.load(name, client)  # commits what was written down
                    await self.read(partial(self._table.forget, (name, client), before=now))
        except KeltServerError:
            return  # the next sweep comes

    async def _committed(self, kept: Kept) -> Session:
        session, raw = kept
        if raw and self.remember(session).committed_through < session.last_seq:
            try:
                batch = record_pb2.Batch.FromString(raw)
            except DecodeError:  # damaged; what is pushed next shows whether it was committed
                return session
            await self._push(session, batch)
        return session

    async def _push(self, session: Session, batch: record_pb2.Batch) -> None:
        (ack,) = await self._committer.push([batch])
        if ack.gap:
            # A store was set aside as damaged, and this writer's beginning with it.
            succeeding = announcing.succeeding(session, self._clock())
            await self.save(replace(succeeding, said={"lost": session.lines}))
            raise BusyError("what this session wrote before is not here any more; post it again")
        self.remember(session).committed_through = session.last_seq


def builder_for(session: Session) -> BatchBuilder:
    """For what comes next of a session."""
    return BatchBuilder(writer_id=bytes.fromhex(session.writer_id), last_seq=session.last_seq)
