"""Starting the daemon on first use, once, whoever races.

A daemon holds `daemon.lock` for life and answers on its socket. Whoever finds neither takes
`spawn.lock`, looks again, starts one in a session of its own and waits until it says on a pipe
that it is ready. A shell starts it in the background and exits, so that the daemon is nobody's
child: it outlives the trainer, and the trainer has nothing to reap.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kelt.errors import DaemonStartError, DaemonUnavailableError
from kelt.settings import Settings
from kelt.state_dir import StateDir

READY_TIMEOUT_S = 5.0
_POLL_S = 0.02
_STDERR_TAIL_BYTES = 2000


@dataclass(frozen=True, kw_only=True)
class DaemonPlace:
    """A daemon that answers.

    Attributes:
        socket: its socket's path.
        pid: 0 where it has not written its record.
        started: whether this call started it.
    """

    socket: Path
    pid: int
    started: bool


class RespawnDelay:
    """How long to wait before the daemon is started again: doubling, with jitter, bounded."""

    def __init__(self, *, first_s: float = 0.25, max_s: float = 30.0) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._failures = 0

    def next_s(self) -> float:
        """The delay after one more failure."""
        base = min(self._max_s, self._first_s * float(1 << self._failures))
        self._failures = min(self._failures + 1, 16)
        return base * random.uniform(0.5, 1.0)  # noqa: S311 # jitter, not a secret

    def reset(self) -> None:
        """A start that worked."""
        self._failures = 0


def find_daemon(state_dir: StateDir) -> DaemonPlace | None:
    """The daemon of a state folder, if one lives and answers on its socket."""
    if not _is_lock_held(state_dir.daemon_lock) or not _answers(state_dir.socket):
        return None
    return DaemonPlace(socket=state_dir.socket, pid=_recorded_pid(state_dir), started=False)


def ensure_daemon(settings: Settings) -> DaemonPlace:
    """Finds the daemon of the state folder, or starts it.

    Raises:
        DaemonStartError: it was started and did not become ready within five seconds.
        DaemonUnavailableError: another process has been starting it for longer than that.
    """
    state_dir = settings.state_dir
    if (found := find_daemon(state_dir)) is not None:
        return found
    state_dir.create()
    deadline = time.monotonic() + READY_TIMEOUT_S
    with _spawn_lock(state_dir, deadline):
        if (found := _await_daemon(state_dir, deadline)) is not None:
            return found
        _spawn(state_dir)
        if (found := _await_daemon(state_dir, time.monotonic() + READY_TIMEOUT_S)) is None:
            raise DaemonStartError(_start_failure(state_dir))
    return DaemonPlace(socket=found.socket, pid=found.pid, started=True)


def _await_daemon(state_dir: StateDir, deadline: float) -> DaemonPlace | None:
    """The daemon, waiting for its socket as long as somebody holds its lock."""
    while (found := find_daemon(state_dir)) is None:
        if not _is_lock_held(state_dir.daemon_lock) or time.monotonic() > deadline:
            return None
        time.sleep(_POLL_S)
    return found


@contextlib.contextmanager
def _spawn_lock(state_dir: StateDir, deadline: float) -> Iterator[None]:
    fd = os.open(state_dir.spawn_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DaemonUnavailableError(
                        f"Another process has been starting the daemon of {state_dir.root} for "
                        f"{READY_TIMEOUT_S:.0f} s; see `kelt daemon status`."
                    ) from None
                time.sleep(_POLL_S)
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)  # a forked child may hold a copy of the descriptor
        os.close(fd)


def _spawn(state_dir: StateDir) -> None:
    ready, ready_child = os.pipe()
    try:
        with (state_dir.logs / "daemon.stderr").open("ab") as stderr:
            subprocess.run(  # noqa: S603 # our own interpreter and module
                ["/bin/sh", "-c", '"$@" &', "kelt", *_command(state_dir, ready_child)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                cwd=state_dir.root,
                env=_environment(),
                pass_fds=(ready_child,),
                start_new_session=True,
                umask=0o077,
                check=True,
                timeout=READY_TIMEOUT_S,
            )
        os.close(ready_child)
        ready_child = -1
        # Not select(): in a process with many open files its descriptors are out of range.
        poll = select.poll()
        poll.register(ready, select.POLLIN)
        if not poll.poll(READY_TIMEOUT_S * 1000) or not os.read(ready, 1):
            raise DaemonStartError(_start_failure(state_dir))
    except (OSError, subprocess.SubprocessError) as error:
        raise DaemonStartError(f"The daemon cannot be started: {error}.") from error
    finally:
        os.close(ready)
        if ready_child >= 0:
            os.close(ready_child)


def _command(state_dir: StateDir, ready_fd: int) -> list[str]:
    module = [sys.executable, "-m", "kelt_daemon", "run"]
    return [*module, "--state-dir", str(state_dir.root), "--ready-fd", str(ready_fd)]


def _environment() -> dict[str, str]:
    """The environment without the key, and with import paths that hold in another folder."""
    environ = {k: v for k, v in os.environ.items() if k != "KELT_API_KEY"}
    if paths := environ.get("PYTHONPATH"):
        absolute = [str(Path(p).absolute()) for p in paths.split(os.pathsep) if p]
        environ["PYTHONPATH"] = os.pathsep.join(absolute)
    return environ


def _is_lock_held(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fsencode(path))
        except OSError:
            return False
    return True


def _recorded_pid(state_dir: StateDir) -> int:
    try:
        return int(json.loads(state_dir.daemon_record.read_text(encoding="utf-8"))["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _start_failure(state_dir: StateDir) -> str:
    path = state_dir.logs / "daemon.stderr"
    last = ""
    with contextlib.suppress(OSError):
        lines = path.read_bytes()[-_STDERR_TAIL_BYTES:].decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    said = f" It said: {last}" if last else ""
    return (
        f"The daemon did not become ready within {READY_TIMEOUT_S:.0f} s; its messages are in "
        f"{path}, and `kelt daemon run` shows them live.{said}"
    )
