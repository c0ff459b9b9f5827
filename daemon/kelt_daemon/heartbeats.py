"""Tells upstreams which writers live, and hears which are to stop, whether or not rows flow."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kelt_daemon.config import DaemonConfig
from kelt_daemon.cursor_saving import save_cursors
from kelt_daemon.errors import UpstreamError
from kelt_daemon.links import UpstreamLink
from kelt_daemon.liveness import Phase
from kelt_daemon.run_folders import RunFolder


async def beat_for(
    link: UpstreamLink,
    *,
    folders: Callable[[], Iterable[RunFolder]],
    config: DaemonConfig,
) -> None:
    """Reports the live writers of one upstream, at even intervals and on every connection."""
    while True:
        beats = living(folders(), link)
        if beats and link.is_ready:
            stopped = await _report(link, beats, config)
            for folder in folders() if stopped else ():
                if folder.writer_id in stopped and not folder.must_stop:
                    folder.must_stop = True
                    save_cursors(folder)  # where a writer without a stream finds it
                    folder.changed.notify()
        await link.changed.wait_at_most(config.heartbeat_interval_s)


def living(folders: Iterable[RunFolder], link: UpstreamLink) -> list[tuple[bytes, bool]]:
    """The writers that live and are sent to this upstream, and whether they are stalled."""
    return [
        (folder.writer_id, folder.life.phase is Phase.STALLED)
        for folder in folders
        if folder.link is link and folder.is_live and not folder.is_held
    ]


async def _report(
    link: UpstreamLink, beats: list[tuple[bytes, bool]], config: DaemonConfig
) -> set[bytes]:
    connection, stopped = link.connection, set[bytes]()
    try:
        for start in range(0, len(beats), config.beats_per_request_max):
            some = beats[start : start + config.beats_per_request_max]
            stopped.update(await link.upstream.heartbeat(some))
    except UpstreamError as error:
        link.failed(error, connection=connection)
    else:
        link.succeeded()
    return stopped
