"""The composition root: builds the parts, runs them in one task group, ends them in order."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import anyio
import anyio.abc
import grpc.aio
import structlog

from kelt.door import HAS_PEER_CREDENTIALS
from kelt.errors import SettingsError
from kelt.settings import load_settings
from kelt.state_dir import StateDir, door_of
from kelt.version import __version__
from kelt_daemon import instance
from kelt_daemon.commit import GroupCommitter
from kelt_daemon.config import DaemonConfig
from kelt_daemon.control import Control
from kelt_daemon.cursor_saving import save_cursors
from kelt_daemon.door import TokenGate, Tokens, serve_door
from kelt_daemon.filesystem import RealFilesystem
from kelt_daemon.host import this_host
from kelt_daemon.ingest import Ingest
from kelt_daemon.logs import Redactor, configure_logs
from kelt_daemon.registry import Registry
from kelt_daemon.retention import Retention
from kelt_daemon.service import SidecarService, start_server
from kelt_daemon.spools import Discovery
from kelt_daemon.upstream import Access
from kelt_daemon.upstream.wandb.file_room import FileRoom
from kelt_daemon.upstreams import upstream_for

log = structlog.get_logger()
_IDLE_LOOK_S = 1.0
_EXIT_SLACK_S = 1.5
EXIT_FOLDER_GONE = 1


def run_daemon(
    state_dir: StateDir,
    *,
    idle_exit_s: float | None,
    ready_fd: int | None,
    environ: Mapping[str, str],
    config: DaemonConfig | None = None,
) -> None:
    """Serves a state folder until it is told to stop or nobody needs it any more.

    Raises:
        AlreadyRunningError: another daemon does.
        OSError: the folder cannot be used.
    """
    config = config or DaemonConfig()
    if idle_exit_s is not None:
        config = replace(config, idle_exit_s=idle_exit_s)
    state_dir.create()
    with instance.only_instance(state_dir) as lock:
        redactor = configure_logs(state_dir.logs, config)
        daemon = Daemon(
            state_dir=state_dir,
            config=config,
            redactor=redactor,
            lock=lock,
            on_stopping=partial(_end_for_certain, config.exit_s + _EXIT_SLACK_S),
        )
        anyio.run(daemon.run, environ, ready_fd)


def _end_for_certain(after_s: float) -> None:
    """Has the kernel end this process, should the end hang: in a disk that does not answer, say."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, after_s)


