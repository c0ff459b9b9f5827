"""One seed: a host, its trainers, their daemon and the upstream, from the start to the verdict."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import structlog
import trio

import kelt.sender
from kelt_daemon.config import DaemonConfig

from .clock import LoopTime, WallClock, run_virtually, seeded_scheduler
from .daemon import SimulatedDaemon, Surroundings
from .disk import SimulatedDisk
from .fate import Fate, choose_story
from .machine import Machine
from .oracle import Oracle
from .trainers import Trainer
from .upstream import Network, Store

SECONDS = 600.0
END_SECONDS_MAX = 1200.0
SETTLE_S = 40.0
#: Looking at a new folder takes a few steps in threads, each of which may take a second.
FOUND_IN_S = 10.0
#: After a gap, in a network that is well again.
BACK_S_MAX = 300.0
KIB = 1024
CONFIG = DaemonConfig(
    first_segment_bytes=64 * KIB, segment_bytes_max=256 * KIB, rescan_interval_s=10.0
)


@dataclass(frozen=True)
class Outcome:
    """What came of a seed."""

    seed: int
    violations: list[str]
    trace: list[str]
    faults: Counter
    records: int


class World:
    def __init__(self, *, seed: int, root: Path, tasks: trio.Nursery) -> None:
        self._seed = seed
        rng = self.rng = self.chances("world")
        self.root = root
        self.runs = root / "runs"
        self.runs.mkdir()
        self.wall = WallClock()
        self.machine = Machine()
        self.disk = SimulatedDisk(rng=self.chances("disk"), now=self.wall.now)
        self.store = Store()
        self.network = Network(rng=self.chances("network"), store=self.store, tasks=tasks)
        self.trainers: list[Trainer] = []
        self.faults: Counter = Counter()
        self.trace: list[str] = []
        self.oracle = Oracle(self)
        self._tasks = tasks
        self._is_ending = False
        self.was_restored_unseen = False
        self._keeps_little = rng.random() < 0.3
        config = CONFIG
        if self._keeps_little:
            config = replace(config, retention_bytes=128 * KIB, retention_interval_s=20.0)
        self._surroundings = Surroundings(
            rng=self.chances("daemon"), machine=self.machine, disk=self.disk, network=self.network,
            now=self.wall.now, runs=self.runs, config=config,
        )  # fmt: skip
        self.daemons = 0
        #: Set, and renewed, whenever a trainer forks or rewinds a run.
        self.branched = trio.Event()
        self.daemon = SimulatedDaemon(self._surroundings)

    def chances(self, part: str) -> random.Random:
        """The numbers of one part: what another part uses up changes nothing for it."""
        return random.Random(f"{self._seed} {part}")

    def say(self, event: str, **fields: object) -> None:
        text = " ".join(f"{name}={value}" for name, value in fields.items())
        text = text.replace(str(self.root), "")
        self.trace.append(f"{trio.current_time():10.4f} {event} {text}".rstrip())

    def hear_log(self, _logger, _method, entry):
        """A processor of structlog's, the last one."""
        event = entry.pop("event")
        if event == "folder_failed" or entry.get("exc_info"):
            self.oracle.violations.append(f"{event}: {entry.get('reason', entry)}")
        self.say(event, **entry)
        raise structlog.DropEvent

    # -- what fate and stories do ----------------------------------------------------------------

    def start(self, trainer: Trainer, story) -> None:
        self.trainers.append(trainer)
        self._tasks.start_soon(self._live, trainer, story)

    async def _live(self, trainer: Trainer, story) -> None:
        if story.__name__ == "is_copied_here":
            await story(self, trainer)
            return
        if story.__name__ == "logs_offline":
            trainer.mode = "offline"
        await trainer.run(lambda trainer: story(self, trainer))

    def restore(self, lengths: dict[bytes, int], *, server_id: str = "") -> None:
        """The server's connections break, before or after."""
        self.oracle.remember_restore(self.store)
        self.store.gaps.clear()
        self.store.restore(lengths)
        self.store.server_id = server_id or self.store.server_id

    def restore_unseen(self, lengths: dict[bytes, int]) -> None:
        """Nobody is told, unless by the answer to a push."""
        self.oracle.remember_restore(self.store)
        self.store.restore(lengths)
        self.was_restored_unseen = True

    def may_not_know(self, trainer: Trainer) -> bool:
        """Whether the daemon may have missed how a process ended."""
        told, process = trainer.told, trainer.process
        # Who opens a stream is known at once; others are found by looking, and then watched.
        lived_s = process.ended_at_s - told.opened_at_s
        was_found = told.was_greeted or lived_s > CONFIG.rescan_interval_s + FOUND_IN_S
        is_slow = self.faults["disk slow"] or self.faults["daemon frozen"]
        was_watched = self.daemons == 1 and not self.disk.faults and was_found
        was_watched = was_watched and (told.was_greeted or not is_slow)
        return not was_watched or process.is_hidden or told.was_rebooted

    # -- the story of the host -------------------------------------------------------------------

    async def keep_daemon(self) -> None:
        """Somebody always starts another one, sooner or later."""
        while True:
            self.daemons += 1
            self.say("daemon started", number=self.daemons)
            await self.daemon.run()
            self.disk.forget_process()
            self.say("daemon ended")
            await trio.sleep(0.1 if self._is_ending else self.rng.choice((0.2, 1.0, 5.0, 40.0)))
            self.daemon = SimulatedDaemon(self._surroundings)

    async def run(self) -> None:
        self._tasks.start_soon(self.keep_daemon)
        await trio.sleep(0.1)
        self._tasks.start_soon(self._begin_trainers)
        await Fate(self).run(SECONDS)
        self._is_ending = True
        await self._end()

    async def _begin_trainers(self) -> None:
        for number in range(1, self.rng.randrange(1, 5) + 1):
            await trio.sleep(self.rng.random() * 80)
            story = choose_story(self.rng)
            self.start(Trainer(name=f"run-{number}", world=self), story)

    def note_branch(self) -> None:
        """A trainer forked or rewound a run at this moment."""
        branched, self.branched = self.branched, trio.Event()
        branched.set()

    async def _see_restores(self) -> None:
        """Who was told of a gap goes back by itself; the others ask at the next connection."""
        deadline_s = trio.current_time() + BACK_S_MAX
        while self.store.gaps and trio.current_time() < deadline_s:
            await trio.sleep(2.0)
            self._bring_key()
        self.oracle.judge_gaps()
        if self.was_restored_unseen:
            self.network.break_connections()

    def _bring_key(self) -> None:
        """As somebody who logs in, whom a refused daemon waits for."""
        if self.daemon.is_serving:
            self.daemon.greet()
            for link in self.daemon.registry.links.all():
                if link.report.state.name == "REFUSED":
                    link.nudge()

    async def _end(self) -> None:
        """All is well now: whatever was promised must come true in bounded time."""
        await self._see_restores()
        released: set[Trainer] = set()
        deadline_s = trio.current_time() + END_SECONDS_MAX
        left = "everything"
        while trio.current_time() < deadline_s:
            await trio.sleep(2.0)
            if not self.daemon.is_serving:
                continue
            for trainer in self.trainers:
                has_ended = trainer.told.ended_at_s is not None
                if trainer.mode == "offline" and has_ended and trainer not in released:
                    released.add(trainer)
                    await self.daemon.release(trainer.folder)
            self._bring_key()
            alive = [t.name for t in self.trainers if t.told.ended_at_s is None]
            left = ", ".join([*alive, *filter(None, map(self.oracle.missing, self.trainers))])
            if not left:
                break
        self.say("end", left=left)
        await trio.sleep(SETTLE_S)


def simulate(seed: int) -> Outcome:
    """Runs one seed and judges it."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None  # memory is quick
    root = Path(tempfile.mkdtemp(prefix="kelt-simulation-", dir=place))
    before = structlog.get_config()
    found: list[Outcome] = []

    async def main() -> None:
        async with trio.open_nursery() as tasks:
            world = World(seed=seed, root=root, tasks=tasks)
            structlog.configure(
                processors=[world.hear_log],
                wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False,
            )  # fmt: skip
            await world.run()
            await world.daemon.kill()
            violations = world.oracle.judge()
            records = sum(len(stored) for stored in world.store.records.values())
            world.faults.update(world.network.counts)
            world.faults.update(world.disk.faults)
            found.append(Outcome(seed, violations, world.trace, world.faults, records))
            tasks.cancel_scope.cancel()

    try:
        with (
            seeded_scheduler(random.Random(seed)),
            mock.patch.object(kelt.sender, "time", LoopTime),
        ):
            run_virtually(main)
    finally:
        structlog.configure(**before)
        shutil.rmtree(root, ignore_errors=True)
    return found[0]
