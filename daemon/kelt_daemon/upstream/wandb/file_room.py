"""How much files on their way to W&B servers may take on this host, all runs together.

Room is taken for the whole of a file before its first piece is put down, so that what has begun can
be completed. A file that finds none waits in its run's journal, and so does what follows it there.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping


class FileRoom:
    """The bound, and who takes what of it. Used in several threads.

    Args:
        limit_bytes: for all of them.
    """

    def __init__(self, *, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        #: How often a file found no room.
        self.met = 0
        self._lock = threading.Lock()
        self._taken: dict[tuple[bytes, str], int] = {}

    @property
    def used_bytes(self) -> int:
        """What all of them take."""
        with self._lock:
            return sum(self._taken.values())

    def take(self, writer_id: bytes, key: str, size_bytes: int) -> bool:
        """Takes room for a file of a run, once; returns whether there is any."""
        with self._lock:
            others_bytes = sum(self._taken.values()) - self._taken.get((writer_id, key), 0)
            if others_bytes + size_bytes > self.limit_bytes:
                self.met += 1
                return False
            self._taken[writer_id, key] = size_bytes
            return True

    def settle(self, writer_id: bytes, sizes_bytes: Mapping[str, int]) -> None:
        """What a run's files take, by key: these and no others."""
        with self._lock:
            for owner, key in tuple(self._taken):
                if owner == writer_id and key not in sizes_bytes:
                    del self._taken[owner, key]
            self._taken |= {(writer_id, key): size for key, size in sizes_bytes.items()}
