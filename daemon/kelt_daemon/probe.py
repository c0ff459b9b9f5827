"""Finding facts about the writers of this host: process, exit status, lock, memory.

A pidfd is opened while the process lives, so that its number cannot come to mean another process
and so that the kernel tells the exit status of a process that is not our child: from Linux 6.15 by
`PIDFD_GET_INFO`, otherwise for as long as it is a zombie by /proc. Where neither can be had (the
daemon came later, an older kernel) the status stays unknown, and is said to be.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
from pathlib import Path

import anyio

from kelt.run_folder import LOCK_NAME, RunManifest, is_locked, pid_start_ticks
from kelt_daemon.liveness import ExitStatus, Process

_INFO_BYTES = 64
_PIDFD_GET_INFO = 0xC0000000 | _INFO_BYTES << 16 | 0xFF << 8 | 11
_PIDFD_INFO_EXIT = 1 << 3
_EXIT_CODE_OFFSET = 60
#: A parent takes some time to collect its child, and before that the kernel tells nothing.
_STATUS_TRIES = 20
_STATUS_WAIT_S = 0.05


class ProcessProbe:
    """The process that a manifest names.

    Args:
        manifest: of a run folder written on this machine in this boot.
        folder: the run folder.
    """

    def __init__(self, *, manifest: RunManifest, folder: Path) -> None:
        self._manifest = manifest
        self._folder = folder
        self._fd = _open_pidfd(manifest.pid, manifest.pid_start_ticks)
        self._status: ExitStatus | None = None
        self._oom = OomCounter(manifest.pid)

    def look(self) -> Process:
        """Whether the process lives."""
        if self._fd is not None:
            return Process.GONE if _is_readable(self._fd) else Process.ALIVE
        if self._is_same_process():
            return Process.ALIVE  # a system without pidfd
        # A held lock means that the process is one which we cannot see, in another namespace.
        # Nor does a lock that cannot be looked at prove a death.
        try:
            return Process.UNKNOWN if is_locked(self._folder) else Process.GONE
        except OSError:
            return Process.UNKNOWN

    def _is_same_process(self) -> bool:
        ticks = pid_start_ticks(self._manifest.pid)
        return ticks != 0 and ticks == self._manifest.pid_start_ticks

    async def wait_gone(self) -> None:
        """Until the process ended; for ever where that cannot be waited for."""
        if self._fd is None:
            await anyio.sleep_forever()
        else:
            await anyio.wait_readable(self._fd)

    async def exit_status(self) -> ExitStatus | None:
        """How it ended, where the kernel tells it."""
        for _ in range(_STATUS_TRIES if self._fd is not None and self._status is None else 0):
            self._status = _status_by_pidfd(self._fd) or self._status_of_zombie()
            if self._status is not None:
                break
            await anyio.sleep(_STATUS_WAIT_S)
        return self._status

    def _status_of_zombie(self) -> ExitStatus | None:
        try:
            stat = Path(f"/proc/{self._manifest.pid}/stat").read_text("utf-8", "replace")
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        if fields[0] != "Z" or int(fields[19]) != self._manifest.pid_start_ticks:
            return None
        return _decode_status(int(fields[49]))

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel killed for lack of memory near the process since we look at it."""
        return self._oom.has_risen()

    def close(self) -> None:
        """Lets the process go."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def is_lock_free(folder: Path) -> bool:
    """Whether a writer that once held the folder's lock has given it back."""
    with contextlib.suppress(OSError):
        return (folder / LOCK_NAME).exists() and not is_locked(folder)
    return False


class OomCounter:
    """Counts kills for lack of memory, in a process's control group or on the whole host."""

    def __init__(self, pid: int) -> None:
        self._path, self._key = _oom_source(pid)
        self._before = self._read()

    def has_risen(self) -> bool:
        """Whether it is higher than at first."""
        return self._read() > self._before

    def _read(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            for line in self._path.read_text(encoding="ascii").splitlines():
                key, _, value = line.partition(" ")
                if key == self._key:
                    return int(value)
        return 0


def _oom_source(pid: int) -> tuple[Path, str]:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, group = line.split(":", 2)
            relative = group.lstrip("/")
            if not controllers:
                events = Path("/sys/fs/cgroup", relative, "memory.events")
            elif "memory" in controllers.split(","):
                events = Path("/sys/fs/cgroup/memory", relative, "memory.oom_control")
            else:
                continue
            if events.exists():
                return events, "oom_kill"
    return Path("/proc/vmstat"), "oom_kill"


def _open_pidfd(pid: int, start_ticks: int) -> int | None:
    """A handle on the process with this pid and start time, or None where there is none."""
    if not hasattr(os, "pidfd_open") or pid <= 0 or not start_ticks:
        return None
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    # Looked up after opening: the handle cannot come to mean another process any more.
    if pid_start_ticks(pid) == start_ticks:
        return fd
    os.close(fd)
    return None


def _is_readable(fd: int) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))


def _status_by_pidfd(fd: int | None) -> ExitStatus | None:
    if fd is None:
        return None
    info = bytearray(_INFO_BYTES)
    struct.pack_into("<Q", info, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(fd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    (mask,) = struct.unpack_from("<Q", info, 0)
    if not mask & _PIDFD_INFO_EXIT:
        return None
    return _decode_status(struct.unpack_from("<i", info, _EXIT_CODE_OFFSET)[0])


def _decode_status(status: int) -> ExitStatus:
    if os.WIFSIGNALED(status):
        return ExitStatus(0, os.WTERMSIG(status))
    return ExitStatus(os.WEXITSTATUS(status), 0)
