"""What befalls the host and the server, all of it from the seed's numbers."""

from __future__ import annotations

import shutil

import trio

from .trainers import Trainer
from .upstream import Weather

HOUR_S, TEN_YEARS_S = 3600.0, 10 * 365 * 86400.0
PAGE_BYTES = 4096


class Fate:
    """Chooses for its seed which kinds of faults there are, and when they come."""

    def __init__(self, world) -> None:
        self._world = world
        self._rng = world.chances("fate")
        kinds = {
            "daemon killed": self.kill_daemon,
            "daemon stopped": self.stop_daemon,
            "daemon frozen": self.freeze_daemon,
            "network down": self.network_down,
            "half-open": self.half_open,
            "slow": self.slow,
            "flaky": self.flaky,
            "refused": self.refused,
            "server restarted": self.restart_server,
            "server restored": self.restore_server,
            "server restored unseen": self.restore_unseen,
            "another server": self.replace_server,
            "disk full": self.fill_disk,
            "sync fails": self.fail_sync,
            "disk slow": self.slow_disk,
            "stream cut": self.cut_stream,
            "batch lost": self.lose_batch,
            "clock jumps": self.jump_clock,
            "power lost": self.lose_power,
            "trainer killed": self.kill_trainer,
            "trainer frozen": self.freeze_trainer,
        }
        rng = self._rng
        chosen = rng.sample(sorted(kinds), rng.choice((0, 2, 4, 6, 10)))
        self._kinds = [(name, kinds[name]) for name in chosen]
        self._every_s = rng.choice((20.0, 45.0, 90.0))

    async def run(self, seconds: float) -> None:
        """Strikes now and then, sometimes while an earlier blow lasts."""
        rng, world = self._rng, self._world
        end_s = trio.current_time() + seconds
        with trio.move_on_at(end_s):
            async with trio.open_nursery() as tasks:
                self._tasks = tasks
                while self._kinds:
                    await trio.sleep(rng.expovariate(1 / self._every_s))
                    name, strike = rng.choice(self._kinds)
                    await self._wait_branched()
                    world.say("fate", kind=name)
                    world.faults[name] += 1
                    if any(trainer.is_branching for trainer in world.trainers):
                        world.faults[f"{name} at a branching"] += 1
                    tasks.start_soon(strike)
                await trio.sleep_forever()
        self.heal()

    async def _wait_branched(self) -> None:
        """Often it strikes just when somebody forks or rewinds a run."""
        if self._rng.random() < 0.3:
            with trio.move_on_after(30.0):
                await self._world.branched.wait()
                await trio.sleep(self._rng.choice((0.0, 0.02, 0.2)))

    def heal(self) -> None:
        world = self._world
        world.network.weather = Weather()
        world.disk.is_full = False
        world.disk.fails_sync = world.disk.pause_s = 0.0
        world.daemon.thaw()
        for trainer in world.trainers:
            trainer.thaw.set()
            trainer.loses_next = False
        world.say("healed")

    # -- the daemon ------------------------------------------------------------------------------

    async def _with_backlog(self) -> None:
        """Often the upstream lacks something at that moment: then only this host has it."""
        network, rng = self._world.network, self._rng
        if rng.random() < 0.6:
            network.weather = Weather(is_down=True)
            network.break_connections()
            await trio.sleep(rng.random() * 40)
            self._tasks.start_soon(self._clear_up, network.weather, rng.random() * 60)

    async def _clear_up(self, weather: Weather, seconds: float) -> None:
        await trio.sleep(seconds)
        if self._world.network.weather is weather:
            self._world.network.weather = Weather()

    async def kill_daemon(self) -> None:
        await self._with_backlog()
        await self._world.daemon.kill()

    async def stop_daemon(self) -> None:
        await self._world.daemon.stop()

    async def freeze_daemon(self) -> None:
        daemon = self._world.daemon
        if daemon.is_frozen:
            return
        daemon.freeze()
        await trio.sleep(self._rng.choice((5.0, 30.0, 60.0)))
        daemon.thaw()

    # -- the network and the server --------------------------------------------------------------

    async def _weather(self, seconds: float, **changes) -> None:
        network = self._world.network
        network.weather = weather = Weather(**changes)
        if weather.is_down or self._rng.random() < 0.3:
            network.break_connections()
        await trio.sleep(seconds)
        if network.weather is weather:
            network.weather = Weather()
            if weather.is_half_open or self._rng.random() < 0.3:
                network.break_connections()

    async def network_down(self) -> None:
        await self._weather(self._rng.choice((1.0, 20.0, 120.0, 300.0)), is_down=True)

    async def half_open(self) -> None:
        await self._weather(self._rng.choice((5.0, 60.0)), is_half_open=True)

    async def slow(self) -> None:
        await self._weather(60.0, latency_s=self._rng.choice((0.5, 3.0, 8.0)), spread_s=10.0)

    async def flaky(self) -> None:
        rng = self._rng
        await self._weather(
            rng.choice((10.0, 60.0, 200.0)), spread_s=rng.choice((0.02, 0.5)),
            lost_request=rng.choice((0.0, 0.2)), lost_answer=rng.choice((0.0, 0.3)),
            repeated=rng.choice((0.0, 0.3)), overloaded=rng.choice((0.0, 0.3, 1.0)),
        )  # fmt: skip

    async def refused(self) -> None:
        self._world.network.break_connections()
        await self._weather(self._rng.choice((5.0, 60.0)), is_refusing=True)

    async def restart_server(self) -> None:
        self._world.network.break_connections()
        await self._weather(self._rng.random() * 10, is_down=True)

    async def restore_server(self) -> None:
        backup = self._world.store.copy_lengths()
        await trio.sleep(self._rng.random() * 120)
        self._world.network.break_connections()
        self._world.restore(backup)
        await self._weather(5.0, is_down=True)

    async def restore_unseen(self) -> None:
        """Behind something that keeps the connections: only answers tell of it."""
        backup = self._world.store.copy_lengths()
        await trio.sleep(self._rng.random() * 60)
        self._world.restore_unseen(backup)

    async def replace_server(self) -> None:
        self._world.network.break_connections()
        self._world.restore({}, server_id=f"server-{self._rng.randrange(1 << 32):08x}")
        await self._weather(5.0, is_down=True)

    # -- the disk, the clock, the machine --------------------------------------------------------

    async def fill_disk(self) -> None:
        self._world.disk.is_full = True
        await trio.sleep(self._rng.random() * 60)
        self._world.disk.is_full = False

    async def fail_sync(self) -> None:
        self._world.disk.fails_sync = self._rng.choice((0.2, 1.0))
        await trio.sleep(self._rng.random() * 60)
        self._world.disk.fails_sync = 0.0

    async def slow_disk(self) -> None:
        self._world.disk.pause_s = self._rng.choice((0.5, 3.0, 10.0))
        await trio.sleep(self._rng.random() * 60)
        self._world.disk.pause_s = 0.0

    async def jump_clock(self) -> None:
        jump_s = self._rng.choice((HOUR_S, -HOUR_S, TEN_YEARS_S, -TEN_YEARS_S))
        self._world.wall.jumped_s += jump_s

    async def lose_power(self) -> None:
        world = self._world
        await self._with_backlog()
        if self._rng.random() < 0.5:
            world.disk.fails_sync = 0.5
            await trio.sleep(self._rng.random() * 20)
        await world.daemon.kill()
        for trainer in world.trainers:
            if trainer.is_running_here:
                trainer.die(signal=9, was_rebooted=True)
        for trainer in world.trainers:
            if not trainer.is_foreign:
                trainer.told.lost_power = True
                self._damage_spool(trainer)
        world.machine.reboot()
        world.disk.lose_power()
        world.disk.fails_sync = 0.0

    def _damage_spool(self, trainer: Trainer) -> None:
        """Nobody ever synced it: any of its pages may be as they were, empty."""
        chance = self._rng.choice((0.0, 0.2, 1.0, 1.0))
        for path in sorted(trainer.folder.glob("spool-*.kelt")):
            with path.open("r+b") as file:
                for start in range(0, path.stat().st_size, PAGE_BYTES):
                    if self._rng.random() < chance:
                        file.seek(start)
                        if any(file.read(PAGE_BYTES)):
                            file.seek(start)
                            file.write(bytes(PAGE_BYTES))

    # -- trainers --------------------------------------------------------------------------------

    async def kill_trainer(self) -> None:
        running = [t for t in self._world.trainers if t.is_running_here]
        if running:
            self._rng.choice(running).die(signal=self._rng.choice((9, 11, 6)))

    async def cut_stream(self) -> None:
        """The connection between trainer and daemon breaks; both live on."""
        for trainer in self._world.trainers:
            if self._rng.random() < 0.7:
                trainer.lose_stream()

    async def lose_batch(self) -> None:
        """One batch does not arrive, and those behind it do."""
        for trainer in self._world.trainers:
            trainer.loses_next = trainer.is_running_here and self._rng.random() < 0.7

    async def freeze_trainer(self) -> None:
        running = [t for t in self._world.trainers if t.is_running_here]
        if running:
            trainer = self._rng.choice(running)
            if not trainer.thaw.is_set():
                return
            seconds = self._rng.choice((30.0, 150.0))
            trainer.told.frozen_s = max(trainer.told.frozen_s, seconds)
            trainer.thaw = trio.Event()
            await trio.sleep(seconds / 2)
            if self._rng.random() < 0.3:
                await self.jump_clock()
            await trio.sleep(seconds / 2)
            trainer.thaw.set()


