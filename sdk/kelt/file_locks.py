"""Short-lived locks on files, in processes that fork.

A lock belongs to the open file, of which a forked child holds a copy: a child forked by one thread
while another holds the lock would keep it after its parent's death, for as long as it lives. So
children close such copies. Taking a lock is bounded, because its holder may be stopped.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

_POLL_S = 0.01
_held: set[int] = set()


@contextlib.contextmanager
def file_lock(path: Path, *, timeout_s: float) -> Iterator[None]:
    """Holds a lock on a file, which is made if need be.

    Raises:
        TimeoutError: another process holds it for longer than that.
        OSError: the file cannot be opened.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with closed_in_children(fd):
        try:
            _take(fd, path, time.monotonic() + timeout_s)
            yield
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)  # also where a child was forked past our hook
                os.close(fd)


@contextlib.contextmanager
def closed_in_children(fd: int) -> Iterator[None]:
    """Has children that are forked meanwhile close their copy of a descriptor."""
    _held.add(fd)
    try:
        yield
    finally:
        _held.discard(fd)


def _take(fd: int, path: Path, deadline_s: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                raise TimeoutError(
                    errno.ETIMEDOUT, "another process holds the lock for too long", str(path)
                ) from None
            time.sleep(_POLL_S)


def _close_copies() -> None:
    for fd in list(_held):
        with contextlib.suppress(OSError):
            os.close(fd)
    _held.clear()


os.register_at_fork(after_in_child=_close_copies)
