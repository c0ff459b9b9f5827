"""The part of the service that people use: what is going on, send this, stop."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread

from kelt.run_folder import MANIFEST_NAME
from kelt.state_dir import StateDir
from kelt.version import __version__
from kelt_daemon.bounds import run_bounds, wandb_files_bound
from kelt_daemon.config import DaemonConfig
from kelt_daemon.dead_letters import DEAD_LETTERS_NAME
from kelt_daemon.errors import FolderProblemError
from kelt_daemon.link_messages import upstream_state
from kelt_daemon.links import LinkState, UpstreamLink
from kelt_daemon.paths import plain
from kelt_daemon.probe import is_lock_free
from kelt_daemon.registry import Registry
from kelt_daemon.run_folders import RunFolder
from kelt_daemon.upstream.wandb.file_room import FileRoom
from kelt_proto.v1 import sidecar_pb2

_FOLDERS_PER_SYNC_MAX = 10_000


class Control:
    """Serves people.

    Args:
        registry: run folders and upstreams.
        state_dir: the state folder.
        started_at: when the daemon started, Unix seconds.
        config: intervals.
        room: for files on their way to W&B servers.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        state_dir: StateDir,
        started_at: float,
        config: DaemonConfig,
        room: FileRoom,
    ) -> None:
        self._registry = registry
        self._state_dir = state_dir
        self._started_at = started_at
        self._config = config
        self._room = room
        #: Set by Stop.
        self.stop_asked = anyio.Event()

    def status(self) -> sidecar_pb2.StatusReply:
        """What is going on."""
        registry = self._registry
        runs = [_run_status(folder, self._config) for folder in registry.folders.values()]
        parked = [
            sidecar_pb2.RunStatus(path=plain(path), problem=plain(reason))
            for path, reason in registry.parked.items()
        ]
        return sidecar_pb2.StatusReply(
            version=__version__,
            pid=os.getpid(),
            started_at=self._started_at,
            state_dir=plain(self._state_dir.root),
            upstreams=[upstream_state(link) for link in registry.links.all()],
            runs=runs + parked,
            journal_bytes=sum(f.journal.used_bytes for f in registry.folders.values()),
            bounds=[*registry.bounds, wandb_files_bound(self._room)],
        )

    async def sync(self, request: sidecar_pb2.SyncRequest) -> AsyncIterator[sidecar_pb2.SyncReply]:
        """Sends what is asked for and reports until it is committed or cannot go on."""
        folders: list[RunFolder] = []
        errors: list[sidecar_pb2.FolderProgress] = []
        said_at_s = anyio.current_time()
        async for _ in self._adopt_all([Path(p) for p in request.paths], folders, errors):
            if anyio.current_time() - said_at_s >= self._config.sync_report_interval_s:
                said_at_s = anyio.current_time()
                yield sidecar_pb2.SyncReply()  # a thousand folders may take a slow disk a minute
        if request.live:
            for folder in folders:
                folder.followers += 1
        try:
            errors += await self._release_all(folders, upstream=request.upstream.rstrip("/"))
            async for reply in self._follow(request, folders, errors):
                yield reply
        finally:
            if request.live:
                for folder in folders:
                    folder.followers -= 1

    async def _release_all(
        self, folders: list[RunFolder], *, upstream: str
    ) -> list[sidecar_pb2.FolderProgress]:
        """Lets go what is asked for; folders that cannot be are taken out and reported."""
        errors = []

        def give_up(folder: RunFolder, error: OSError) -> None:
            reason = f"{folder.path} cannot be written ({error.strerror}); mend that."
            errors.append(_refusal(folder.path, reason))
            folders.remove(folder)

        for folder in list(folders) if upstream else ():
            try:
                await self._registry.send_to(folder, upstream)
            except OSError as error:
                give_up(folder, error)
        # All at once: a run may have to wait for another that is asked for with it.
        for folder in list(folders):
            try:
                self._registry.release(folder)
            except OSError as error:
                give_up(folder, error)
        return errors

    async def _follow(
        self,
        request: sidecar_pb2.SyncRequest,
        folders: list[RunFolder],
        errors: list[sidecar_pb2.FolderProgress],
    ) -> AsyncIterator[sidecar_pb2.SyncReply]:
        links = {folder.link.url: folder.link for folder in folders}
        if request.retry_now:
            for link in links.values():
                self._registry.links.connected(link.url).nudge()
            await anyio.lowlevel.checkpoint()
        has_waited = False
        disk_retried_at_s = anyio.current_time() + 2 * self._config.no_room_retry_s
        goals: dict[RunFolder, int] = {}
        told: dict[RunFolder, sidecar_pb2.FolderProgress] = {}
        while True:
            changed, unfinished = [], []
            for folder in folders:
                is_synced = _is_reached(folder, goals, is_live=request.live)
                error = self._error(
                    folder,
                    has_waited=has_waited,
                    has_retried_disk=anyio.current_time() >= disk_retried_at_s,
                    is_live=request.live,
                )
                progress = self._progress(folder, is_synced=is_synced, error=error)
                if not (is_synced or progress.error):
                    unfinished.append(folder.link)
                if told.get(folder) != progress:
                    told[folder] = progress
                    changed.append(progress)
            yield sidecar_pb2.SyncReply(
                folders=[*errors, *changed],
                done=not unfinished,
                upstream_state=_telling(unfinished or links.values()),
            )
            if not unfinished:
                return
            errors = []
            for folder in folders:
                if not folder.problem:
                    self._registry.activate_if_needed(folder)
            await anyio.sleep(self._config.sync_report_interval_s)
            has_waited = True

    async def _adopt_all(
        self,
        paths: list[Path],
        folders: list[RunFolder],
        errors: list[sidecar_pb2.FolderProgress],
    ) -> AsyncIterator[None]:
        """Adds the folders that are meant, and what cannot be used; yields after each."""
        registry = self._registry
        wanted: dict[Path, RunFolder] = {}
        if not paths:
            # All that wait, those included that were parked and may have been mended.
            await registry.rescan()
            wanted = {
                f.path: f
                for f in registry.folders.values()
                if f.is_held or not f.is_committed or not f.is_over
            }
            paths = list(registry.parked)
        for path in paths:
            found = await anyio.to_thread.run_sync(_expand, path)
            if not found:
                errors.append(
                    _refusal(path, f"{path} holds no run folder (a folder with run.json).")
                )
            for run_path in found[:_FOLDERS_PER_SYNC_MAX]:
                try:
                    folder = await registry.adopt(run_path, is_asked=True)
                except (FolderProblemError, OSError) as error:
                    errors.append(_refusal(run_path, str(error)))
                else:
                    wanted[folder.path] = folder
                yield
        folders += wanted.values()

    def _progress(
        self, folder: RunFolder, *, is_synced: bool, error: str
    ) -> sidecar_pb2.FolderProgress:
        cursor = folder.cursor(folder.writer_id)
        committed = min(cursor.committed, cursor.durable)
        is_known = not folder.is_unconfirmed
        return sidecar_pb2.FolderProgress(
            path=plain(folder.path),
            entity=folder.manifest.entity,
            project=folder.manifest.project,
            run_id=folder.manifest.run_id,
            records=cursor.durable,
            # What another server, or this one before it was restored, has said counts for nothing.
            committed=committed if is_known else 0,
            error=error,
            bytes=folder.journal.used_bytes,
            lost_rows=folder.all_lost_rows,
            is_over=folder.is_over and folder.life.phase.is_ended,
            skipped=min(folder.upstream_had, committed) if is_known else 0,
            is_synced=is_synced,
            upstream=folder.link.url,
            is_confirmed=is_known,
        )

    def _error(
        self, folder: RunFolder, *, has_waited: bool, has_retried_disk: bool, is_live: bool
    ) -> str:
        error = folder.problem
        if not error and has_retried_disk:
            # A full disk may have been mended since it was last tried.
            error = folder.journal_problem
        link = folder.link
        if not is_live and _goes_on_offline(folder):
            return (
                f"The run still goes on (process {folder.manifest.pid}); it is sent when it has "
                "ended, and with `--live` meanwhile."
            )
        if not error and folder.is_over and not is_live:
            error = folder.incomplete
        if not error and has_waited and folder.artifacts_waiting:
            error = folder.artifacts_problem
        if not error and has_waited and link.report.state is LinkState.REFUSED:
            is_there = folder.is_committed and not folder.is_unconfirmed
            error = "" if is_there else link.report.reason
        return error


