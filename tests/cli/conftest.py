"""The command line as a user has it: a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.stack import Host, ServerProcess

#: Nobody listens there: the port is reserved and never served.
NOBODY = "http://127.0.0.1:1"
COMMAND = [sys.executable, "-m", "kelt.cli"]


@dataclass
class CommandLine:
    """Runs `kelt` with an environment that has nothing of the user's."""

    state_dir: Path
    environ: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __call__(self, *arguments, timeout_s=60, **environ):
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def start(self, *arguments, **environ):
        process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env=self.environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def python(self, code, timeout_s=60, **environ):
        return subprocess.run(
            [sys.executable, "-c", code],
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


@pytest.fixture
def kelt():
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("KELT_", "COLUMNS"))}
    # A short path: the socket's must fit into 107 bytes.
    with tempfile.TemporaryDirectory(prefix="kelt-cli-") as folder:
        state_dir = Path(folder) / "state"
        environ = kept | {
            "KELT_DIR": str(state_dir),
            "KELT_CONFIG": "/dev/null",
            "KELT_UPSTREAM": NOBODY,
            "PYTHONUNBUFFERED": "1",
        }
        command_line = CommandLine(state_dir=state_dir, environ=environ)
        yield command_line
        for process in command_line.started:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        Host(state_dir, NOBODY).stop_daemon()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    process.start()
    yield process
    process.stop()


@pytest.fixture
def served(kelt, server):
    """The command line with a server as its upstream."""
    kelt.environ["KELT_UPSTREAM"] = server.url
    return kelt
