"""A disk in memory that knows what was synced, and whose power can be cut at any time.

After a cut each file has what was synced last. Of what was written since then any part may be
there, in sectors of 512 bytes: nothing, all, the beginning, or any of them; a sector may also hold
an old block of another file. Changes of length are kept in their order. Names made, removed or given
since their folder was synced are kept or lost one by one, a rename as one. Data whose sync failed
stay in doubt for ever, and syncing the same file again is an error of whoever does it.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

SECTOR_BYTES = 512


@dataclass
class Inode:
    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    #: Since the last sync: (offset, bytes), or (-1, length) for a change of length.
    pending: list[tuple[int, bytes | int]] = field(default_factory=list)
    is_spoiled: bool = False

    def resize(self, size_bytes: int) -> None:
        if size_bytes < len(self.data):
            del self.data[size_bytes:]
        else:
            self.data.extend(bytes(size_bytes - len(self.data)))
        self.pending.append((-1, size_bytes))

    def survives(self, rng: Random, stale: Callable[[int], bytes]) -> bytes:  # noqa: C901 # one loop
        """What a cut of the power leaves of it."""
        if not self.pending:
            return self.synced
        mode = rng.randrange(5)  # nothing, all, the beginning, any of them, any and old blocks
        if mode == 0:
            return self.synced
        if mode == 1:
            return bytes(self.data)
        left = bytearray(self.synced)
        kept_until = rng.randrange(len(self.pending) + 1)
        for index, (offset, what) in enumerate(self.pending):
            if isinstance(what, int):
                if index < kept_until or mode > 2:
                    left = left[:what].ljust(what, b"\0")
                continue
            end = offset + len(what)
            for start in range(offset - offset % SECTOR_BYTES, end, SECTOR_BYTES):
                low, high = max(start, offset), min(start + SECTOR_BYTES, end, len(left))
                if mode == 2 and (
                    index > kept_until or (index == kept_until and rng.random() < 0.5)
                ):
                    return bytes(left)
                if low < high and (mode == 2 or rng.random() < 0.5):
                    left[low:high] = what[low - offset : high - offset]
                elif low < high and mode == 4 and rng.random() < 0.2:
                    block = stale(low)[: high - low]
                    left[low : low + len(block)] = block
        return bytes(left)


class CrashFilesystem:
    """Implements `kelt_daemon.filesystem.Filesystem`. `on_step` is called after each change."""

    def __init__(self) -> None:
        self.names_of: dict[str, dict[str, Inode]] = {}
        #: Names as they were synced, and what was done to them since: (folder, changes).
        self._synced_names: dict[str, dict[str, Inode]] = {}
        self._pending_names: list[tuple[str, dict[str, Inode | None]]] = []
        self._folders_synced: set[str] = set()
        self._open: dict[int, tuple[Inode, str]] = {}
        self._next_fd = 1000
        self.on_step: Callable[[], None] = lambda: None
        self.last_call = ""
        self.plan: dict[tuple[str, int], int] = {}
        self.counts: Counter[str] = Counter()
        self.room_bytes = 1 << 40

    # -- faults ----------------------------------------------------------------------------------

    def fail(self, call: str, nth: int, error: int = errno.EIO) -> None:
        """The nth call from now on fails."""
        self.plan[call, self.counts[call] + nth] = error

    def _step(self, call: str) -> None:
        self.counts[call] += 1
        self.last_call = call
        error = self.plan.pop((call, self.counts[call]), None)
        if error is not None:
            raise OSError(error, os.strerror(error))

    def used_bytes(self) -> int:
        return sum(len(i.data) for names in self.names_of.values() for i in names.values())

    def crash(self, rng: Random) -> CrashFilesystem:
        """The disk as it is after a cut of the power now; this one goes on."""
        after = CrashFilesystem()
        inodes = [i for names in self.names_of.values() for i in names.values()]

        def stale(offset: int) -> bytes:
            return bytes(rng.choice(inodes).data[offset : offset + SECTOR_BYTES]) if inodes else b""

        names = {folder: dict(entries) for folder, entries in self._synced_names.items()}
        mode = rng.randrange(4)  # nothing, all, the first, any of them
        kept = rng.randrange(len(self._pending_names) + 1)
        for index, (folder, changes) in enumerate(self._pending_names):
            is_kept = (False, True, index < kept, rng.random() < 0.5)[mode]
            if is_kept:
                for name, inode in changes.items():
                    if inode is None:
                        names.setdefault(folder, {}).pop(name, None)
                    else:
                        names.setdefault(folder, {})[name] = inode
        survivors: dict[int, Inode] = {}
        for folder in self.names_of:
            # A folder whose own name was lost is gone with all that is in it.
            if folder not in self._folders_synced and mode != 1 and rng.random() < 0.5:
                continue
            entries = after.names_of[folder] = {}
            for name, inode in names.get(folder, {}).items():
                if id(inode) not in survivors:
                    left = inode.survives(rng, stale)
                    survivors[id(inode)] = Inode(bytearray(left), left)
                entries[name] = survivors[id(inode)]
            after._synced_names[folder] = dict(entries)
            after._folders_synced.add(folder)
        return after

    # -- what the trainer does -------------------------------------------------------------------

    def make_folder(self, folder: Path) -> None:
        self.names_of[str(folder)] = {}

    def write_unsynced(self, path: Path, data: bytes) -> None:
        """As a process does that must not wait: to another name, then renamed, nothing synced."""
        partial = path.with_name(f".{path.name}.1")
        fd = self.create(partial, len(data))
        self.write_at(fd, data, 0)
        self.close(fd)
        self.rename(partial, path)

    # -- Filesystem ------------------------------------------------------------------------------

    def names(self, folder: Path) -> list[str]:
        try:
            return list(self.names_of[str(folder)])
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "no folder", str(folder)) from None

    def read(self, path: Path, offset_bytes: int = 0, bytes_max: int = -1) -> bytes:
        data = self._named(path).data
        end = len(data) if bytes_max < 0 else offset_bytes + bytes_max
        return bytes(data[offset_bytes:end])

    def create(self, path: Path, size_bytes: int) -> int:
        self._step("create")
        folder, name = os.path.split(path)
        if name in self.names_of[folder]:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        if self.used_bytes() + size_bytes > self.room_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        inode = Inode()
        inode.resize(size_bytes)
        self._rename(folder, {name: inode})
        self._next_fd += 1
        self._open[self._next_fd] = inode, str(path)
        self.on_step()
        return self._next_fd

    def write_at(self, fd: int, data: bytes, offset_bytes: int) -> None:
        inode, _ = self._open[fd]
        try:
            self._step("write")
        except OSError:
            data = data[: len(data) // 2]  # what went before the error
            self._write(inode, data, offset_bytes)
            raise
        self._write(inode, data, offset_bytes)
        self.on_step()

    def _write(self, inode: Inode, data: bytes, offset_bytes: int) -> None:
        if len(inode.data) < offset_bytes + len(data):
            inode.resize(offset_bytes + len(data))
        inode.data[offset_bytes : offset_bytes + len(data)] = data
        inode.pending.append((offset_bytes, bytes(data)))

    def sync(self, fd: int) -> None:
        inode, path = self._open[fd]
        assert not inode.is_spoiled, f"{path} was synced again after its sync failed"
        try:
            self._step("sync")
        except OSError:
            inode.is_spoiled = True
            raise
        inode.synced, inode.pending = bytes(inode.data), []
        self.on_step()

    def sync_file(self, path: Path) -> None:
        self._step("sync_file")
        inode = self._named(path)
        inode.synced, inode.pending = bytes(inode.data), []
        self.on_step()

    def sync_folder(self, folder: Path) -> None:
        self._step("sync_folder")
        key = str(folder)
        if key in self.names_of:
            self._synced_names[key] = dict(self.names_of[key])
            self._pending_names = [item for item in self._pending_names if item[0] != key]
        # What lies in it as a folder has its name there.
        self._folders_synced |= {f for f in self.names_of if os.path.dirname(f) == key}  # noqa: PTH120 # text
        self.on_step()

    def truncate(self, fd: int, size_bytes: int) -> None:
        self._step("truncate")
        self._open[fd][0].resize(size_bytes)
        self.on_step()

    def close(self, fd: int) -> None:
        del self._open[fd]

    def is_in_place(self, fd: int, path: Path, bytes_min: int) -> bool:
        inode, _ = self._open[fd]
        folder, name = os.path.split(path)
        return self.names_of.get(folder, {}).get(name) is inode and len(inode.data) >= bytes_min

    def read_open(self, fd: int, bytes_max: int) -> bytes:
        return bytes(self._open[fd][0].data[:bytes_max])

    def unlink(self, path: Path) -> None:
        self._step("unlink")
        folder, name = os.path.split(path)
        if name in self.names_of.get(folder, {}):
            self._rename(folder, {name: None})
            self.on_step()

    def rename(self, source: Path, target: Path) -> None:
        self._step("rename")
        folder, name = os.path.split(source)
        inode = self._named(source)
        self._rename(folder, {name: None, target.name: inode})
        self.on_step()

    def _named(self, path: Path) -> Inode:
        folder, name = os.path.split(path)
        try:
            return self.names_of[folder][name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path)) from None

    def _rename(self, folder: str, changes: dict[str, Inode | None]) -> None:
        for name, inode in changes.items():
            if inode is None:
                self.names_of[folder].pop(name, None)
            else:
                self.names_of[folder][name] = inode
        self._pending_names.append((folder, changes))