class Daemon:
    """The daemon of one state folder, whose lock is held.

    Args:
        state_dir: the state folder.
        config: bounds and intervals.
        redactor: learns which keys must not be logged.
        lock: that lock.
        on_stopping: called as the end begins.
    """

    def __init__(
        self,
        *,
        state_dir: StateDir,
        config: DaemonConfig,
        redactor: Redactor,
        lock: instance.HeldLock,
        on_stopping: Callable[[], None],
    ) -> None:
        self._on_stopping = on_stopping
        self._state_dir = state_dir
        self._lock = lock
        self._config = config
        self._redactor = redactor
        self._started_at = time.time()

    async def run(self, environ: Mapping[str, str], ready_fd: int | None) -> None:
        """From the first look at the folder to the last acknowledgement."""
        config = self._config
        committer = GroupCommitter(config=config)
        room = FileRoom(limit_bytes=config.wandb_files_bytes_max)
        async with anyio.create_task_group() as tasks:
            registry = self._registry(tasks, committer, room)
            self._take_key(registry, environ)
            ingest = Ingest(
                registry=registry,
                committer=committer,
                config=config,
                keep_secret=self._redactor.add,
            )
            control = Control(
                registry=registry,
                state_dir=self._state_dir,
                started_at=self._started_at,
                config=config,
                room=room,
            )
            service = SidecarService(ingest=ingest, control=control)
            discovery = Discovery(
                runs=self._state_dir.runs,
                rescan=registry.rescan,
                interval_s=config.rescan_interval_s,
            )
            tasks.start_soon(committer.run)
            await tasks.start(self._stop_on_signal, control)
            server = await self._open_door(tasks, service)
            instance.say_ready(ready_fd)
            log.info("daemon_started", pid=os.getpid(), version=__version__)
            tasks.start_soon(discovery.run)
            tasks.start_soon(Retention(registry=registry, config=config).run)
            tasks.start_soon(self._stop_when_idle, registry, service, control)
            try:
                await control.stop_asked.wait()
            finally:
                self._on_stopping()
                is_all_durable = False
                with anyio.CancelScope(shield=True), anyio.move_on_after(config.exit_s):
                    discovery.stop()
                    ingest.stop()
                    with anyio.move_on_after(config.drain_s):
                        await _drain(committer)
                    # Now: with its stream ended, a living writer's spool may be read once more.
                    is_all_durable = committer.is_idle
                    await server.stop(grace=1.0)
                    for folder in registry.folders.values():
                        if not folder.problem:
                            save_cursors(folder)
            log.info("daemon_stopped", is_all_durable=is_all_durable)
            tasks.cancel_scope.cancel()

    def _registry(
        self, tasks: anyio.abc.TaskGroup, committer: GroupCommitter, room: FileRoom
    ) -> Registry:
        config = self._config
        registry = Registry(
            tasks=tasks,
            runs=self._state_dir.runs,
            committer=committer,
            host=this_host(),
            config=config,
            filesystem=RealFilesystem(),
            make_upstream=lambda url: upstream_for(
                url,
                config=config,
                folders=registry.folders.values,
                rescan=registry.rescan,
                room=room,
            ),
        )
        return registry

    async def _open_door(
        self, tasks: anyio.abc.TaskGroup, service: SidecarService
    ) -> grpc.aio.Server:
        """Listens on the socket, which only this user's processes are given tokens for."""
        tokens, socket = Tokens(), self._state_dir.socket
        if HAS_PEER_CREDENTIALS:
            await tasks.start(partial(serve_door, door_of(socket), tokens=tokens, uid=os.getuid()))
        gate = TokenGate(tokens=tokens, folder=socket.parent)
        instance.sweep(self._state_dir)
        # Before anybody is answered: whoever finds the socket wants to know whose it is.
        instance.write_record(self._state_dir, started_at=self._started_at)
        return await start_server(service, socket=socket, gate=gate, config=self._config)

    def _take_key(self, registry: Registry, environ: Mapping[str, str]) -> None:
        """Key and way of the environment or the config file, for the upstream named there.

        For that one alone: a run folder that somebody dropped in must not choose who is told it.
        """
        try:
            settings = load_settings({}, environ)
        except SettingsError as error:
            log.warning("settings_ignored", reason=str(error))
            return
        access = Access(
            api_key=settings.api_key or "", ca_file=settings.ca_file, proxy=settings.proxy or ""
        )
        self._redactor.add(access.api_key)
        registry.links.keep_access(settings.upstream.rstrip("/"), access)

    async def _stop_on_signal(
        self,
        control: Control,
        *,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                if control.stop_asked.is_set():
                    # What is not on disk yet is still in the trainers' spools.
                    if self._lock.is_in_place():
                        self._state_dir.socket.unlink(missing_ok=True)
                    os._exit(128 + number)
                log.info("daemon_stopping", signal=number.name)
                control.stop_asked.set()

    async def _stop_when_idle(
        self, registry: Registry, service: SidecarService, control: Control
    ) -> None:
        used_at_s = time.monotonic()
        while True:
            await anyio.sleep(_IDLE_LOOK_S)
            now_s = time.monotonic()
            if not self._lock.is_in_place():
                log.error("state_folder_gone", folder=str(self._state_dir.root))
                # At once: gRPC would remove the socket, which may be a successor's by now.
                os._exit(EXIT_FOLDER_GONE)
            if service.calls or registry.is_anyone_live:
                used_at_s = now_s
                continue
            idle_s = now_s - max(used_at_s, service.used_at_s)
            has_backlog = registry.has_backlog
            limit_s = (
                self._config.idle_exit_with_backlog_s if has_backlog else self._config.idle_exit_s
            )
            if idle_s >= limit_s:
                log.info("daemon_idle", idle_s=round(idle_s), has_backlog=has_backlog)
                control.stop_asked.set()
                return


async def _drain(committer: GroupCommitter) -> None:
    while not committer.is_idle:
        await committer.synced.wait_at_most(0.1)
