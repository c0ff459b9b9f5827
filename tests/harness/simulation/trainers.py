"""Trainers: each writes its spool with the SDK's writer, and its sender runs in virtual rounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import trio

from kelt.daemon_link import LinkState
from kelt.journal.spool import InternedSchema, SpoolWriter
from kelt.run_folder import RunManifest, write_manifest
from kelt.sender import Sender
from kelt.settings import Settings
from kelt.state_dir import StateDir
from kelt_proto.v1 import record_pb2, sidecar_pb2
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.rows import ColumnKind, RowHeader, Schema

from .daemon import URL
from .machine import MACHINE_ID, SimulatedProcess

BEAT_S = 5.0
#: While its stream is being opened, the daemon may still read the spool from the disk.
OPENING_S_MAX = 30.0
FINISH_TIMEOUT_S = 30.0
#: Of the runs that start beside another, how many are a fork of one; of the bursts of rows, how
#: many end with a rewind; of the rows, how many no server takes.
FORKED_SHARE, REWIND_SHARE, POISON_SHARE = 0.3, 0.06, 0.0004


class Listener:
    """Stands in for the console: an error in the sender's rounds is one in the test."""

    def __init__(self) -> None:
        self.warnings: list[tuple[str, str]] = []

    def warn_once(self, topic: str, text: str) -> None:
        self.warnings.append((topic, text))

    def forget(self, topic: str) -> None:
        pass

    def say(self, text: str, **_style: str) -> None:
        pass


@dataclass
class Told:
    """What the trainer knows of its records, and what became of itself."""

    written: int = 0
    durable: int = 0
    committed: int = 0
    #: (exit code, signal) of its last words.
    goodbye: tuple[int, int] | None = None
    #: How the process ended, if it did before it said goodbye: (code, signal).
    death: tuple[int, int] | None = None
    was_rebooted: bool = False
    #: The power failed after it had begun: its spool, which nobody syncs, may have holes.
    lost_power: bool = False
    #: The longest time that it was stopped for.
    frozen_s: float = 0.0
    #: What it said in control records, by number.
    controls: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    #: Of those, the ones that fork or rewind a run.
    branchings: list[int] = field(default_factory=list)
    #: Rows that no server takes.
    poison: set[int] = field(default_factory=set)
    opened_at_s: float = 0.0
    #: Whether the daemon ever answered.
    was_greeted: bool = False
    ended_at_s: float | None = None
    violations: list[str] = field(default_factory=list)


