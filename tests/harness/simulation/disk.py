"""A disk that forgets what was not synced when the power fails, and that fails when told to.

The files lie in a folder of the machine, so that everybody reads them as usual. What was
written since the last good sync is remembered here as it was before, in sectors of 512 bytes; a
power loss puts back any of them. Data whose sync failed stay in doubt for ever, whatever
later syncs say. Names are in doubt until their folder is synced.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import defaultdict
from pathlib import Path

from kelt_daemon.filesystem import RealFilesystem

SECTOR_BYTES = 512


class SimulatedDisk(RealFilesystem):
    def __init__(self, *, rng, now) -> None:
        self._rng = rng
        self._now = now
        self.fails_sync = 0.0
        self.is_full = False
        #: How long work in a thread may take.
        self.pause_s = 0.0
        #: What was met, by kind.
        self.faults = defaultdict(int)
        self._paths: dict[int, Path] = {}
        self._before: dict[Path, list[tuple[int, bytes]]] = defaultdict(list)
        self._spoiled: dict[Path, list[tuple[int, bytes]]] = defaultdict(list)
        self._new: set[Path] = set()
        #: Names removed or replaced and not yet synced, and what they stood for.
        self._old: dict[Path, bytes] = {}

    def create(self, path: Path, size_bytes: int) -> int:
        if self.is_full:
            self.faults["full"] += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fd = super().create(path, size_bytes)
        self._paths[fd] = path
        self._new.add(path)
        return fd

    def write_at(self, fd: int, data: bytes, offset_bytes: int) -> None:
        path = self._paths.get(fd)
        if path is not None:
            first = offset_bytes // SECTOR_BYTES * SECTOR_BYTES
            end = offset_bytes + len(data)
            for start in range(first, end, SECTOR_BYTES):
                self._before[path].append((start, os.pread(fd, SECTOR_BYTES, start)))
        super().write_at(fd, data, offset_bytes)

    def sync(self, fd: int) -> None:
        path = self._paths.get(fd)
        if self._rng.random() < self.fails_sync:
            self.faults["sync"] += 1
            if path is not None:
                self._spoiled[path] += self._before.pop(path, [])
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if path is not None:
            self._before.pop(path, None)
            stamp = int(self._now() * 1e9)
            with contextlib.suppress(FileNotFoundError):
                os.utime(path, ns=(stamp, stamp))

    def sync_file(self, path: Path) -> None:
        if self._rng.random() < self.fails_sync:
            self.faults["sync"] += 1
            self._spoiled[path] += self._before.pop(path, [])
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        self._before.pop(path, None)

    def sync_folder(self, folder: Path) -> None:
        if self._rng.random() < self.fails_sync:
            self.faults["sync"] += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._new = {path for path in self._new if path.parent != folder}
        self._old = {path: old for path, old in self._old.items() if path.parent != folder}

    def unlink(self, path: Path) -> None:
        self._keep(path)
        super().unlink(path)

    def rename(self, source: Path, target: Path) -> None:
        self._keep(target)
        source.replace(target)
        self._before[target] = self._before.pop(source, [])
        self._spoiled[target] = self._spoiled.pop(source, [])
        self._new.discard(source)
        if target not in self._old:
            self._new.add(target)

    def _keep(self, path: Path) -> None:
        if path in self._new or path in self._old:
            return
        with contextlib.suppress(FileNotFoundError):
            self._old[path] = path.read_bytes()

    def close(self, fd: int) -> None:
        self._paths.pop(fd, None)
        super().close(fd)

    def forget_process(self) -> None:
        """The process that had the files open is gone; the kernel still has its writes."""
        for fd in list(self._paths):
            os.close(fd)
        self._paths.clear()

    def lose_power(self) -> None:
        """Only what was synced is certain; of the rest any part is there."""
        self.forget_process()
        chance = self._rng.choice((0.0, 0.5, 1.0, 1.0))
        for doubtful in (self._before, self._spoiled):
            for path, sectors in doubtful.items():
                if not path.exists():
                    continue
                with path.open("r+b") as file:
                    for start, before in reversed(sectors):
                        if self._rng.random() < chance:
                            file.seek(start)
                            file.write(before)
        for path in sorted(self._new):
            if self._rng.random() < chance:
                path.unlink(missing_ok=True)
        for path, contents in sorted(self._old.items()):
            if self._rng.random() < chance and path.parent.exists():
                path.write_bytes(contents)
        self._before.clear()
        self._spoiled.clear()
        self._new.clear()
        self._old.clear()
