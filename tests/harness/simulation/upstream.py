"""An upstream behind its contract, and a network before it that does what networks do.

Cursors and data change together. Everything that ever was committed is remembered, so that what a
restore from a backup took away can be told from what was never there.
"""

from __future__ import annotations

import contextlib
import struct
from collections import defaultdict
from dataclasses import dataclass, field

import trio

from harness.memory_upstream import LOSS, ROW, SCHEMA, take_apart
from kelt_daemon.errors import (
    OverloadedError,
    RefusedError,
    RejectedDataError,
    UnreachableError,
)
from kelt_daemon.upstream import PushedCursor, ServerInfo

CALL_DEADLINE_S = 10.0
PUSH_DEADLINE_S = 30.0


@dataclass(frozen=True)
class Stored:
    kind: int
    first_seq: int
    last_seq: int
    payload: bytes


@dataclass
class Store:
    """What the server has committed."""

    server_id: str = "server-1"
    records: dict[bytes, list[Stored]] = field(default_factory=lambda: defaultdict(list))
    #: The highest record of each writer that any server here ever had.
    ever: dict[bytes, int] = field(default_factory=lambda: defaultdict(int))
    violations: list[str] = field(default_factory=list)
    #: Told of every record as it is committed.
    on_commit: list = field(default_factory=list)
    on_beats: list = field(default_factory=list)
    #: For each writer whose daemon was told of a gap: what it tried to send behind it.
    gaps: dict[bytes, int] = field(default_factory=dict)

    def cursor(self, writer_id: bytes) -> int:
        stored = self.records.get(writer_id)
        return stored[-1].last_seq if stored else 0

    def take(self, batch) -> bool:
        """Commits what is new of a batch; returns whether it began too high."""
        writer_id, cursor = batch.writer_id, self.cursor(batch.writer_id)
        if batch.first_seq > cursor + 1:
            return True
        if batch.last_seq <= cursor:
            return False
        numbered = [frame for frame in take_apart(batch.frames) if frame[0] != SCHEMA]
        seqs = [seq for _, seq, _ in numbered]
        is_loss = len(numbered) == 1 and numbered[0][0] == LOSS and seqs == [batch.last_seq]
        if not is_loss and seqs != list(range(batch.first_seq, batch.last_seq + 1)):
            self.violations.append(f"{batch.first_seq} to {batch.last_seq} holds {seqs[:20]}")
            return False
        for kind, seq, payload in numbered:
            if seq > cursor:
                first_seq = max(batch.first_seq, cursor + 1) if is_loss else seq
                stored = Stored(kind, first_seq, seq, payload)
                self.records[writer_id].append(stored)
                for tell in self.on_commit:
                    tell(stored)
        self.ever[writer_id] = max(self.ever[writer_id], batch.last_seq)
        if batch.last_seq >= self.gaps.get(writer_id, batch.last_seq):
            self.gaps.pop(writer_id, None)
        return False

    def refuse(self, batches) -> None:
        """Some rows are never taken, and nothing of a push with one of them.

        Raises:
            RejectedDataError: there is one that is new.
        """
        for batch in batches:
            for kind, seq, payload in take_apart(batch.frames):
                if kind == ROW and seq > self.cursor(batch.writer_id) and row_value(payload) < 0:
                    raise RejectedDataError("the simulated server does not take this row")

    def copy_lengths(self) -> dict[bytes, int]:
        return {writer_id: len(stored) for writer_id, stored in self.records.items()}

    def restore(self, lengths: dict[bytes, int]) -> None:
        """The backup is put back: what came after it is gone."""
        for writer_id, stored in self.records.items():
            del stored[lengths.get(writer_id, 0) :]


def row_value(payload: bytes) -> float:
    """The first value of a row."""
    return struct.unpack_from("<d", payload, 32)[0]


@dataclass
class Weather:
    """How the network and the server behave at the moment."""

    is_down: bool = False
    is_half_open: bool = False
    is_refusing: bool = False
    latency_s: float = 0.005
    spread_s: float = 0.02
    #: Chances, for each call.
    lost_request: float = 0.0
    lost_answer: float = 0.0
    repeated: float = 0.0
    overloaded: float = 0.0


