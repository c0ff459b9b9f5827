"""How much room uploads may take: run files and artifacts together.

Two bounds: a sum of bytes, and what must stay free on the disk, so that uploads never take the room
that rows need. What is there is measured at the start and by each sweep; between them it is counted
on, so what happens to files otherwise is noticed late.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from kelt_server.counters import Counters
from kelt_server.errors import NoRoomError


def disk_free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder."""
    return shutil.disk_usage(folder).free


class StorageQuota:
    """Mutable state, among the counters: how many bytes are taken, also by uploads in flight."""

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        bytes_max: int,
        disk_free_bytes_min: int,
        counters: Counters,
        disk_free: Callable[[Path], int] = disk_free_bytes,
    ) -> None:
        self._folders = tuple(folders)
        self._bytes_max = bytes_max
        self._disk_free_bytes_min = disk_free_bytes_min
        self._disk_free = disk_free
        self._lock = threading.Lock()
        self._counters = counters

    @property
    def taken_bytes(self) -> int:
        """How many are taken."""
        return self._counters.files_bytes

    def check(self, size_bytes: int = 0) -> None:
        """Whether there is room for so many more.

        Raises:
            NoRoomError: there is not.
        """
        if self.taken_bytes + size_bytes > self._bytes_max:
            raise self._refusal(
                f"the files and artifacts of this server take {self.taken_bytes} of at most "
                f"{self._bytes_max} bytes; delete some, or start it with a larger --files-bytes-max"
            )
        for folder in self._folders:
            there = next(part for part in (folder, *folder.parents) if part.exists())
            if self._disk_free(there) < self._disk_free_bytes_min:
                raise self._refusal(
                    f"the server's disk has less than {self._disk_free_bytes_min} bytes left, "
                    "which are kept for rows; make room on it"
                )

    def _refusal(self, sentence: str) -> NoRoomError:
        self._counters.files_refused += 1
        structlog.get_logger("kelt_server.files").warning("a file was refused", reason=sentence)
        return NoRoomError(sentence)

    @contextmanager
    def taking(self) -> Iterator[Callable[[int], None]]:
        """A file that is written: the function counts its pieces. Given back if it fails.

        Raises:
            NoRoomError: a piece has no room.
        """
        taken = 0

        def take(size_bytes: int) -> None:
            nonlocal taken
            self.check(size_bytes)
            self._add(size_bytes)
            taken += size_bytes

        try:
            yield take
        except BaseException:
            self._add(-taken)
            raise

    def give_back(self, size_bytes: int) -> None:
        """A file is gone, or another took its place."""
        self._add(-size_bytes)

    def measure(self) -> None:
        """Counts anew what is there."""
        found = sum(map(tree_bytes, self._folders))
        with self._lock:
            self._counters.files_bytes = found

    def _add(self, size_bytes: int) -> None:
        with self._lock:
            self._counters.files_bytes = max(0, self.taken_bytes + size_bytes)


def tree_bytes(folder: Path) -> int:
    """How many bytes the files of a folder have together."""
    total, waiting = 0, [os.fspath(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue  # gone meanwhile
    return total
