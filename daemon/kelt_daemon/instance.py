"""Being the one daemon of a state folder: the lock, the socket's path, the record of who runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kelt.run_folder import boot_id, pid_start_ticks
from kelt.state_dir import StateDir
from kelt.version import __version__
from kelt_daemon.errors import AlreadyRunningError
from kelt_proto.v1.protocol import OURS

#: Whoever only looks whether the lock is held holds it shared for an instant.
_LOCK_TRIES = 20
_LOCK_WAIT_S = 0.025


@dataclass(frozen=True, kw_only=True)
class HeldLock:
    """The lock that this process holds."""

    path: Path
    inode: int

    def is_in_place(self) -> bool:
        """Whether it is still the state folder's: with the folder deleted, it locks nobody out."""
        try:
            return self.path.stat().st_ino == self.inode
        except OSError:
            return False


@contextlib.contextmanager
def only_instance(state_dir: StateDir) -> Iterator[HeldLock]:
    """Holds the daemon's lock; inside, the socket and the record are ours alone.

    Raises:
        AlreadyRunningError: another daemon holds it.
    """
    fd = os.open(state_dir.daemon_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(fd, state_dir)
        # Left by a daemon that was killed: nobody else can be listening there.
        _remove_traces(state_dir)
        lock = HeldLock(path=state_dir.daemon_lock, inode=os.fstat(fd).st_ino)
        try:
            yield lock
        finally:
            if lock.is_in_place():
                _remove_traces(state_dir)
    finally:
        os.close(fd)


def _remove_traces(state_dir: StateDir) -> None:
    for path in (state_dir.socket, state_dir.door, state_dir.daemon_record):
        path.unlink(missing_ok=True)


def _take(fd: int, state_dir: StateDir) -> None:
    for _ in range(_LOCK_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_LOCK_WAIT_S)
    raise AlreadyRunningError(_who_serves(state_dir))


def _who_serves(state_dir: StateDir) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads(state_dir.daemon_record.read_text(encoding="utf-8"))
        pid, is_here = int(record["pid"]), record["boot_id"] == boot_id()
        if not is_here:  # on a network filesystem whose locks hold between machines
            return (
                f"A daemon on another machine already serves {state_dir.root}; give each machine a "
                "KELT_DIR of its own, and use kelt.init(dir=...) for run folders that others "
                "should see."
            )
        who = f"A daemon (pid {pid})"
        return f"{who} already serves {state_dir.root}; use it, or stop it with `kelt daemon stop`."
    return f"A daemon already serves {state_dir.root}; use it, or stop it with `kelt daemon stop`."


def write_record(state_dir: StateDir, *, started_at: float) -> None:
    """Says who the daemon is."""
    pid = os.getpid()
    record = {
        "pid": pid,
        "pid_start_ticks": pid_start_ticks(pid),
        "boot_id": boot_id(),
        "nonce": secrets.token_hex(16),
        "socket": os.fsdecode(state_dir.socket),
        "version": __version__,
        "protocol": OURS.newest,
        "started_at": started_at,
    }
    partial = state_dir.daemon_record.with_name(f".daemon.json.{pid}")
    partial.unlink(missing_ok=True)
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(json.dumps(record, indent=1) + "\n")
    partial.replace(state_dir.daemon_record)


def say_ready(ready_fd: int | None) -> None:
    """Tells whoever started us, who may be gone."""
    if ready_fd is None:
        return
    with contextlib.suppress(OSError):
        os.write(ready_fd, b"\n")
    with contextlib.suppress(OSError):
        os.close(ready_fd)


def sweep(state_dir: StateDir) -> None:
    """Removes half-written records of daemons that were killed."""
    for path in state_dir.root.glob(".daemon.json.*"):
        with contextlib.suppress(OSError):
            Path(path).unlink()
