"""The demo's trainers, and its daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path


class DemoError(Exception):
    """Something the demo needs did not come about; the message says what."""


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
