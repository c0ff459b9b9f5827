"""Asking an upstream, after each connection, whether it still has what it had committed.

It may be another server than before, or the same one restored from a backup, which nobody would
notice from pushes alone: a run that is over pushes nothing. What this host still holds of what is
gone there is sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import structlog

from kelt_daemon.config import DaemonConfig
from kelt_daemon.errors import UpstreamError
from kelt_daemon.links import UpstreamLink
from kelt_daemon.run_folders import RunFolder

log = structlog.get_logger()
_FOLDERS_PER_QUESTION = 1000


async def recheck_for(
    link: UpstreamLink,
    *,
    folders: Callable[[], Iterable[RunFolder]],
    activate: Callable[[RunFolder], None],
    config: DaemonConfig,
) -> None:
    """Compares on every connection; ends by cancellation.

    Args:
        link: the upstream.
        folders: all run folders.
        activate: has a folder minded again.
        config: intervals.
    """
    compared: dict[RunFolder, int] = {}
    while True:
        connection = link.connection
        wanted = [f for f in _comparable(folders(), link) if compared.get(f) != connection]
        if wanted and link.is_ready:
            try:
                for some in _chunks(wanted):
                    await _compare(link, some, activate)
                    compared.update(dict.fromkeys(some, connection))
            except UpstreamError as error:
                link.failed(error, connection=connection)
        # Folders that were adopted meanwhile have their turn then.
        await link.changed.wait_at_most(config.backoff_s_max)


def _comparable(folders: Iterable[RunFolder], link: UpstreamLink) -> list[RunFolder]:
    """Those of which something was committed and something could be sent again."""
    return [
        folder
        for folder in folders
        if folder.link is link
        and folder.committed_records
        and (folder.journal.segments or not folder.is_over)
    ]


def _chunks(folders: Sequence[RunFolder]) -> Iterator[Sequence[RunFolder]]:
    for start in range(0, len(folders), _FOLDERS_PER_QUESTION):
        yield folders[start : start + _FOLDERS_PER_QUESTION]


async def _compare(
    link: UpstreamLink, folders: Sequence[RunFolder], activate: Callable[[RunFolder], None]
) -> None:
    # What is committed while the answer is on its way is no sign of a loss.
    before = [{w: c.committed for w, c in folder.writers.items()} for folder in folders]
    answer = await link.upstream.cursors([writer for known in before for writer in known])
    link.succeeded()
    for folder, known in zip(folders, before, strict=True):
        now = {writer: answer.get(writer, 0) for writer in known}
        if folder.link is link and any(now[writer] < known[writer] for writer in known):
            log.warning("upstream_lost_records", folder=folder.path.name, upstream=link.url)
            folder.replace_committed(link.info.server_id if link.info else "", now)
            activate(folder)
