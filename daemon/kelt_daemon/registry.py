"""All run folders that the daemon knows, and which of them are minded.

A folder is adopted once, by its resolved path. It is *active* while it is minded (`minding`); once
it is over and everything committed it costs nothing but its place here, until new files appear in
it or its upstream turns out to be another server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import anyio
import anyio.abc
import structlog

from kelt.artifacts.staging import STAGING_NAME
from kelt.artifacts.staging import sweep as sweep_staging
from kelt.replays import REPLAYS_NAME, home_of, read_destination
from kelt.run_folder import MANIFEST_NAME
from kelt_daemon.bounds import host_bounds
from kelt_daemon.commit import GroupCommitter
from kelt_daemon.config import DaemonConfig
from kelt_daemon.cursor_saving import save_cursors
from kelt_daemon.cursors import release
from kelt_daemon.errors import DaemonError, FolderProblemError, cause_of, sentence_of
from kelt_daemon.filesystem import Filesystem
from kelt_daemon.folder_loading import checked_manifest, load_folder
from kelt_daemon.homes import sweep, write_destination
from kelt_daemon.host import Host
from kelt_daemon.link_table import LinkTable
from kelt_daemon.minding import Minder
from kelt_daemon.paths import own_folder
from kelt_daemon.retry import Retries
from kelt_daemon.run_folders import RunFolder
from kelt_daemon.run_scan import (
    Signature,
    find_run_folders,
    gone,
    grown,
    link_into,
    signature_if_done,
    signature_of,
)
from kelt_daemon.upstream import Upstream
from kelt_proto.v1.sidecar_pb2 import BoundUse

log = structlog.get_logger()


class Registry:
    """What the daemon minds.

    Args:
        tasks: the daemon's task group.
        runs: the folder of run folders.
        committer: makes journals durable.
        host: this machine.
        config: bounds and intervals.
        filesystem: the disk.
        make_upstream: speaks to the server at an address.
    """

    def __init__(
        self,
        *,
        tasks: anyio.abc.TaskGroup,
        runs: Path,
        committer: GroupCommitter,
        host: Host,
        config: DaemonConfig,
        filesystem: Filesystem,
        make_upstream: Callable[[str], Upstream],
    ) -> None:
        self.runs = runs
        self.host = host
        self.folders: dict[Path, RunFolder] = {}
        #: Folders that cannot be used, and why.
        self.parked: dict[Path, str] = {}
        self.links = LinkTable(
            tasks=tasks,
            folders=self.folders.values,
            activate=self.activate,
            host=host,
            config=config,
            make_upstream=make_upstream,
        )
        self._tasks = tasks
        self._committer = committer
        self._config = config
        self._filesystem = filesystem
        self._active: set[RunFolder] = set()
        self._signatures: dict[RunFolder, Signature] = {}
        self._loading: dict[Path, anyio.Event] = {}
        #: Parked folders that time may mend.
        self._retries: Retries[Path] = Retries(
            min_s=config.broken_retry_s_min, max_s=config.broken_retry_s_max
        )
        self._minder = Minder(
            committer=committer, host=host, config=config, connect=self.links.connected
        )
        self._is_swept = False

    # -- folders ---------------------------------------------------------------------------------

    async def adopt(self, path: Path, *, is_asked: bool = False) -> RunFolder:
        """Takes a run folder under care, reading it on first sight.

        Args:
            path: of the folder.
            is_asked: somebody asked for it, and will have it released once others are adopted too:
                what its upstream had is what it answers first, as a copy is sent at once.

        Raises:
            FolderProblemError: it cannot be used; it is parked.
        """
        resolved = await self.host.in_thread(own_folder, path)
        while (loading := self._loading.get(resolved)) is not None:
            await loading.wait()
        if (known := self.folders.get(resolved)) is not None:
            # Unless it was only noticed, by who looks for new folders, while it was being loaded.
            known.is_asked = known.is_asked and not is_asked
            return known
        loading = self._loading[resolved] = anyio.Event()
        try:
            folder = await self._load(resolved)
            folder.is_asked = folder.is_unconfirmed = is_asked
        finally:
            del self._loading[resolved]
            loading.set()
        done: Signature | None = None
        try:
            with anyio.CancelScope(shield=True):
                await self.host.in_thread(link_into, self.runs, resolved)
                done = await self.host.in_thread(signature_if_done, folder)
        finally:  # whatever becomes of the link or the caller: nobody else would have it minded
            if done is None:
                self.activate(folder)
            else:
                self._leave(folder, done)
        return folder

    def _leave(self, folder: RunFolder, signature: Signature) -> None:
        """Does not mind a folder in which nothing is left to do, unless its upstream lost it."""
        folder.is_over = True
        self._signatures[folder] = signature
        self.links.connected(folder.link.url)

    async def _load(self, resolved: Path) -> RunFolder:
        try:
            manifest = await self.host.in_thread(checked_manifest, resolved)
            home = home_of(
                resolved,
                manifest,
                machine_id=self.host.machine_id,
                replays=self.runs.with_name(REPLAYS_NAME),
            )
            destination = await self.host.in_thread(read_destination, home)
            load = partial(
                load_folder,
                resolved,
                manifest,
                home=home,
                host=self.host,
                config=self._config,
                filesystem=self._filesystem,
                usage=self._committer.quota.usage,
                link=self.links.of((destination or manifest.upstream).rstrip("/")),
            )
            folder = await self.host.in_thread(load)
        except FolderProblemError as error:
            if (resolved / MANIFEST_NAME).exists():  # one look, on failure
                self._park(resolved, str(error))
                if error.is_temporary:
                    self._retries.failed(resolved, now_s=anyio.current_time())
            raise
        self.parked.pop(resolved, None)
        self._retries.forget(resolved)
        self.folders[resolved] = folder
        return folder

    def _park(self, path: Path, reason: str) -> None:
        if self.parked.get(path) != reason:
            log.warning("folder_parked", folder=str(path), reason=reason)
        self.parked[path] = reason

    def activate(self, folder: RunFolder) -> None:
        """Has a folder minded, unless it is already."""
        if folder in self._active:
            return
        self._active.add(folder)
        folder.is_over = False
        self._tasks.start_soon(self._mind, folder)

    def activate_if_needed(self, folder: RunFolder) -> None:
        """Has a folder minded again that was released as its tasks were ending."""
        if not (folder.is_over and folder.is_committed) or folder.is_unconfirmed:
            self.activate(folder)

    async def _mind(self, folder: RunFolder) -> None:
        """Minds a folder; what fails in it parks the folder and nothing else."""
        try:
            await self._minder.mind(folder)
        except Exception as error:  # law 3: no folder harms another, whatever is wrong with it
            reason = sentence_of(error, folder.path)
            log.exception("folder_failed", folder=str(folder.path), reason=reason)
            folder.problem = reason
            folder.is_live = False
            if isinstance(cause_of(error), OSError):
                self._retries.failed(folder.path, now_s=anyio.current_time())
            folder.changed.notify()
        # Of a copy what was read, as more of it may have come while it was being sent.
        now = await self.host.in_thread(signature_of, folder.path)
        self._signatures[folder] = now if folder.copied is None else folder.copied
        self._active.discard(folder)
        # What the upstream turned out to have lost as the tasks were ending is sent again, and so
        # are artifacts where the folder was released then; and where somebody wanted to know
        # meanwhile, it is asked.
        is_wanted = folder.has_unshipped or folder.is_unconfirmed or folder.artifacts_waiting
        if is_wanted and not (folder.problem or folder.is_held):
            self.activate(folder)

    async def send_to(self, folder: RunFolder, url: str) -> None:
        """Has a folder sent to another upstream from now on, from its first record on.

        What the one before has committed says nothing of this one, which is asked.

        Raises:
            OSError: that cannot be remembered.
        """
        if url == folder.link.url:
            return
        folder.link = self.links.of(url)
        folder.is_asked = False
        folder.replace_committed("", {}, is_answer=False)
        folder.artifact_news.notify()
        self._minder.sent_elsewhere(folder)
        await self.host.in_thread(save_cursors, folder)
        await self.host.in_thread(write_destination, folder.home, url)

    def release(self, folder: RunFolder) -> None:
        """Somebody asked for this folder: send it, and try what failed again.

        Raises:
            OSError: that cannot be remembered.
        """
        if folder.is_held:
            release(folder.path)
            folder.is_released = True
        folder.problem = ""
        folder.is_unconfirmed = folder.is_unconfirmed or not folder.is_asked
        folder.is_asked = False
        folder.changed.notify()
        folder.nudged.notify()
        self.activate(folder)

    # -- discovery -------------------------------------------------------------------------------

    async def rescan(self) -> None:
        """Adopts new folders, and looks again at those that were thought finished."""
        if not self._is_swept:
            self._is_swept = True
            await self.host.in_thread(sweep, self.runs.with_name(REPLAYS_NAME))
            await self.host.in_thread(sweep_staging, self.runs.with_name(STAGING_NAME))
        try:
            found, problems = await self.host.in_thread(find_run_folders, self.runs)
            removed = await self.host.in_thread(gone, tuple(self.parked))
        except OSError as error:
            log.warning("runs_unreadable", folder=str(self.runs), reason=str(error))
            return
        for path, reason in problems.items():
            self._park(path, reason)
        for path in removed:
            self.parked.pop(path, None)
            self._retries.forget(path)
        for path in found:
            if path not in self.parked or self._retries.take(path, now_s=anyio.current_time()):
                await self._look_at(path)
        settled = [
            (folder, self._signatures[folder])
            for path in found
            if (folder := self.folders.get(path)) is not None
            and folder in self._signatures
            and not (folder in self._active or folder.problem)
        ]
        look = partial(grown, settled, missing_settle_s=self._config.missing_settle_s)
        for folder in await self.host.in_thread(look, anyio.current_time()):
            self.activate(folder)

    async def _look_at(self, path: Path) -> None:
        """Adopts a folder that is new, and tries again what failed."""
        folder = self.folders.get(path)
        if folder is None:
            try:
                await self.adopt(path)
            except DaemonError:
                pass  # parked, with its reason
            except Exception as error:  # noqa: BLE001 # law 3: whatever lies there
                self._park(path, sentence_of(error, path))
        elif folder not in self._active and self._retries.take(path, now_s=anyio.current_time()):
            folder.problem = ""
            self.activate(folder)

    # -- what others ask -------------------------------------------------------------------------

    @property
    def is_anyone_live(self) -> bool:
        """Whether a writer lives."""
        return any(folder.is_live for folder in self.folders.values())

    @property
    def has_backlog(self) -> bool:
        """Whether something waits for an upstream."""
        return any(not (f.is_held or f.is_committed) for f in self.folders.values())

    @property
    def bounds(self) -> list[BoundUse]:
        """How full everything is that all runs share."""
        return host_bounds(self.folders.values(), self._committer, self._config)

    def settled(self) -> Iterator[RunFolder]:
        """Folders that nobody minds, because nothing is left to do."""
        return (folder for folder in self.folders.values() if folder not in self._active)
