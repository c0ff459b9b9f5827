"""Which W&B files lie at a path, and whether somebody still writes one."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from kelt.mounts import network_type

SUFFIX = ".wandb"
#: On a filesystem that others write too, a file that has not changed for so long is over.
_QUIET_S = 300.0
_DEPTH_MAX = 6


def is_wandb_file(path: Path) -> bool:
    """Whether a path names a file that W&B would write its records to."""
    return path.suffix == SUFFIX and path.is_file()


def find_wandb_files(path: Path) -> list[Path]:
    """The file itself, or those in a run folder or a folder of run folders; links resolved."""
    return list(dict.fromkeys(_walk(path, _DEPTH_MAX)))


def _walk(path: Path, depth: int) -> Iterator[Path]:
    if is_wandb_file(path):
        yield path.resolve()
        return
    try:
        children = sorted(path.iterdir()) if path.is_dir() and depth else []
    except OSError:
        return
    for child in children:
        if is_wandb_file(child) or (child.is_dir() and not child.is_symlink()):
            yield from _walk(child, depth - 1)
        elif child.is_dir():  # a link: followed to a run folder, and no further
            yield from (found.resolve() for found in sorted(child.glob(f"*{SUFFIX}")))


def is_being_written(path: Path) -> bool:
    """Whether some process has the file open, as far as can be seen from here."""
    if network_type(path.parent) and time.time() - path.stat().st_mtime < _QUIET_S:
        return True
    try:
        wanted = path.stat()
        pids = [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
    except OSError:
        return False
    return any(_holds(pid, wanted) for pid in pids if int(pid) != os.getpid())


def _holds(pid: str, wanted: os.stat_result) -> bool:
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                found = entry.stat()
                if (found.st_ino, found.st_dev) == (wanted.st_ino, wanted.st_dev):
                    return True
    return False
