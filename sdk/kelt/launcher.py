"""Starting the daemon on first use, once, whoever races.

A daemon holds `daemon.lock` for life and answers on its socket. Whoever finds neither takes
`spawn.lock`, looks again, starts one in a session of its own and waits until it says on a pipe
that it is ready. A shell starts it in the background and exits, so that the daemon is nobody's
child: it outlives the trainer, and the trainer has nothing to reap.

Whoever finds a daemon of an older version takes over, under the same lock: it has that one drain
and exit, and starts its own, which goes on from the journals and cursors. Only a strictly newer
version does so, hence two versions on one host end with the newer one and do not take turns.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from kelt.addresses import has_user
from kelt.errors import DaemonError, DaemonStartError, DaemonUnavailableError
from kelt.file_locks import file_lock
from kelt.settings import Settings
from kelt.state_dir import StateDir
from kelt.version import __version__, is_newer

READY_TIMEOUT_S = 5.0
#: A daemon that hands over drains for 2 s and is gone within 10.
HANDOVER_TIMEOUT_S = 12.0
_POLL_S = 0.02
_STDERR_TAIL_BYTES = 2000
_STDERR_BYTES_MAX = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class DaemonPlace:
    """A daemon that answers.

    Attributes:
        socket: its socket's path.
        pid: 0 where it has not written its record.
        started: whether this call started it.
        version: of its kelt; empty where it has not written its record.
    """

    socket: Path
    pid: int
    started: bool
    version: str = ""


class RespawnDelay:
    """How long to wait before the daemon is started again: doubling, with jitter, bounded.

    It begins anew only after a connection that lasted: a daemon that dies as soon as it is spoken
    to is otherwise started several times a second, for ever.
    """

    def __init__(
        self,
        *,
        first_s: float = 0.25,
        max_s: float = 30.0,
        lasting_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._lasting_s = lasting_s
        self._clock = clock
        self._failures = 0
        self._since_s: float | None = None

    def next_s(self) -> float:
        """The delay after one more failure, or after the end of what had succeeded."""
        if self._since_s is not None and self._clock() - self._since_s >= self._lasting_s:
            self._failures = 0
        self._since_s = None
        base = min(self._max_s, self._first_s * float(1 << self._failures))
        self._failures = min(self._failures + 1, 16)
        return base * random.uniform(0.5, 1.0)  # noqa: S311 # jitter, not a secret

    def succeeded(self) -> None:
        """A connection that works, from now on."""
        self._since_s = self._clock()


def find_daemon(state_dir: StateDir) -> DaemonPlace | None:
    """The daemon of a state folder, if one lives and answers on its socket."""
    if not is_lock_held(state_dir.daemon_lock):
        return None
    record = _record(state_dir)
    # Elsewhere where it was started with another XDG_RUNTIME_DIR, or by kelt 0.1.
    recorded = Path(str(record.get("socket") or state_dir.socket))
    for path in dict.fromkeys((state_dir.socket, recorded)):
        if _answers(path):
            record = _record(state_dir)  # anew: one that answers has written it by then
            pid = record.get("pid")
            return DaemonPlace(
                socket=path,
                pid=pid if isinstance(pid, int) else 0,
                started=False,
                version=str(record.get("version", "")),
            )
    return None


def ensure_daemon(settings: Settings) -> DaemonPlace:
    """Finds the daemon of the state folder, or starts it; an older one is replaced.

    Raises:
        DaemonStartError: it was started and did not become ready within five seconds.
        DaemonUnavailableError: another process has been starting it for longer than that.
    """
    state_dir = settings.state_dir
    found = find_daemon(state_dir)
    if found is not None and not is_newer(__version__, found.version):
        return found
    state_dir.create()
    deadline = time.monotonic() + READY_TIMEOUT_S
    with _spawn_lock(state_dir, deadline):
        found = _await_daemon(state_dir, deadline)
        if found is not None and not (
            is_newer(__version__, found.version) and _hand_over(state_dir, found)
        ):
            return found
        try:
            _spawn(state_dir)
        except DaemonStartError:
            # Somebody else's, started by hand or a supervisor, may have been faster.
            if (found := _await_daemon(state_dir, time.monotonic() + READY_TIMEOUT_S)) is None:
                raise
            return found
        if (found := _await_daemon(state_dir, time.monotonic() + READY_TIMEOUT_S)) is None:
            raise DaemonStartError(_start_failure(state_dir, "ended as soon as it was ready"))
    return replace(found, started=True)


def _hand_over(state_dir: StateDir, older: DaemonPlace) -> bool:
    """Has an older daemon end; False where it does not, and then it is used as it is."""
    from kelt.sidecar_client import SidecarClient  # noqa: PLC0415 # loads gRPC

    deadline = time.monotonic() + HANDOVER_TIMEOUT_S
    try:
        with SidecarClient(socket=older.socket) as client:
            client.stop(successor_version=__version__)
    except DaemonError:
        return not is_lock_held(state_dir.daemon_lock)
    while is_lock_held(state_dir.daemon_lock):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _await_daemon(state_dir: StateDir, deadline: float) -> DaemonPlace | None:
    """The daemon, waiting for its socket as long as somebody holds its lock."""
    while (found := find_daemon(state_dir)) is None:
        if not is_lock_held(state_dir.daemon_lock) or time.monotonic() > deadline:
            return None
        time.sleep(_POLL_S)
    return found


@contextlib.contextmanager
def _spawn_lock(state_dir: StateDir, deadline: float) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            timeout_s = max(0.0, deadline - time.monotonic())
            held.enter_context(file_lock(state_dir.spawn_lock, timeout_s=timeout_s))
        except TimeoutError:
            raise DaemonUnavailableError(
                f"Another process has been starting the daemon of {state_dir.root} for "
                f"{READY_TIMEOUT_S:.0f} s; see `kelt daemon status`."
            ) from None
        yield


def _spawn(state_dir: StateDir) -> None:
    ready, ready_child = os.pipe()
    try:
        with _open_stderr(state_dir) as stderr:
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
        if not poll.poll(READY_TIMEOUT_S * 1000):
            what = f"did not become ready within {READY_TIMEOUT_S:.0f} s"
            raise DaemonStartError(_start_failure(state_dir, what))
        if not os.read(ready, 1):
            raise DaemonStartError(_start_failure(state_dir, "ended before it was ready"))
    except (OSError, subprocess.SubprocessError) as error:
        raise DaemonStartError(f"The daemon cannot be started: {error}.") from error
    finally:
        os.close(ready)
        if ready_child >= 0:
            os.close(ready_child)


def _open_stderr(state_dir: StateDir) -> BinaryIO:
    """What the daemon says before it has a log, and when it crashes; bounded over many starts."""
    path = state_dir.logs / "daemon.stderr"
    with contextlib.suppress(OSError):
        if path.stat().st_size > _STDERR_BYTES_MAX:
            path.replace(path.with_name("daemon.stderr.1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o600), "ab")


def _command(state_dir: StateDir, ready_fd: int) -> list[str]:
    module = [sys.executable, "-m", "kelt_daemon", "run"]
    return [*module, "--state-dir", str(state_dir.root), "--ready-fd", str(ready_fd)]


#: Of upstreams of either kind.
_KEYS = frozenset({"KELT_API_KEY", "WANDB_API_KEY"})


def _environment() -> dict[str, str]:
    """The environment without keys, and with import paths that hold in another folder.

    Keys are told in Hello: what is in a process's environment stands in /proc while it lives.
    """
    environ = {
        name: value
        for name, value in os.environ.items()
        if name not in _KEYS and not (name.startswith("KELT_") and has_user(value))
    }
    if paths := environ.get("PYTHONPATH"):
        absolute = [str(Path(p).absolute()) for p in paths.split(os.pathsep) if p]
        environ["PYTHONPATH"] = os.pathsep.join(absolute)
    return environ


def is_lock_held(path: Path) -> bool:
    """Whether a daemon lives that has this lock: one that is ending answers no more, but has it."""
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


def _record(state_dir: StateDir) -> dict[str, Any]:
    """What the daemon wrote of itself; empty where it cannot be read."""
    try:
        data = json.loads(state_dir.daemon_record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _start_failure(state_dir: StateDir, what: str) -> str:
    path = state_dir.logs / "daemon.stderr"
    last = ""
    with contextlib.suppress(OSError):
        lines = path.read_bytes()[-_STDERR_TAIL_BYTES:].decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    said = f" It said: {last}" if last else ""
    return (
        f"The daemon {what}; its messages are in {path}, and `kelt daemon run` shows them live."
        f"{said}"
    )