class Trainer:
    """One process with one run."""

    def __init__(
        self, *, name: str, world, mode: str = "online", sends: bool = True, machine_id=MACHINE_ID
    ) -> None:
        self.name = name
        self.mode = mode
        self.told = Told()
        self.rng = world.chances(name)
        self.writer_id = self.rng.randbytes(16)
        self.branch_id = self.rng.randbytes(8).hex()
        self.step = 0
        self.folder: Path = world.runs / name
        self.process: SimulatedProcess | None = None
        self.is_foreign = machine_id != MACHINE_ID
        #: Not set while it is stopped by SIGSTOP: nothing of the process goes on.
        self.thaw = trio.Event()
        self.thaw.set()
        self._sends = sends
        self._machine_id = machine_id
        self._world = world
        self._stream = None
        #: The next batch is lost on its way, though the stream goes on.
        self.loses_next = False
        #: A stream, and the first record of a batch that was lost on it.
        self.lost: tuple[object, int] | None = None
        #: So many bursts of rows come close upon each other.
        self.hurries = 0
        self._next_try_s = 0.0
        self._failures = 0
        self._schema = InternedSchema(Schema(1, ("value",), (ColumnKind.FLOAT,)))
        self._text = InternedSchema(
            Schema(2, ("value", "text"), (ColumnKind.FLOAT, ColumnKind.TEXT))
        )

    @property
    def is_running_here(self) -> bool:
        return not self.is_foreign and self.process is not None and self.process.is_alive

    def become_foreign(self, machine_id: str) -> None:
        self._machine_id = machine_id
        self.is_foreign = True

    # -- the process -----------------------------------------------------------------------------

    def open(self, folder: Path | None = None) -> None:
        """Makes the folder, its manifest, its lock and its spool."""
        world = self._world
        folder = folder or self.folder
        folder.mkdir(parents=True)
        process = world.machine.start(is_hidden=self.rng.random() < 0.1)
        self.process = process
        if not self.is_foreign:
            world.machine.locks[folder] = process
        manifest = RunManifest(
            writer_id=self.writer_id.hex(), entity="", project="p", run_id=self.name,
            branch_id=self.branch_id, mode=self.mode, upstream=URL, started_at=world.wall.now(),
            hostname="h", machine_id=self._machine_id, boot_id=process.boot_id,
            pid=process.pid, pid_start_ticks=process.start_ticks,
        )  # fmt: skip
        self.spool = SpoolWriter(folder=folder, writer_id=self.writer_id, quota_bytes=1 << 28)
        self.told.opened_at_s = trio.current_time()
        self._append_control(Kind.RUN_OPENED, self._opening())
        write_manifest(folder, manifest)
        self.listener = Listener()
        self.sender = Sender(
            settings=Settings(state_dir=StateDir(world.root), upstream=URL, mode=self.mode),
            spool=self.spool, folder=folder, console=self.listener, sample=None, sends=False,
        )  # fmt: skip
        self.link = SimulatedLink(self)
        if self._sends and self.mode == "online" and not self.is_foreign:
            self.sender._link = self.link
        world.say("trainer opened", name=self.name, mode=self.mode, sends=self._sends)

    def _opening(self) -> record_pb2.RunOpened:
        opened = record_pb2.RunOpened(run_id=self.name, branch_id=self.branch_id)
        parents = [t for t in self._world.trainers if t.told.written and t is not self]
        if parents and self.rng.random() < FORKED_SHARE:
            parent = self.rng.choice(parents)
            opened.forked.CopyFrom(parent.point(self.rng.randrange(parent.step + 1)))
        return opened

    def point(self, step: int) -> record_pb2.BranchPoint:
        """A point of its run's history."""
        return record_pb2.BranchPoint(
            project="p", run_id=self.name, branch_id=self.branch_id, step=step
        )

    def rewind(self) -> None:
        """As `run.rewind()`: what follows lies on a new branch, from an earlier step on."""
        step = self.rng.randrange(self.step + 1)
        said = record_pb2.Rewind(point=self.point(step), at=self._world.wall.now())
        self.branch_id = said.branch_id = self.rng.randbytes(8).hex()
        self.step = step
        self._append_control(Kind.REWIND, said)

    @property
    def is_branching(self) -> bool:
        """Whether a fork or rewind of it is on its way."""
        last = max(self.told.branchings, default=0)
        return last > self._world.store.ever[self.writer_id]

    def _append_control(self, kind: Kind, message) -> None:
        payload = message.SerializeToString()
        assert self.spool.append_control(kind, payload)
        self.told.written = seq = self.spool.seq
        self.told.controls[seq] = (kind, payload)
        is_fork = kind == Kind.RUN_OPENED and message.HasField("forked")
        if kind == Kind.REWIND or is_fork:
            self.told.branchings.append(seq)
            self._world.faults["branched"] += 1
            self._world.note_branch()

    def write_rows(self, count: int, text_bytes: int = 0) -> None:
        for _ in range(count):
            seq = self.spool.seq + 1
            value = float(seq)
            if self.rng.random() < POISON_SHARE:
                value = -value
                self.told.poison.add(seq)
            self.step += 1
            if text_bytes:
                header = RowHeader(2, 0, self.step, 0.0, 0.0)
                done = self.spool.append_row_with_tail(
                    self._text, header, (value, "x" * text_bytes)
                )
            else:
                done = self.spool.append_row(self._schema, 0, self.step, 0.0, 0.0, (value,))
            assert done
            self.told.written = seq

    def say_goodbye(self, *, code: int, signal: int = 0) -> None:
        at = self._world.wall.now()
        self._append_control(Kind.EXIT, record_pb2.Exit(exit_code=code, signal=signal, at=at))
        self.told.goodbye = (code, signal)
        self.told.ended_at_s = trio.current_time()

    def die(self, *, code: int = 0, signal: int = 0, was_rebooted: bool = False) -> None:
        """The process is gone at once; its files lie as they are."""
        if self.process is None or not self.process.is_alive:
            return
        if self.told.goodbye is None:
            self.told.death = (code, signal)
            self.told.was_rebooted = was_rebooted
            self.told.ended_at_s = trio.current_time()
        self.process.end(code=code, signal=signal)
        if self._stream is not None:
            self._stream.cut()
            self._stream = None
        if not self.spool._closed:
            segment = self.spool.current_segment
            if self.rng.random() < 0.3:  # what an append had begun, without its first word
                start = segment.pos + 8
                room = min(64, segment.end - start)
                segment.map[start : start + room] = self.rng.randbytes(room)
            self.spool.abandon()
        self._world.say("trainer died", name=self.name, code=code, signal=signal)

    def lose_stream(self) -> None:
        if self._stream is not None:
            self._stream.cut()

    # -- what it does ----------------------------------------------------------------------------

    async def run(self, story) -> None:
        """Opens, then does what its story says, until that ends or the process does."""
        self.open()
        async with trio.open_nursery() as tasks:
            tasks.start_soon(self._watch_process, tasks.cancel_scope)
            await story(self)
            tasks.cancel_scope.cancel()

    async def _watch_process(self, scope: trio.CancelScope) -> None:
        await self.process.gone.wait()
        scope.cancel()

    async def train(self, seconds: float) -> None:
        """Logs in bursts; the sender's rounds follow."""
        end_s = trio.current_time() + seconds
        rng = self.rng
        while trio.current_time() < end_s:
            if rng.random() < 0.05:
                self.write_rows(rng.randrange(1, 30), text_bytes=rng.randrange(1000, 40_000))
            else:
                self.write_rows(rng.randrange(1, 60))
            if rng.random() < REWIND_SHARE:
                self.rewind()
                self.write_rows(rng.randrange(3))
            wanted_s = 0.2 if self.loses_next or self.hurries else rng.expovariate(1 / 12)
            self.hurries = max(0, self.hurries - 1)
            pause_s = min(wanted_s, max(0.0, end_s - trio.current_time()))
            await self.rounds(pause_s)

    async def rounds(self, seconds: float) -> None:
        """The background thread for so long: a few rounds at once, then one for each news."""
        end_s = trio.current_time() + seconds
        wait_s = 0.02
        while True:
            await self.round()
            left_s = end_s - trio.current_time()
            if left_s <= 0:
                return
            await self._wait(min(wait_s, left_s))
            wait_s = min(BEAT_S, wait_s * 4)

    async def _wait(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            if self._stream is None:
                await trio.sleep(seconds)
            else:
                await self._stream.changed.wait()
        await self.thaw.wait()
        await trio.sleep(0.01)

    async def round(self) -> None:
        await self._connect()
        self.sender._guarded_round()

    async def finish(self, *, code: int = 0) -> None:
        """As `finish()`: says goodbye, waits for the upstream, closes."""
        self.say_goodbye(code=code)
        self._world.say("trainer said goodbye", name=self.name, code=code)
        self.sender._is_finishing = True
        end_s = trio.current_time() + FINISH_TIMEOUT_S
        while trio.current_time() < end_s and self.link.state.committed_through < self.spool.seq:
            if self.sender._link is None:
                break
            await self.round()
            await self._wait(0.5)
        self.sender._stopping.set()
        self.sender._guarded_round()
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self.spool.close()
        self.process.holds_lock = False

    async def _connect(self) -> None:
        """As `DaemonLink.poll`, without a thread: the first reply says from where to send."""
        if self.sender._link is None or self._next_try_s > trio.current_time():
            return
        stream = self._stream
        if stream is not None and not stream.has_ended:
            return
        self._stream = None
        self.link.state.is_connected = False
        try:
            stream = self._world.daemon.connect(self.writer_id, self.folder, on_reply=self._hear)
            try:
                await stream.wait_open(5.0)
            except trio.Cancelled:
                stream.cut()  # the process is gone, and its connections with it
                raise
        except ConnectionError:
            self._failures += 1
            self._next_try_s = trio.current_time() + min(5.0, 0.5 * 2**self._failures)
            return
        self._failures = 0
        self._stream = stream
        self.link.state.is_connected = True
        self.link.state.durable_through = stream.latest.durable_through
        self.link.take(stream.latest)

    def _hear(self, reply: sidecar_pb2.AppendReply) -> None:
        told = self.told
        told.was_greeted = True
        told.durable = max(told.durable, reply.durable_through)
        told.committed = max(told.committed, reply.committed_through)
        if self.lost is not None and self._stream is self.lost[0]:
            first_seq = self.lost[1]
            if reply.durable_through >= first_seq:
                told.violations.append(f"durable {reply.durable_through}, {first_seq} was lost")
                self.lost = None
        if reply.durable_through > told.written:
            told.violations.append(f"durable {reply.durable_through} of {told.written} written")
        ever = self._world.store.ever[self.writer_id]
        if reply.committed_through > ever:
            told.violations.append(f"told of {reply.committed_through} committed of {ever}")


class SimulatedLink:
    """What the sender sees of the daemon: `kelt.daemon_link.DaemonLink`, over a played stream."""

    def __init__(self, trainer: Trainer) -> None:
        self.state = LinkState()
        self._trainer = trainer

    def poll(self) -> bool:
        stream = self._trainer._stream
        if stream is None or stream.has_ended:
            self.state.is_connected = False
            return False
        self.take(stream.latest)
        return True

    def take(self, reply: sidecar_pb2.AppendReply) -> None:
        state = self.state
        state.durable_through = max(state.durable_through, reply.durable_through)
        state.committed_through = max(state.committed_through, reply.committed_through)
        state.linger_s = reply.linger_s

    @property
    def has_room(self) -> bool:
        return True

    def send(self, batch) -> bool:
        stream = self._trainer._stream
        if stream is None or stream.has_ended:
            return False
        if self._trainer.loses_next:
            self._trainer.loses_next, self._trainer.hurries = False, 3
            if trio.current_time() - stream.opened_at_s > OPENING_S_MAX:
                self._trainer.lost = (stream, batch.first_seq)
            self._trainer._world.faults["message lost"] += 1
            return True
        if self._trainer.lost is not None and batch.first_seq <= self._trainer.lost[1]:
            self._trainer.lost = None  # sent again
        message = record_pb2.Batch(
            writer_id=self._trainer.writer_id, first_seq=batch.first_seq,
            last_seq=batch.last_seq, crc32=batch.crc32, frames=batch.frames,
        )  # fmt: skip
        try:
            stream.sender.send_nowait(sidecar_pb2.AppendRequest(batch=message))
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    def send_again(self) -> None:
        """There is no window here."""

    def close(self) -> None:
        if self._trainer._stream is not None:
            self._trainer._stream.close()
