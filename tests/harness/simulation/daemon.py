"""One daemon after the other: the daemon's parts, put together as its composition root does."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import anyio
import trio

from kelt.version import __version__
from kelt_daemon.commit import GroupCommitter
from kelt_daemon.config import DaemonConfig
from kelt_daemon.cursor_saving import save_cursors
from kelt_daemon.errors import CallRefusedError, FolderProblemError
from kelt_daemon.host import Host
from kelt_daemon.ingest import Ingest
from kelt_daemon.registry import Registry
from kelt_daemon.retention import Retention
from kelt_daemon.spools import Discovery
from kelt_proto.v1 import sidecar_pb2
from kelt_proto.v1.protocol import PROTOCOL

from .disk import SimulatedDisk
from .machine import MACHINE_ID, Machine
from .upstream import Network, SimulatedUpstream

URL = "http://simulated"
QUEUE_MAX = 8


class Killed(BaseException):  # as KeyboardInterrupt: nothing may catch it
    """The process is gone; nothing of it goes on."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What every daemon on the machine finds."""

    rng: object
    machine: Machine
    disk: SimulatedDisk
    network: Network
    now: object
    runs: Path
    config: DaemonConfig


class SimulatedDaemon:
    """One process, from its start to its end."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._is_dead = False
        self._threads: set[anyio.CancelScope] = set()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._stop = trio.Event()
        self._thaw = trio.Event()
        self._thaw.set()
        self.is_serving = False
        self.ended = trio.Event()

    async def run(self) -> None:
        try:
            await self._run()
        except BaseException as error:
            if not (self._is_dead and _is_only_killed(error)):
                raise
        finally:
            self._is_dead = True
            self.is_serving = False
            self.ended.set()

    async def _run(self) -> None:
        around = self._around
        config, machine = around.config, around.machine
        host = Host(
            machine_id=MACHINE_ID,
            boot_id=machine.boot_id,
            now=around.now,
            chance=around.rng.random,
            in_thread=self._in_thread,
            probe=machine.probe,
            is_lock_free=machine.is_lock_free,
        )
        self.committer = GroupCommitter(config=config, in_thread=self._in_thread)
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            self.registry = Registry(
                tasks=tasks,
                runs=around.runs,
                committer=self.committer,
                host=host,
                config=config,
                filesystem=around.disk,
                make_upstream=lambda _url: SimulatedUpstream(around.network, gate=self.wait_thawed),
            )
            self.ingest = Ingest(
                registry=self.registry,
                committer=self.committer,
                config=config,
                keep_secret=lambda _key: None,
            )
            discovery = Discovery(
                runs=around.runs,
                rescan=self.registry.rescan,
                interval_s=config.rescan_interval_s,
                watches=False,
            )
            tasks.start_soon(self.committer.run)
            tasks.start_soon(discovery.run)
            tasks.start_soon(Retention(registry=self.registry, config=config).run)
            self.is_serving = True
            await self._stop.wait()
            self.is_serving = False
            with anyio.CancelScope(shield=True), anyio.move_on_after(config.exit_s):
                discovery.stop()
                self.ingest.stop()
                with anyio.move_on_after(config.drain_s):
                    while not self.committer.is_idle:
                        await self.committer.synced.wait_at_most(0.1)
                await anyio.sleep(1.0)
                for folder in self.registry.folders.values():
                    if not folder.problem and not self._is_dead:
                        save_cursors(folder)
            self._die()

    # -- SIGSTOP: nothing goes in or out, while time goes on ------------------------------------

    def freeze(self) -> None:
        """SIGSTOP."""
        self._thaw = trio.Event()

    def thaw(self) -> None:
        """SIGCONT."""
        self._thaw.set()

    @property
    def is_frozen(self) -> bool:
        return not self._thaw.is_set()

    async def wait_thawed(self) -> None:
        """Until the process goes on."""
        await self._thaw.wait()

    async def stop(self) -> None:
        """SIGTERM, which a process that is stopped gets when it goes on."""
        await self.wait_thawed()
        self._stop.set()
        await self.ended.wait()

    async def kill(self) -> None:
        """SIGKILL."""
        self._die()
        self._stop.set()
        await self.ended.wait()

    def _die(self) -> None:
        self._is_dead = True
        self.is_serving = False
        for scope in list(self._threads):
            scope.cancel()
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    async def _in_thread(self, work, /, *args):
        """As a thread: the loop goes on before and after, and cancelling does not stop it."""
        await self._pause()
        try:
            result = work(*args)
        finally:
            await self._pause()
        return result

    async def _pause(self) -> None:
        rng = self._around.rng
        chance = rng.random()
        slow_s = self._around.disk.pause_s
        if chance < 0.6 and not slow_s and not self.is_frozen:
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            pause_s = rng.random() * ((0.01 if chance < 0.97 else 1.0) + slow_s)
            with anyio.CancelScope(shield=True) as scope:
                self._threads.add(scope)
                await anyio.sleep(pause_s)
                await self.wait_thawed()
            self._threads.discard(scope)
        if self._is_dead:
            raise Killed

    def connect(self, writer_id: bytes, folder: Path, *, on_reply) -> Stream:
        """As a trainer connects: hello, then a stream, in every second run as one that is shared.

        Raises:
            ConnectionError: nobody serves, or answers in time.
        """
        if not self.is_serving or self.is_frozen:
            raise ConnectionRefusedError
        self.greet()
        stream = Stream(
            on_reply=on_reply, gate=self.wait_thawed, write_s=self._around.rng.choice((0.0, 0.0, 0.005, 0.3)),
        )  # fmt: skip
        opening = sidecar_pb2.OpenWriter(
            writer_id=writer_id, run_folder=str(folder), is_shared=bool(writer_id[0] & 1)
        )
        stream.sender.send_nowait(sidecar_pb2.AppendRequest(open=opening))
        self._tasks.start_soon(stream.serve, self)
        return stream

    def greet(self) -> None:
        """As everybody does who comes to the daemon; from then on it keeps the connection.

        Raises:
            ConnectionError: the daemon does not want us.
        """
        greeting = sidecar_pb2.SidecarHelloRequest(
            version=__version__, protocol=PROTOCOL, upstream=URL, api_key="key"
        )
        try:
            self.ingest.hello(greeting)
        except CallRefusedError as error:
            raise ConnectionError(str(error)) from error

    async def release(self, path: Path) -> None:
        """As `kelt sync PATH`."""
        try:
            self.registry.release(await self.registry.adopt(path))
        except (FolderProblemError, OSError):
            return


class Stream:
    """A gRPC stream: what was on its way is gone when it breaks."""

    def __init__(self, *, on_reply, gate, write_s: float) -> None:
        self.sender, self._receiver = trio.open_memory_channel(QUEUE_MAX)
        self._on_reply = on_reply
        self._gate = gate
        self._write_s = write_s
        self.scope = trio.CancelScope()
        self.has_ended = False
        self.opened_at_s = trio.current_time()
        self.refusal = ""
        self.latest: sidecar_pb2.AppendReply | None = None
        self.changed = trio.Event()

    async def serve(self, daemon: SimulatedDaemon) -> None:
        try:
            with self.scope:
                async with aclosing(self._requests()) as requests:
                    await daemon.ingest.append(requests, self._write)
        except CallRefusedError as error:
            self.refusal = str(error)
        finally:
            self.has_ended = True
            self._receiver.close()
            self._wake()

    async def _requests(self):
        async for request in self._receiver:
            await self._gate()
            yield request

    async def _write(self, reply: sidecar_pb2.AppendReply) -> None:
        await trio.sleep(self._write_s)
        await self._gate()
        if self.has_ended or self.scope.cancel_called:
            return
        if reply.HasField("end"):  # the only writer: nothing else comes on this stream
            self.refusal, self.has_ended = reply.end.problem, True
            self.scope.cancel()
        else:
            self.latest = reply
            self._on_reply(reply)
            self._wake()

    def _wake(self) -> None:
        changed, self.changed = self.changed, trio.Event()
        changed.set()

    async def wait_open(self, seconds: float) -> None:
        """Until the first reply.

        Raises:
            ConnectionError: there is none.
        """
        with trio.move_on_after(seconds):
            while self.latest is None and not self.has_ended:
                await self.changed.wait()
        if self.latest is None or self.has_ended:
            self.cut()
            raise ConnectionError(self.refusal)

    def close(self) -> None:
        """The caller has said all."""
        self.sender.close()

    def cut(self) -> None:
        """The caller is gone."""
        self.scope.cancel()
        self.sender.close()


def _is_only_killed(error: BaseException) -> bool:
    parts = getattr(error, "exceptions", None)
    if parts is None:
        return isinstance(error, Killed)
    return all(_is_only_killed(part) for part in parts)
