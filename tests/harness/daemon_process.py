"""Real daemons and trainers as processes of a test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from kelt.run_folder import read_manifest
from kelt.sidecar_client import SidecarClient
from kelt.state_dir import StateDir
from kelt_proto.v1 import sidecar_pb2

SCRIPT = Path(__file__).with_name("trainer_script.py")


@dataclass
class DaemonProcess:
    """One state folder and the daemon that serves it, if it runs."""

    state_dir: StateDir
    process: subprocess.Popen[bytes] | None = None
    trainers: list[subprocess.Popen[str]] = field(default_factory=list)
    idle_exit_s: float = 600.0
    environ: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Starts the daemon and waits until it says that it is ready."""
        if self.process is not None and self.process.stderr is not None:
            self.process.stderr.close()
        self.process, ready = self.spawn()
        with os.fdopen(ready, "rb") as pipe:
            assert pipe.read(1) == b"\n", "the daemon did not become ready"

    def spawn(self) -> tuple[subprocess.Popen[bytes], int]:
        ready, ready_child = os.pipe()
        environ = {k: v for k, v in os.environ.items() if not k.startswith("KELT_")}
        environ |= {"KELT_CONFIG": os.devnull, **self.environ}
        process = subprocess.Popen(
            [sys.executable, "-m", "kelt_daemon", "run", "--state-dir", str(self.state_dir.root),
             "--ready-fd", str(ready_child), "--idle-exit-s", str(self.idle_exit_s)],
            pass_fds=(ready_child,), env=environ, stderr=subprocess.PIPE,
        )  # fmt: skip
        os.close(ready_child)
        return process, ready

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def client(self) -> SidecarClient:
        return SidecarClient(socket=self.state_dir.socket)

    def train(
        self, name: str, upstream: str, rows: int, end: str, *, stream: bool = False,
        folder: Path | None = None, options: tuple[str, ...] = (),
    ) -> subprocess.Popen[str]:  # fmt: skip
        """Starts a trainer whose run folder has this name."""
        folder = folder or self.state_dir.runs / name
        command = [sys.executable, str(SCRIPT), str(folder), upstream, str(rows), end, *options]
        if stream:
            command += ["--stream", str(self.state_dir.socket)]
        trainer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=None, text=True)
        self.trainers.append(trainer)
        return trainer

    def writer_id(self, name: str) -> bytes:
        return bytes.fromhex(read_manifest(self.state_dir.runs / name).writer_id)

    def run_status(self, name: str):
        with self.client() as client:
            found = [r for r in client.status().runs if Path(r.path).name == name]
        return found[0] if found else sidecar_pb2.RunStatus()

    def log_text(self) -> str:
        with suppress(FileNotFoundError):
            return (self.state_dir.logs / "daemon.log").read_text()
        return ""


@contextmanager
def daemon_of(root: Path, **options) -> Iterator[DaemonProcess]:
    """A state folder with no daemon yet; ends whatever was started in it."""
    state_dir = StateDir(root)
    state_dir.create()
    daemon = DaemonProcess(state_dir, **options)
    try:
        yield daemon
    finally:
        for process in (*daemon.trainers, *([daemon.process] if daemon.process else [])):
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe:
                    pipe.close()


def last_reports(replies):
    """What a sync said last of each folder: a reply tells only of those that have changed."""
    return list({f.path: f for reply in replies for f in reply.folders}.values())


def await_ready(trainer: subprocess.Popen[str]) -> None:
    assert trainer.stdout is not None
    assert trainer.stdout.readline() == "ready\n"


async def eventually(condition, what: str, *, timeout_s: float = 60.0) -> None:
    """Waits for a condition, which may be computed in a thread by blocking calls."""
    deadline = time.monotonic() + timeout_s
    while True:
        if await anyio.to_thread.run_sync(condition):
            return
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        await anyio.sleep(0.05)
