"""Servers that are forked from a process that has imported theirs: a start costs no import.

A server takes a second of processor time to import what it needs, and there are hundreds of them
in all tests. `python server_forker.py FD` imports once and forks for every request on the socket;
each child then reads flags and environment as `python -m kelt_server` does.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path


class ForkedServer:
    """A forked server, as far as tests use a `Popen`."""

    def __init__(self, forker: Forker, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._forker = forker

    def poll(self) -> int | None:
        if self.returncode is None:
            self._forker.receive(0)
            self.returncode = self._forker.ended.get(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = time.monotonic() + (1e9 if timeout is None else timeout)
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("a forked server", timeout or 0)
            self._forker.receive(min(0.5, max(0, end - time.monotonic())))
        return code

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forker:
    """The process that forks, and what it has said of its children."""

    def __init__(self) -> None:
        self.ended: dict[int, int] = {}
        self._socket, theirs = socket.socketpair()
        kept = {k: v for k, v in os.environ.items() if not k.startswith("KELT_")}
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())], pass_fds=(theirs.fileno(),),
            env=kept | {"OPENBLAS_NUM_THREADS": "1"}, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()
        self._partial = b""
        self._forked: list[int] = []
        self._lock = threading.RLock()
        atexit.register(self.close)

    def start(self, arguments: list[str], *, environment: dict[str, str], log: Path):
        request = {"arguments": arguments, "environment": environment, "log": str(log)}
        with self._lock:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while not self._forked:
                assert self.receive(60), "nothing was forked"
            return ForkedServer(self, self._forked.pop())

    def receive(self, timeout_s: float) -> bool:
        """Takes what the process says within this time; true where it said something."""
        with self._lock:
            if not select.select([self._socket], [], [], timeout_s)[0]:
                return False
            data = self._socket.recv(65536)
            assert data, "the process that forks servers has ended"
            *lines, self._partial = (self._partial + data).split(b"\n")
            for kind, pid, code in map(json.loads, lines):
                if kind == "forked":
                    self.ended.pop(pid, None)
                    self._forked.append(pid)
                else:
                    self.ended[pid] = code
            return True

    def close(self) -> None:
        self._socket.close()
        self.process.wait(60)


@functools.cache
def forker() -> Forker:
    """One in each process of tests."""
    return Forker()


def can_be_forked(environment: dict[str, str]) -> bool:
    """Whether a server needs none of the variables that are read when a process starts."""
    return not any(name.startswith(("PYTHON", "LD_", "TORTURE_")) for name in environment)


# -- in the process that forks -------------------------------------------------------------------


def fork_on_request(control: socket.socket) -> list[str]:
    """Returns a server's arguments, in the child that is to be it; exits when nobody asks more."""
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: set[int] = set()
    requests = control.makefile("rb")
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            for pid, code in list(_reaped(children)):
                children.discard(pid)
                _say(control, "ended", pid, code)
        if control in ready:
            # Whoever asks waits for the answer: there is never more than one line.
            line = requests.readline()
            if not line:
                for pid in children:
                    os.kill(pid, signal.SIGKILL)
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for end in (requests, control, woken, wake):
                    end.close()
                return _become(json.loads(line))
            children.add(pid)
            _say(control, "forked", pid, 0)


def _reaped(children: set[int]):
    for pid in children:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            yield pid, os.waitstatus_to_exitcode(status)


def _say(control: socket.socket, kind: str, pid: int, code: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        control.sendall(json.dumps([kind, pid, code]).encode() + b"\n")


def _become(request: dict) -> list[str]:
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.environ.clear()
    os.environ.update(request["environment"])
    return request["arguments"]


if __name__ == "__main__":
    from kelt_server.__main__ import main

    sys.exit(main(fork_on_request(socket.socket(fileno=int(sys.argv[1])))))
