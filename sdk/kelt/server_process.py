"""A kelt server of one's own: for the demo, and for runs that are on the disk alone."""

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

from kelt.errors import KeltError

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 15.0


class ServerStartError(KeltError):
    """A server that does not run; the message says why."""


@dataclass
class ServerProcess:
    """`kelt server` in a folder of its own, on the same ports over restarts.

    Attributes:
        folder: which is there.
        api_key: what it wants of whoever asks; empty: nothing.
    """

    folder: Path
    api_key: str = field(default="", repr=False)
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
        environ = {k: v for k, v in os.environ.items() if not k.startswith("KELT_SERVER_")}
        if self.api_key:
            environ["KELT_SERVER_API_KEY"] = self.api_key
        with (self.folder / "server.log").open("ab") as log:
            # Its output is not ours: `kelt demo --keep | tail` ends while the server stays.
            self._process = subprocess.Popen(  # noqa: S603 # our own
                command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log_text = (self.folder / "server.log").read_text(errors="replace")
                raise ServerStartError(f"kelt server did not start:\n{log_text[-2000:]}")
            time.sleep(0.05)
        facts: dict[str, Any] = json.loads(ready.read_text())
        self.ports = (facts["http_port"], facts["grpc_port"])

    def stop(self) -> None:
        """Asks it to stop and waits."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    @property
    def url(self) -> str:
        """Where it answers."""
        if self.ports is None:
            raise ServerStartError("The server has not been started.")
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self._process.pid if self._process else None
