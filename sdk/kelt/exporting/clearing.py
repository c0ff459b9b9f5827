"""Clears up after an export that was killed: `python -m kelt.exporting.clearing FOLDER`.

It reads a pipe whose other end only the export has, so that the pipe ends with it, however it ends.
An export that has cleared up itself says so there. After one that has not, its server and daemon
are found by their folder, which is in their command lines, and end before the folder goes.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

SERVER, STATE = "server", "state"
_MODULES = frozenset(("kelt_server", "kelt_daemon"))
_ENDING_S = 15.0
_LOOK_S = 0.1


@contextlib.contextmanager
def cleared_if_killed(folder: Path) -> Iterator[None]:
    """Has the folder and the processes that use it cleared away if this process is killed."""
    command = [sys.executable, "-m", __name__, str(folder)]
    # In a session of its own: what a terminal does to all at once is not meant for it.
    with subprocess.Popen(  # noqa: S603 # our own
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as clearing:  # fmt: skip
        try:
            yield
        finally:
            clearing.communicate(b"done")


def clear(folder: Path) -> None:
    """Ends what runs in the folder, and takes it away."""
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in _processes(folder):
            with contextlib.suppress(psutil.Error):
                end(process)
        deadline_s = time.monotonic() + _ENDING_S
        while _processes(folder) and time.monotonic() < deadline_s:
            time.sleep(_LOOK_S)
    shutil.rmtree(folder, ignore_errors=True)


def _processes(folder: Path) -> list[psutil.Process]:
    places = {str(folder / SERVER), str(folder / STATE)}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # ended meanwhile, or another user's
            words = set(process.cmdline())
            if words & _MODULES and words & places:
                found.append(process)
    return found


if __name__ == "__main__" and not sys.stdin.buffer.read():
    clear(Path(sys.argv[1]))
