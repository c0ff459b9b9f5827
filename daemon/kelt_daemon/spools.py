"""Finding run folders: a watch on the folder of runs as a hint, and a rescan as the truth."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import structlog
from watchfiles import awatch

from kelt_daemon.signals import Signal

log = structlog.get_logger()
_RUST_TIMEOUT_MS = 500
_DEBOUNCE_MS = 100


class Discovery:
    """Calls `rescan` when something appeared, and every few seconds in any case.

    Args:
        runs: the folder of run folders.
        rescan: looks for new ones.
        interval_s: how long a lost event can go unnoticed.
        watches: whether the system is asked for events at all.
    """

    def __init__(
        self,
        *,
        runs: Path,
        rescan: Callable[[], Awaitable[None]],
        interval_s: float,
        watches: bool = True,
    ) -> None:
        self._runs = runs
        self._rescan = rescan
        self._interval_s = interval_s
        self._watches = watches
        self._hint = Signal()
        # Set before cancelling: a watch that is only cancelled takes seconds to end.
        self._stop = anyio.Event()

    async def run(self) -> None:
        """Until `stop`."""
        async with anyio.create_task_group() as group:
            if self._watches:
                group.start_soon(self._watch)
            while not self._stop.is_set():
                await self._rescan()
                await self._hint.wait_at_most(self._interval_s)

    def stop(self) -> None:
        """Ends the watch."""
        self._stop.set()
        self._hint.notify()

    async def _watch(self) -> None:
        try:
            async for _ in awatch(
                self._runs,
                watch_filter=None,
                stop_event=self._stop,
                rust_timeout=_RUST_TIMEOUT_MS,
                debounce=_DEBOUNCE_MS,
                step=_DEBOUNCE_MS,
                recursive=False,
            ):
                self._hint.notify()
        except Exception as error:  # noqa: BLE001 # law 3: names on a disk that are no text, too
            # Out of watches, or a filesystem without: the rescan finds everything, later.
            log.warning("watch_failed", folder=str(self._runs), reason=repr(error))