def _is_reached(folder: RunFolder, goals: dict[RunFolder, int], *, is_live: bool) -> bool:
    """Whether the upstream said that it has what the folder held when it was asked for.

    The goal is set once nothing of it is still to be read: its writer lives, or all is in. A run
    that is followed is through when it has ended. A live writer's offline run is refused before,
    unless it was closed and is about to be read.
    """
    if folder.is_unconfirmed or folder.incomplete:
        return False
    if folder.artifacts_waiting:
        return False
    if is_live:
        return folder.is_over and folder.life.phase.is_ended and folder.is_committed
    is_online_live = folder.is_live and folder.manifest.mode != "offline"
    if not (folder.is_over or folder.is_closed or is_online_live):
        return False
    goal = goals.setdefault(folder, folder.durable_records)
    return folder.committed_records >= goal


def _goes_on_offline(folder: RunFolder) -> bool:
    """Whether an offline run is being written: one that was finished gave back its lock."""
    is_live = folder.is_live and folder.manifest.mode == "offline"
    return is_live and not (folder.is_spool_removed or is_lock_free(folder.spool_path))


def _refusal(path: Path, reason: str) -> sidecar_pb2.FolderProgress:
    return sidecar_pb2.FolderProgress(path=plain(path), error=plain(reason))


def _expand(path: Path) -> list[Path]:
    """A run folder, or the run folders in a folder, or those of a state folder."""
    try:
        if (path / MANIFEST_NAME).exists():
            return [path]
        for parent in (path, path / "runs"):
            if parent.is_dir():
                found = sorted(p for p in parent.iterdir() if (p / MANIFEST_NAME).exists())
                if found:
                    return found
    except OSError:
        return []
    return []


