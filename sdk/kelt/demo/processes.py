"""The demo's processes: a server that can be stopped and started again, and trainers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0


class DemoError(Exception):
    """Something the demo needs did not come about; the message says what."""


@dataclass
class Server:
    """`kelt server` in a folder of its own, on the same ports over restarts."""

    folder: Path
    ports: tuple[int, int] | None = None
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it listens."""
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        http_port, grpc_port = self.ports or (0, 0)
        command = [sys.executable, "-m", "kelt_server", "--dir", str(self.folder)]
        command += ["--port", str(http_port), "--grpc-port", str(grpc_port)]
        command += ["--ready-file", str(ready)]
        with (self.folder / "server.log").open("ab") as log:
            # Its output is not the demo's: `kelt demo --keep | tail` ends while the server stays.
            self._process = subprocess.Popen(  # noqa: S603 # our own
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log_text = (self.folder / "server.log").read_text(errors="replace")
                raise DemoError(f"kelt server did not start:\n{log_text[-2000:]}")
            time.sleep(0.05)
        facts: dict[str, Any] = json.loads(ready.read_text())
        self.ports = (facts["http_port"], facts["grpc_port"])

    def stop(self) -> None:
        """Asks it to stop and waits."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    @property
    def url(self) -> str:
        """Where it answers."""
        if self.ports is None:
            raise DemoError("the server has not been started")
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self._process.pid if self._process else None


@dataclass
class Workshop:
    """Where trainers run: their folders and environment."""

    folder: Path
    upstream: str
    log_path: Path = field(init=False)

    def __post_init__(self) -> None:
        """Makes the folders."""
        for name in ("plain", "checkpoints", "state"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.log_path = self.folder / "trainers.log"

    @property
    def environment(self) -> dict[str, str]:
        """What kelt's processes are told, and nothing of the user's own kelt settings."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("KELT_")}
        return kept | {
            "KELT_DIR": str(self.folder / "state"),
            "KELT_UPSTREAM": self.upstream,
            "KELT_CONFIG": os.devnull,
            "KELT_FINISH_TIMEOUT_S": "5",
            "OMP_NUM_THREADS": "1",
        }

    def plain_file(self, name: str) -> Path:
        """Where the trainer of that name writes its rows down."""
        return self.folder / "plain" / f"{name}.jsonl"

    def start_trainer(
        self, name: str, run_id: str, last_step: int, **options: object
    ) -> subprocess.Popen[bytes]:
        """Starts a trainer; `options` are its flags."""
        command = [sys.executable, "-m", "kelt.demo.trainer", "--run-id", run_id]
        command += ["--plain-file", str(self.plain_file(name)), "--last-step", str(last_step)]
        command += ["--checkpoints", str(self.folder / "checkpoints")]
        for option, value in options.items():
            command += [f"--{option.replace('_', '-')}", str(value)]
        with self.log_path.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 # our own
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def daemon(self, verb: str) -> None:
        """`kelt daemon VERB`."""
        command = [sys.executable, "-m", "kelt.cli.main", "daemon", verb]
        with self.log_path.open("ab") as log:
            subprocess.run(  # noqa: S603 # our own
                command, env=self.environment, stdout=log, stderr=log, check=False, timeout=60
            )