class Network:
    """The way to the server, shared by all connections."""

    def __init__(self, *, rng, store: Store, tasks: trio.Nursery) -> None:
        self._rng = rng
        self.store = store
        self.weather = Weather()
        self.counts = defaultdict(int)
        self._tasks = tasks
        self._broken = trio.Event()

    def break_connections(self) -> None:
        broken, self._broken = self._broken, trio.Event()
        broken.set()

    @property
    def broken(self) -> trio.Event:
        return self._broken

    async def call(self, answer, *, deadline_s: float):
        """One call, which may fail before or after it was done."""
        weather, rng = self.weather, self._rng
        if weather.is_down:
            self.counts["down"] += 1
            await trio.sleep(rng.choice((0.0, 0.01, 1.0)))
            raise UnreachableError("the simulated network is down")
        broken = self._broken
        with trio.move_on_after(deadline_s) as deadline:
            await self._wait(weather.latency_s + rng.random() * weather.spread_s, broken)
            if weather.is_half_open:
                self.counts["half-open"] += 1
                if rng.random() < 0.5:
                    _unheard(answer)
                await trio.sleep_forever()
            fate = rng.random()
            if (fate := fate - weather.lost_request) < 0:
                self.counts["lost request"] += 1
                raise UnreachableError("the simulated request was lost")
            if (fate := fate - weather.overloaded) < 0:
                self.counts["overloaded"] += 1
                if rng.random() < 0.3:
                    _unheard(answer)  # it failed after its commit
                after_s = rng.choice((None, 0.0, 2.0, 20.0))
                raise OverloadedError("the simulated server is busy", retry_after_s=after_s)
            reply = answer()
            if fate - weather.lost_answer < 0:
                self.counts["lost answer"] += 1
                raise UnreachableError("the simulated answer was lost")
            if rng.random() < weather.repeated:
                self.counts["repeated"] += 1
                self._tasks.start_soon(self._repeat, answer)
            await self._wait(weather.latency_s + rng.random() * weather.spread_s, broken)
            return reply
        assert deadline.cancelled_caught
        raise UnreachableError("the simulated server did not answer in time")

    async def _wait(self, seconds: float, broken: trio.Event) -> None:
        await trio.sleep(seconds)
        if broken.is_set():
            raise UnreachableError("the simulated connection broke")

    async def _repeat(self, answer) -> None:
        """A proxy on the way delivers a request again, much later."""
        await trio.sleep(self._rng.random() * 20)
        _unheard(answer)


def _unheard(answer) -> None:
    """What a server does and nobody is told of."""
    with contextlib.suppress(RejectedDataError):
        answer()


class SimulatedUpstream:
    """What the daemon is given: `kelt_daemon.upstream.Upstream`."""

    artifacts = None

    def __init__(self, network: Network, *, gate) -> None:
        self._network = network
        self._gate = gate
        self._broken = trio.Event()

    async def _call(self, answer, *, deadline_s: float):
        """A process that is stopped neither asks nor hears."""
        await self._gate()
        try:
            return await self._network.call(answer, deadline_s=deadline_s)
        finally:
            await self._gate()

    async def connect(self, _access: object) -> ServerInfo:
        network = self._network
        if network.weather.is_refusing:
            network.counts["refused"] += 1
            await trio.sleep(0.01)
            raise RefusedError("the simulated server refuses the key")

        def answer() -> ServerInfo:
            return ServerInfo(
                server_id=network.store.server_id, version="1", default_entity="e",
                push_bytes_max=256 * 1024,
            )  # fmt: skip

        info = await self._call(answer, deadline_s=CALL_DEADLINE_S)
        self._broken = network.broken
        return info

    async def push(self, batches):
        store = self._network.store

        def answer():
            store.refuse(batches)
            gaps = {}
            for batch in batches:
                gap = store.take(batch)
                gaps[batch.writer_id] = gap or gaps.get(batch.writer_id, False)
            return {w: PushedCursor(store.cursor(w), gap) for w, gap in gaps.items()}

        reply = await self._call(answer, deadline_s=PUSH_DEADLINE_S)
        for batch in batches:
            writer_id = batch.writer_id
            if reply[writer_id].gap and store.cursor(writer_id) < batch.last_seq:
                store.gaps[writer_id] = max(batch.last_seq, store.gaps.get(writer_id, 0))
        return reply

    async def cursors(self, writer_ids):
        store, wanted = self._network.store, list(writer_ids)
        return await self._call(
            lambda: {w: store.cursor(w) for w in wanted}, deadline_s=CALL_DEADLINE_S
        )

    async def heartbeat(self, beats) -> tuple[bytes, ...]:
        def answer() -> tuple[bytes, ...]:
            for tell in self._network.store.on_beats:
                tell(beats)
            return ()

        return await self._call(answer, deadline_s=CALL_DEADLINE_S)

    async def describe_run(self, _request, **_deadline: float):
        raise UnreachableError("nobody asks in the simulation")

    async def wait_lost(self) -> None:
        await self._broken.wait()

    async def aclose(self) -> None:
        pass
