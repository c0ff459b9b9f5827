"""A disk that fails when it is told to, and that knows what would survive a power loss."""

from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path

from kelt_daemon.filesystem import RealFilesystem


class FaultyFilesystem(RealFilesystem):
    """The real disk, but the n-th call of a kind fails as planned.

    `durable` holds, for each file, its bytes as of the last sync that worked: after a failed one
    nothing written since the last good one counts, whatever later syncs say.
    """

    def __init__(self) -> None:
        self.plan: dict[tuple[str, int], int] = {}
        self.counts: Counter[str] = Counter()
        self.is_full = False
        self.durable: dict[Path, bytes] = {}
        self.spoiled: set[Path] = set()
        self._paths: dict[int, Path] = {}

    def fail(self, call: str, nth: int, error: int = errno.EIO) -> None:
        """The nth call from now on fails."""
        self.plan[call, self.counts[call] + nth] = error

    def _step(self, call: str) -> None:
        self.counts[call] += 1
        error = self.plan.pop((call, self.counts[call]), None)
        if error is not None:
            raise OSError(error, os.strerror(error))

    def create(self, path: Path, size_bytes: int) -> int:
        self._step("create")
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fd = super().create(path, size_bytes)
        self._paths[fd] = path
        return fd

    def write_at(self, fd: int, data: bytes, offset_bytes: int) -> None:
        self._step("write")
        super().write_at(fd, data, offset_bytes)

    def sync(self, fd: int) -> None:
        path = self._paths[fd]
        try:
            self._step("sync")
        except OSError:
            self.spoiled.add(path)
            raise
        assert path not in self.spoiled, "a file was synced again after its sync failed"
        super().sync(fd)
        self.durable[path] = path.read_bytes()

    def sync_folder(self, folder: Path) -> None:
        self._step("sync_folder")
        super().sync_folder(folder)

    def close(self, fd: int) -> None:
        del self._paths[fd]  # before another thread may be given the number
        super().close(fd)

    def lose_power(self) -> None:
        """Leaves of each file what was synced, and of files that never were, nothing."""
        for path in list(self._paths.values()) + list(self.durable):
            if path.exists():
                path.write_bytes(self.durable.get(path, b""))
