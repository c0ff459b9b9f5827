"""The daemon's process with other bounds and times: `python quick_daemon.py STATE_DIR READY_FD`.

`KELT_TEST_CONFIG` holds fields of `DaemonConfig` as JSON. Everything else is the real thing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from kelt.state_dir import StateDir

#: Deadlines are not among them: a loaded machine would make an upstream count as away.
QUICK = {
    "backoff_s_min": 0.05,
    "backoff_s_max": 0.3,
    "heartbeat_interval_s": 0.25,
    "probe_interval_s": 0.5,
    "rescan_interval_s": 1.0,
}


class QuickDaemon:
    """A daemon of a state folder as a process of the test; trainers there find it running."""

    def __init__(self, state_dir: Path, *, environ: dict[str, str], **config) -> None:
        self.state_dir = state_dir
        self.environ = environ | {"KELT_TEST_CONFIG": json.dumps({**QUICK, **config})}
        self.process: subprocess.Popen | None = None

    def start(self, *, prefix: tuple[str, ...] = ()):
        """Starts it and waits until it is ready; `prefix` is a command that runs the rest."""
        StateDir(self.state_dir).create()
        ready, ready_child = os.pipe()
        command = [*prefix, sys.executable, __file__, str(self.state_dir), str(ready_child)]
        with (self.state_dir / "quick.stderr").open("ab") as errors:
            self.process = subprocess.Popen(
                command, pass_fds=(ready_child,), env=self.environ, stderr=errors
            )
        os.close(ready_child)
        with os.fdopen(ready, "rb") as pipe:
            assert pipe.read(1) == b"\n", (self.state_dir / "quick.stderr").read_text()
        return self

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            self.process.terminate()
        self.process.wait(60)

    def events(self, *names: str) -> list[dict]:
        """What it logged, of these names."""
        lines = (self.state_dir / "logs" / "daemon.log").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] in names]


def main() -> None:
    from kelt_daemon.config import DaemonConfig
    from kelt_daemon.daemon import run_daemon

    os.umask(0o077)
    run_daemon(
        StateDir(Path(sys.argv[1])),
        idle_exit_s=None,
        ready_fd=int(sys.argv[2]),
        environ=os.environ,
        config=DaemonConfig(**json.loads(os.environ["KELT_TEST_CONFIG"])),
    )


if __name__ == "__main__":
    main()