def _telling(links: Iterable[UpstreamLink]) -> sidecar_pb2.UpstreamState:
    """Of several upstreams one that takes records, else the one that keeps things from going on.

    Whoever syncs waits as long as there is one of the first kind, however slow it is.
    """
    order = (LinkState.REACHABLE, LinkState.REFUSED, LinkState.UNREACHABLE, LinkState.CONNECTING)
    ranked = sorted(links, key=lambda link: order.index(link.report.state))
    return upstream_state(ranked[0]) if ranked else sidecar_pb2.UpstreamState()


def _refused(folder: RunFolder) -> str:
    if not folder.refused_records:
        return ""
    return (
        f"the server refused {folder.refused_records} records for good; they are in "
        f"{folder.home / DEAD_LETTERS_NAME}"
    )


def _run_status(folder: RunFolder, config: DaemonConfig) -> sidecar_pb2.RunStatus:
    manifest, life = folder.manifest, folder.life
    state, reason = life.phase.value, life.reason
    if life.phase.value == "stalled":
        state = "running"
    if not folder.is_on_this_machine and not life.phase.is_ended:
        reason = f"a copy of a run of {manifest.hostname}; only there it is known whether it lives"
    if folder.is_held and not folder.is_live:
        state, reason = "waiting", f"an offline run; `kelt sync {folder.path}` sends it"
    return sidecar_pb2.RunStatus(
        path=plain(folder.path),
        entity=manifest.entity,
        project=manifest.project,
        run_id=manifest.run_id,
        state=state,
        reason=reason,
        durable_records=folder.durable_records,
        committed_records=folder.committed_records,
        bytes=folder.journal.used_bytes,
        state_at=life.at or manifest.started_at,
        problem=plain(
            folder.problem
            or folder.journal_problem
            or folder.incomplete
            or folder.delay
            or folder.artifacts_problem
            or _refused(folder)
        ),
        lost_rows=folder.all_lost_rows,
        upstream=folder.link.url,
        label=manifest.label,
        bounds=run_bounds(folder, config),
    )