# -- stories --------------------------------------------------------------------------------------


def choose_story(rng):
    """One life of a trainer: how it is started, and what it does."""
    return rng.choice((finishes, finishes, fails, leaves, forks, logs_offline, is_copied_here))


async def finishes(world, trainer: Trainer) -> None:
    await trainer.train(trainer.rng.random() * 300)
    await trainer.finish()
    await trio.sleep(trainer.rng.choice((0.0, 0.0, 60.0)))
    trainer.die()


async def fails(world, trainer: Trainer) -> None:
    await trainer.train(trainer.rng.random() * 200)
    await trainer.finish(code=1)
    trainer.die(code=1)


async def leaves(world, trainer: Trainer) -> None:
    """`os._exit`: without a word."""
    await trainer.train(trainer.rng.random() * 200)
    trainer.die(code=trainer.rng.choice((0, 3)))


async def forks(world, trainer: Trainer) -> None:
    """The child writes a run of its own, which no stream carries."""
    await trainer.train(trainer.rng.random() * 60)
    child = Trainer(name=f"{trainer.name}-child", world=world, sends=False)
    world.start(child, finishes if trainer.rng.random() < 0.5 else leaves)
    await finishes(world, trainer)


async def logs_offline(world, trainer: Trainer) -> None:
    trainer.mode = "offline"
    await finishes(world, trainer)


async def is_copied_here(world, trainer: Trainer) -> None:
    """Written on another machine; its files arrive one after the other."""
    trainer.become_foreign("another-machine")
    away = world.root / "away" / trainer.name
    trainer.open(away)
    for _ in range(trainer.rng.randrange(1, 5)):
        trainer.write_rows(trainer.rng.randrange(1, 300), text_bytes=trainer.rng.choice((0, 3000)))
    trainer.say_goodbye(code=0)
    await trainer.rounds(0.1)
    trainer.spool.close()
    trainer.process.end()
    trainer.folder.mkdir(parents=True)
    files = sorted(away.iterdir())
    trainer.rng.shuffle(files)
    for path in files:
        await trio.sleep(trainer.rng.random())
        if trainer.rng.random() < 0.3:  # as `scp`, which others may look at in the middle of it
            data = path.read_bytes()
            (trainer.folder / path.name).write_bytes(data[: trainer.rng.randrange(len(data) + 1)])
            await trio.sleep(trainer.rng.random() * 12)
        shutil.copy2(path, trainer.folder / path.name)
        if trainer.rng.random() < 0.1 and world.daemon.is_serving:
            await world.daemon.release(trainer.folder)
