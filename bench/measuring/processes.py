"""The real processes that are measured: a server on free ports, its host's daemon, children."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

CHILDREN = Path(__file__).parent.parent / "children"
_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 120


def clean_environment() -> dict[str, str]:
    """This process's, without settings of any tracker, and with byte code kept."""
    foreign = ("KELT_", "WANDB_", "TRACKIO_", "SWANLAB_", "NEPTUNE_", "MLFLOW_", "PLUTO_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return kept


@dataclass(frozen=True, slots=True)
class Server:
    """A `kelt server` of its own."""

    process: subprocess.Popen[bytes]
    url: str
    folder: Path

    def asked(self, path: str) -> dict[str, Any]:
        """What its read API answers."""
        with urllib.request.urlopen(f"{self.url}/api/v1{path}", timeout=60) as reply:
            found: dict[str, Any] = json.load(reply)
        return found

    @property
    def counters(self) -> dict[str, int]:
        """What it has counted since its start."""
        found: dict[str, int] = self.asked("/info")["counters"]
        return found


@contextlib.contextmanager
def server(folder: Path, *options: str) -> Iterator[Server]:
    """A server with its store in `folder/server`, ended afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "kelt_server", "--dir", str(folder / "server")]
    command += ["--port", "0", "--grpc-port", "0", "--ready-file", str(ready), *options]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, env=clean_environment())
    try:
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline_s:
                sys.exit(f"the server did not start: {(folder / 'server.log').read_text()}")
            time.sleep(0.02)
        yield Server(process, json.loads(ready.read_text())["url"], folder / "server")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_STOP_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Host:
    """A state folder of its own, whose runs go to one upstream."""

    state: Path
    upstream: str

    @property
    def environment(self) -> dict[str, str]:
        """For a process on this host."""
        return clean_environment() | {
            "KELT_DIR": str(self.state),
            "KELT_UPSTREAM": self.upstream,
            "KELT_CONFIG": os.devnull,
        }

    @property
    def daemon_pid(self) -> int:
        """The process id of its daemon, which is there."""
        return int(json.loads((self.state / "daemon.json").read_text())["pid"])

    def kelt(self, *arguments: str, timeout_s: float = 600) -> str:
        """Runs the command line and returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "kelt.cli.main", *arguments], env=self.environment,
            capture_output=True, text=True, check=False, timeout=timeout_s,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"kelt {' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}")
        return done.stdout


@contextlib.contextmanager
def host(folder: Path, upstream: str) -> Iterator[Host]:
    """A host whose state is in `folder/state`; its daemon is stopped afterwards."""
    made = Host(folder / "state", upstream)
    try:
        yield made
    finally:
        if (made.state / "daemon.json").exists():
            made.kelt("daemon", "stop")


class ChildError(Exception):
    """A child that failed.

    Attributes:
        reason: its last line on standard error.
    """

    def __init__(self, command: list[str], output: str) -> None:
        super().__init__(f"{' '.join(command)} failed:\n{output}")
        self.reason = next(iter(reversed(output.strip().splitlines())), "it says nothing")


@contextlib.contextmanager
def machine_alone() -> Iterator[None]:
    """While no other benchmark measures on this machine, where BENCH_LOCK names a file for that.

    Within itself it does nothing, so that a section may hold it for several children at once.
    """
    lock = os.environ.get("BENCH_LOCK")
    if not lock:
        yield
        return
    with Path(lock).open("ab") as file, mock.patch.dict(os.environ):
        fcntl.flock(file, fcntl.LOCK_EX)
        del os.environ["BENCH_LOCK"]
        yield


def child(
    script: str,
    *arguments: object,
    environment: dict[str, str],
    python: Path | str = sys.executable,
    timeout_s: float = 600,
) -> dict[str, Any]:
    """Runs a script of `children` to its end and returns its last line of output, which is JSON.

    Raises:
        ChildError: it failed, or did not end in time.
    """
    command = [str(python), str(CHILDREN / script), *map(str, arguments)]
    # Files instead of pipes: what a tracker leaves running would keep a pipe open.
    with machine_alone(), tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            code: int | None = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):  # with all that it left running
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        log.seek(0)
        output, complaints = said.read(), log.read()
    if code is None:
        raise ChildError(command, f"it did not end within {timeout_s:g} s")
    if code or not output.strip():
        raise ChildError(command, f"{output[-4000:]}\n{complaints[-4000:]}")
    found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return found


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that was run to its end: what it printed and used, its children included."""

    output: str
    wall_s: float
    cpu_s: float
    peak_mib: float


def ended(command: list[str], environment: dict[str, str], folder: Path | None = None) -> Ended:
    """Runs a command, which has to succeed."""
    started_s = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder
    )
    assert process.stdout is not None
    output = process.stdout.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{output}")
    return Ended(output, wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


@dataclass(frozen=True, slots=True)
class Child:
    """A script of `children` that waits for lines and answers with lines."""

    process: subprocess.Popen[str]

    def tell(self, line: str) -> None:
        """Says a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def said(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args!r} ended with {self.process.wait(_STOP_TIMEOUT_S)}")
        return line.strip()


@contextlib.contextmanager
def talking(script: str, *arguments: object, environment: dict[str, str]) -> Iterator[Child]:
    """Such a child; it is let end afterwards, by the end of what it is told."""
    command = [sys.executable, str(CHILDREN / script), *map(str, arguments)]
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Child(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(_STOP_TIMEOUT_S)
    finally:
        if process.poll() is None:  # it hangs, or something else went wrong: nothing stays behind
            process.kill()
            process.wait()


def remove(folder: Path) -> None:
    """Gives its room on the disk back; what follows must not fill it."""
    shutil.rmtree(folder, ignore_errors=True)
