from __future__ import annotations

import subprocess
import sys

KEEPS = """
import sys
from pathlib import Path
from kelt.server_process import ServerProcess
server = ServerProcess(folder=Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
"""


def test_a_server_that_is_kept_does_not_hold_the_demos_output(tmp_path):
    # As in `kelt demo --keep | tail`: the reader ends when nobody holds the pipe any more.
    demo = subprocess.run(
        [sys.executable, "-c", KEEPS, str(tmp_path)],
        stdout=subprocess.PIPE, text=True, timeout=60, check=True,
    )  # fmt: skip
    try:
        assert (tmp_path / "ready.json").exists()
    finally:
        subprocess.run(["kill", demo.stdout.strip()], check=True)
