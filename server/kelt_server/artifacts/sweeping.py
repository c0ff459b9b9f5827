"""Takes away what nothing refers to any more, now and then.

What was put, or asked for, within `GRACE_S` stays, because its artifact may be on its way; an
artifact that was begun and not committed within it is given up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import anyio
import anyio.to_thread
import structlog

from kelt_server.artifacts import changes, queries
from kelt_server.artifacts.library import ArtifactLibrary
from kelt_server.artifacts.records import DELETED
from kelt_server.storage_quota import StorageQuota

GRACE_S = 3 * 24 * 3600.0
INTERVAL_S = 3600.0
#: Of artifacts, in one sweep; the next goes on.
_ARTIFACTS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep took away."""

    outlived: int = 0
    given_up: int = 0
    files: int = 0


class Sweeper:
    """Sweeps at the start and every hour."""

    def __init__(
        self,
        *,
        library: ArtifactLibrary,
        quota: StorageQuota,
        clock: Callable[[], float],
        file_clock: Callable[[], float] = time.time,
    ) -> None:
        self._library = library
        self._quota = quota
        self._clock = clock
        self._file_clock = file_clock

    async def run(self) -> None:
        """Until it is cancelled."""
        log = structlog.get_logger("kelt_server.artifacts")
        while True:
            try:
                swept = await anyio.to_thread.run_sync(self.sweep, abandon_on_cancel=True)
                if swept != Swept():
                    log.info("swept artifacts", **asdict(swept))
            except Exception:  # nothing that lies there may end the server
                log.warning("a sweep of artifacts broke off", exc_info=True)
            await anyio.sleep(INTERVAL_S)

    def sweep(self) -> Swept:
        """Once."""
        outlived, given_up = self._end_artifacts()
        before = self._file_clock() - GRACE_S
        files = 0
        for entity, md5s in self._library.blobs.old_blobs(before):
            with self._library.lock:  # nobody commits what is looked at
                with self._library.reading() as connection:
                    wanted = queries.wanted_blobs(connection, entity, md5s)
                for md5 in md5s:
                    if md5 not in wanted:
                        path = self._library.blobs.blob(entity, md5)
                        files += self._library.blobs.remove(path, before=before)
        for manifest_ids in self._library.blobs.old_manifests(before):
            with self._library.lock:
                with self._library.reading() as connection:
                    kept = queries.wanted_manifests(connection, manifest_ids)
                for manifest_id in manifest_ids:
                    if manifest_id not in kept:
                        path = self._library.blobs.manifest(manifest_id)
                        files += self._library.blobs.remove(path, before=before)
        self._quota.measure()
        return Swept(outlived, given_up, files)

    def _end_artifacts(self) -> tuple[int, int]:
        """Ends what has lived long enough, and takes the files of what has ended."""
        now = self._clock()
        with self._library.reading() as connection:
            outlived = queries.outlived(connection, now, _ARTIFACTS_MAX)
            given_up = queries.given_up(connection, now - GRACE_S, _ARTIFACTS_MAX)
        for number in outlived:
            with self._library.lock, self._library.writing() as connection:
                found = queries.artifact(connection, number)
                if found is not None and found.state != DELETED:
                    changes.delete_artifact(connection, found, now)
        for number in given_up:
            with self._library.lock:
                self._library.clear_files(number)
                with self._library.writing() as connection:
                    changes.forget(connection, number)
        with self._library.reading() as connection:
            ended = queries.without_use_for_files(connection, _ARTIFACTS_MAX)
        for number in ended:
            self._library.clear_files(number)
        return len(outlived), len(given_up)
