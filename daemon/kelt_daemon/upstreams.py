"""Which adapter speaks to the upstream at an address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from functools import partial

from kelt.wandb_upstream import is_wandb
from kelt_daemon.config import DaemonConfig
from kelt_daemon.run_folders import RunFolder
from kelt_daemon.upstream import Upstream
from kelt_daemon.upstream.kelt_server import KeltServer
from kelt_daemon.upstream.wandb.file_room import FileRoom
from kelt_daemon.upstream.wandb.ordering import QueuedRun


def upstream_for(
    url: str,
    *,
    config: DaemonConfig,
    folders: Callable[[], Iterable[RunFolder]],
    rescan: Callable[[], Awaitable[None]],
    room: FileRoom,
) -> Upstream:
    """Speaks to the server at an address.

    Args:
        url: `http(s)://…` of a kelt server, `wandb+http(s)://…` of a W&B server.
        config: deadlines and limits.
        folders: all run folders, of which those that go there are looked at.
        rescan: adds those that were made since the last look.
        room: for files on their way to W&B servers.
    """
    if not is_wandb(url):
        return KeltServer(url=url, config=config)
    # Few daemons need it, and what it stands on stays in memory.
    from kelt_daemon.upstream.wandb.wandb_server import WandbServer  # noqa: PLC0415

    queue = _FolderQueue(url=url, folders=folders)
    return WandbServer(url=url, config=config, queue=queue, look=rescan, room=room)


class _FolderQueue:
    """As a `RunQueue`."""

    def __init__(self, *, url: str, folders: Callable[[], Iterable[RunFolder]]) -> None:
        self._url = url
        self._folders = folders

    def __iter__(self) -> Iterator[QueuedRun]:
        return (_queued(folder) for folder in self._going())

    def of(self, writer_ids: Collection[bytes]) -> list[QueuedRun]:
        """As in `RunQueue`."""
        wanted = frozenset(writer_ids)
        return [_queued(f) for f in self._going() if not wanted.isdisjoint(_writers(f))]

    def _going(self) -> list[RunFolder]:
        return [folder for folder in self._folders() if folder.link.url == self._url]


def _writers(folder: RunFolder) -> frozenset[bytes]:
    return frozenset((*folder.writers, folder.writer_id, folder.witness_id))


def _queued(folder: RunFolder) -> QueuedRun:
    manifest = folder.manifest
    return QueuedRun(
        writer_id=folder.writer_id,
        writers=_writers(folder),
        folder=folder.path,
        home=folder.home,
        entity=manifest.entity,
        project=manifest.project,
        run_id=manifest.run_id,
        branch_id=manifest.branch_id,
        started_at=manifest.started_at,
        is_through=folder.is_over and folder.has_records_committed,
        has_artifacts=folder.artifacts_waiting > 0,
        is_held=folder.is_held,
        problem=folder.problem,
        hurry=partial(_hurry, folder),
        nudge=folder.nudged.notify,
    )


def _hurry(folder: RunFolder) -> None:
    folder.is_awaited = True
    folder.changed.notify()
