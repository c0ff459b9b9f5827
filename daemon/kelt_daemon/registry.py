"""All run folders and upstreams that the daemon knows, and the tasks that mind them.

A folder is adopted once, by its resolved path. It is *active* while a keeper and a shipper mind
it; once it is over and everything committed it costs nothing but its place here, until new files
appear in it or its upstream turns out to be another server.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import anyio
import anyio.abc
import structlog

from kelt.run_folder import MANIFEST_NAME
from kelt_daemon.commit import GroupCommitter
from kelt_daemon.config import DaemonConfig
from kelt_daemon.cursors import release, spool_signature
from kelt_daemon.errors import DaemonError, FolderProblemError
from kelt_daemon.filesystem import Filesystem
from kelt_daemon.folder_loading import checked_manifest, load_folder
from kelt_daemon.heartbeats import beat_for
from kelt_daemon.host import Host
from kelt_daemon.keeper import Keeper
from kelt_daemon.links import LinkState, UpstreamLink
from kelt_daemon.run_folders import RunFolder
from kelt_daemon.shipper import Shipper
from kelt_daemon.spool_import import has_spool
from kelt_daemon.upstream import Upstream

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
        self.links: dict[str, UpstreamLink] = {}
        self._tasks = tasks
        self._committer = committer
        self._config = config
        self._filesystem = filesystem
        self._make_upstream = make_upstream
        self._started: set[str] = set()
        self._active: set[RunFolder] = set()
        self._signatures: dict[RunFolder, tuple[tuple[str, int, int], ...]] = {}
        self._loading: dict[Path, anyio.Event] = {}
        self._keys: dict[str, str] = {}

    # -- upstreams -------------------------------------------------------------------------------

    def link(self, url: str) -> UpstreamLink:
        """The relation to an upstream; it is connected once something needs it."""
        if url not in self.links:
            link = UpstreamLink(
                url=url,
                upstream=self._make_upstream(url),
                config=self._config,
                backlog=partial(self.backlog_records, url),
                now=self.host.now,
                chance=self.host.chance,
            )
            link.take_key(self._keys.get(url, ""))
            self.links[url] = link
        return self.links[url]

    def keep_key(self, url: str, api_key: str) -> None:
        """The key that is used for an upstream until a caller gives another."""
        self._keys[url] = api_key

    def connected_link(self, url: str) -> UpstreamLink:
        """As `link`, and its connection is kept from now on."""
        link = self.link(url)
        if url not in self._started:
            self._started.add(url)
            self._tasks.start_soon(link.run)
            self._tasks.start_soon(self._notice_other_server, link)
            self._tasks.start_soon(
                partial(beat_for, link, folders=self.folders.values, config=self._config)
            )
        return link

    async def _notice_other_server(self, link: UpstreamLink) -> None:
        while True:
            await link.changed.wait()
            info = link.info
            if link.report.state is not LinkState.REACHABLE or info is None:
                continue
            for folder in list(self.folders.values()):
                known = folder.cursors.server_id
                if folder.link is not link or known in {"", info.server_id}:
                    continue
                if folder in self._active or folder.journal.segments:
                    log.warning("other_server", folder=folder.path.name, upstream=link.url)
                    folder.replace_committed("", {})
                    self.activate(folder)

    def backlog_records(self, url: str) -> int:
        """Records on this host that an upstream lacks."""
        return sum(
            folder.durable_records - folder.committed_records
            for folder in self.folders.values()
            if folder.link.url == url and not folder.is_held
        )

    # -- folders ---------------------------------------------------------------------------------

    async def adopt(self, path: Path) -> RunFolder:
        """Takes a run folder under care, reading it on first sight.

        Raises:
            FolderProblemError: it cannot be used; it is parked.
        """
        resolved = await self.host.in_thread(path.resolve)
        while (loading := self._loading.get(resolved)) is not None:
            await loading.wait()
        if (known := self.folders.get(resolved)) is not None:
            return known
        loading = self._loading[resolved] = anyio.Event()
        try:
            folder = await self._load(resolved)
        finally:
            del self._loading[resolved]
            loading.set()
        await self.host.in_thread(self._keep_link, resolved)
        self.activate(folder)
        return folder

    async def _load(self, resolved: Path) -> RunFolder:
        try:
            manifest = await self.host.in_thread(checked_manifest, resolved)
            load = partial(
                load_folder,
                resolved,
                manifest,
                host=self.host,
                config=self._config,
                filesystem=self._filesystem,
                link=self.link(manifest.upstream.rstrip("/")),
            )
            folder = await self.host.in_thread(load)
        except FolderProblemError as error:
            if (resolved / MANIFEST_NAME).exists():  # one look, on failure
                self._park(resolved, str(error))
            raise
        self.parked.pop(resolved, None)
        self.folders[resolved] = folder
        return folder

    def _keep_link(self, resolved: Path) -> None:
        """A folder that lies elsewhere is found again, after a restart, by a link."""
        if resolved.parent == self.runs.resolve():
            return
        for path in self.runs.iterdir():
            if path.is_symlink() and path.resolve() == resolved:
                return
        name, number = resolved.name, 1
        while os.path.lexists(self.runs / name):
            number += 1
            name = f"{resolved.name}-{number}"
        (self.runs / name).symlink_to(resolved)

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
        if not (folder.is_over and folder.is_committed):
            self.activate(folder)

    async def _mind(self, folder: RunFolder) -> None:
        """The tasks of one folder; what fails in them parks the folder and nothing else."""
        keeper = Keeper(
            folder=folder, committer=self._committer, host=self.host, config=self._config
        )
        shipper = Shipper(folder=folder, host=self.host, config=self._config)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(keeper.run)
                group.start_soon(self._ship, folder, shipper)
        except Exception as error:  # law 3: no folder harms another, whatever is wrong with it
            reason = _sentence_of(error, folder.path)
            log.exception("folder_failed", folder=str(folder.path), reason=reason)
            folder.problem = reason
            folder.is_live = False
            folder.changed.notify()
        finally:
            self._signatures[folder] = spool_signature(folder.path)
            self._active.discard(folder)

    async def _ship(self, folder: RunFolder, shipper: Shipper) -> None:
        while folder.is_held and not folder.is_over:
            await folder.changed.wait()
        if folder.is_held and not folder.pending:
            return
        if not folder.is_over or not folder.is_committed:
            self.connected_link(folder.link.url)
        await shipper.run()

    def release(self, folder: RunFolder) -> None:
        """Somebody asked for this folder: send it, and try what failed again.

        Raises:
            OSError: that cannot be remembered.
        """
        if folder.is_held:
            release(folder.path)
            folder.is_released = True
        folder.problem = ""
        folder.changed.notify()
        folder.nudged.notify()
        self.activate(folder)

    # -- discovery -------------------------------------------------------------------------------

    async def rescan(self) -> None:
        """Adopts new folders, and looks again at those that were thought finished."""
        found = await self.host.in_thread(self._list)
        for path in found:
            if path in self.parked:
                continue
            if (folder := self.folders.get(path)) is None:
                try:
                    await self.adopt(path)
                except DaemonError:
                    continue  # parked, with its reason
                except Exception as error:  # noqa: BLE001 # law 3: whatever lies there
                    self._park(path, _sentence_of(error, path))
            elif folder not in self._active and self._signatures.get(folder) is not None:
                await self._look_again(folder)

    async def _look_again(self, folder: RunFolder) -> None:
        signature = await self.host.in_thread(spool_signature, folder.path)
        if signature != self._signatures[folder] and has_spool(folder.path) and not folder.problem:
            self.activate(folder)

    def _list(self) -> list[Path]:
        """The run folders, in the order of their names: sessions in the order of time."""
        found: list[Path] = []
        try:
            entries = sorted(self.runs.iterdir())
        except OSError as error:
            log.warning("runs_unreadable", folder=str(self.runs), reason=str(error))
            return []
        for path in entries:
            try:
                if (path / MANIFEST_NAME).exists():
                    found.append(path.resolve())
            except OSError as error:
                self._park(path, _sentence_of(error, path))
        return found

    # -- what others ask -------------------------------------------------------------------------

    @property
    def is_anyone_live(self) -> bool:
        """Whether a writer lives."""
        return any(folder.is_live for folder in self.folders.values())

    @property
    def has_backlog(self) -> bool:
        """Whether something waits for an upstream."""
        return any(
            not folder.is_held and not folder.is_committed for folder in self.folders.values()
        )

    def settled(self) -> Iterator[RunFolder]:
        """Folders that nobody minds, because nothing is left to do."""
        return (folder for folder in self.folders.values() if folder not in self._active)


def _sentence_of(error: BaseException, path: Path) -> str:
    while isinstance(error, BaseException) and getattr(error, "exceptions", None):
        error = error.exceptions[0]  # type: ignore[attr-defined] # a group of task errors
    if isinstance(error, OSError):
        return (
            f"{path} cannot be used ({error.strerror or error}); mend that, then run `kelt sync`."
        )
    return (
        f"{path} could not be handled ({type(error).__name__}: {error}); nothing was deleted. "
        "Run `kelt sync` to try again."
    )
