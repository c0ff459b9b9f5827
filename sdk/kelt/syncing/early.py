"""Asks the daemon for run folders that are still being made, so that they are sent meanwhile.

Nothing depends on it: the sync asks for the same folders again, once they are whole. What it learns
is what the upstream had of them before, which nobody can tell afterwards.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kelt.errors import KeltError
from kelt.settings import Settings

if TYPE_CHECKING:
    from kelt.sidecar_client import SidecarClient


class EarlySending:
    """Asks for one folder at a time, in a thread; the daemon goes on with those before it.

    Args:
        settings: where the daemon is.
        upstream: where to send them, whatever they name; empty: as they say.
    """

    def __init__(self, *, settings: Settings, upstream: str) -> None:
        self._settings = settings
        self._upstream = upstream
        self._lock = threading.Lock()
        self._had: dict[str, int] = {}
        self._client: SidecarClient | None = None
        self._number = 0

    @property
    def had(self) -> Mapping[str, int]:
        """What `close` would return now."""
        with self._lock:
            return dict(self._had)

    def begin(self, folder: Path) -> None:
        """Has a folder sent that grows. Returns at once; what fails is told by the sync itself."""
        number = self._end()
        threading.Thread(
            target=self._ask, args=(folder, number), name="kelt-sync-early", daemon=True
        ).start()

    def close(self) -> Mapping[str, int]:
        """Asks no more; what was asked for goes on.

        Returns:
            By folder, how many records the upstream had before, as far as that was learnt since the
            last time.
        """
        self._end()
        with self._lock:
            had, self._had = self._had, {}
        return had

    def _end(self) -> int:
        with self._lock:
            self._number += 1
            client, self._client = self._client, None
            number = self._number
        if client is not None:
            client.close()
        return number

    def _ask(self, folder: Path, number: int) -> None:
        from kelt.launcher import ensure_daemon  # noqa: PLC0415 # starts processes
        from kelt.sidecar_client import SidecarClient  # noqa: PLC0415 # loads gRPC

        # Closing the client under the call, from another thread, ends it in one way or another.
        with contextlib.suppress(KeltError, OSError, ValueError):
            place = ensure_daemon(self._settings)
            with SidecarClient(socket=place.socket) as client:
                with self._lock:
                    if self._number != number:
                        return
                    self._client = client
                self._follow(client, folder)

    def _follow(self, client: SidecarClient, folder: Path) -> None:
        settings = self._settings
        client.hello(
            upstream=self._upstream or settings.upstream,
            api_key=settings.api_key,
            ca_file=settings.ca_file,
            proxy=settings.proxy,
        )
        for reply in client.sync(paths=[folder], retry_now=True, upstream=self._upstream):
            for run in reply.folders:
                # While it has all that was read so far it may have more of it.
                if run.is_confirmed and (not run.committed or run.skipped < run.committed):
                    with self._lock:
                        self._had[run.path] = run.skipped
                    return
