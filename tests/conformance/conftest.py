"""A real server process, and the real wandb client in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.stack import Host

KEY = "k" * 40
_START_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Kelt:
    """A server that can be killed and started again on the same port."""

    folder: Path
    port: int = field(default_factory=free_port)
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        command = [
            sys.executable, "-m", "kelt_server", "--dir", str(self.folder / "data"),
            "--port", str(self.port), "--grpc-port", "0", "--ready-file", str(ready), *self.options,
        ]  # fmt: skip
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log)
        deadline = time.monotonic() + _START_S
        while not ready.exists():
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def get(self, path: str, **params: Any) -> Any:
        found = httpx.get(self.url + "/api/v1" + path, params=params, timeout=60, trust_env=False)
        assert found.status_code == 200, found.text
        return found.json()

    def fetch(self, path: str) -> bytes:
        found = httpx.get(self.url + "/api/v1" + path, timeout=60, trust_env=False)
        assert found.status_code == 200, found.text
        return found.content

    def run(self, run_id: str, project: str = "p") -> dict[str, Any]:
        return self.get(f"/runs/-/{project}/{run_id}")

    def rows(self, run_id: str, project: str = "p") -> list[dict[str, Any]]:
        found, after = [], None
        while True:
            more = {"after": after} if after else {}
            page = self.get(f"/runs/-/{project}/{run_id}/history", limit=5000, **more)
            found += page["rows"]
            after = page["next"]
            if after is None:
                return found

    def values(self, run_id: str, key: str) -> list[tuple[int, Any]]:
        return [(row["step"], row["values"].get(key)) for row in self.rows(run_id)]

    def until(self, run_id: str, rows: int, within_s: float = 60.0) -> None:
        """Waits until so many rows are there."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = httpx.get(f"{self.url}/api/v1/runs/-/p/{run_id}", trust_env=False)
            if found.status_code == 200 and found.json()["rows"] >= rows:
                return
            time.sleep(0.1)
        raise AssertionError(f"{run_id} never had {rows} rows")


@dataclass
class Client:
    """Runs programs that use wandb as it is."""

    home: Path
    url: str
    python: str = sys.executable

    def environment(self, **more: str) -> dict[str, str]:
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "KELT"))}
        return {
            **keep,
            "HOME": str(self.home),
            "WANDB_DIR": str(self.home),
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": KEY,
            "WANDB_PROJECT": "p",
            "WANDB_CONSOLE": "off",
            # Instead of 15 s each, so that tests need not wait for the next post and flush.
            "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "2",
            "WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL": "2",
            "PYTHONPATH": "",
            **more,
        }

    def start(
        self, code: str, *, arguments: Sequence[str] = (), **environment: str
    ) -> subprocess.Popen[str]:
        program = "import json, os, sys, time\nimport wandb\n" + textwrap.dedent(code)
        return subprocess.Popen(
            [self.python, "-c", program, *arguments],
            env=self.environment(**environment),
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, *, fails: bool = False, **environment: str) -> str:
        process = self.start(code, **environment)
        out, err = process.communicate(timeout=100)
        assert (process.returncode != 0) == fails, out + err
        return out

    def answer(self, code: str, **environment: str) -> Any:
        """What the last line of a program's output says in JSON."""
        return json.loads(self.run(code, **environment).strip().splitlines()[-1])

    def sync(self, *paths: Path, **environment: str) -> str:
        done = subprocess.run(
            [self.python, "-m", "wandb", "sync", *map(str, paths)],
            env=self.environment(**environment),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def offline_folders(self) -> list[Path]:
        return sorted((self.home / "wandb").glob("offline-run-*"))


def log_natively(kelt: Kelt, tmp_path: Path, code: str) -> None:
    """Runs a script that uses kelt, to its end and that of its daemon."""
    with _host(kelt, tmp_path) as host:
        host.run("import kelt\n" + textwrap.dedent(code))


def sync_by_kelt(kelt: Kelt, tmp_path: Path, *paths: Path) -> None:
    """By a daemon that ends with it."""
    with _host(kelt, tmp_path) as host:
        host.kelt("sync", "--yes", *paths)


@contextlib.contextmanager
def _host(kelt: Kelt, tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path / "kelt", kelt.url)
    try:
        yield host
    finally:
        host.close()


@pytest.fixture
def kelt(tmp_path: Path) -> Iterator[Kelt]:
    folder = tmp_path / "server"
    folder.mkdir()
    server = Kelt(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(tmp_path: Path, kelt: Kelt) -> Client:
    home = tmp_path / "home"
    home.mkdir()
    return Client(home, kelt.url)
