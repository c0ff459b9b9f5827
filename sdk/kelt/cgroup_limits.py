"""What the process may take of its machine: the limits of its control group (version 2), if any.

A container sees all of its host's memory and processors, and may use a part. As W&B does, the
smallest limit counts among those of the group and of the groups that it is in; memory in use is
then that of the group with the limit.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
#: Of the line that names a process's group in version 2.
_PREFIX = "0::"


@dataclass(frozen=True, kw_only=True)
class CgroupLimits:
    """Limits where there are such, else None.

    Attributes:
        cores: how many processors' time may be used.
        memory_bytes: how much memory.
        memory_file: tells how much of it is in use.
    """

    cores: float | None = None
    memory_bytes: int | None = None
    memory_file: Path | None = None

    def used_bytes(self) -> int | None:
        """How much memory is in use of what the limit is for."""
        return None if self.memory_file is None else _number(self.memory_file)


def cgroup_limits(*, root: Path = _ROOT, own: Path = _OWN) -> CgroupLimits:
    """Those of this process.

    Args:
        root: where the groups are mounted.
        own: names the group of the process.
    """
    cores = _allowed_cores()
    memory_bytes, memory_file = None, None
    for folder in _groups(root, own):
        share = _processor_share(folder / "cpu.max")
        if share is not None:
            cores = share if cores is None else min(cores, share)
        limit = _number(folder / "memory.max")
        if limit and (memory_bytes is None or limit < memory_bytes):
            memory_bytes, memory_file = limit, folder / "memory.current"
    return CgroupLimits(cores=cores, memory_bytes=memory_bytes, memory_file=memory_file)


def _groups(root: Path, own: Path) -> Iterator[Path]:
    """The folder of the group, and of those that it is in."""
    with contextlib.suppress(OSError):
        for line in own.read_text(encoding="utf-8").splitlines():
            if line.startswith(_PREFIX):
                folder = root / line.removeprefix(_PREFIX).strip("/")
                yield from (each for each in (folder, *folder.parents) if each.is_relative_to(root))


def _allowed_cores() -> float | None:
    """Where the process may run on some processors alone."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not on every system
        return None
    return float(allowed) if allowed < (os.cpu_count() or 1) else None


def _processor_share(path: Path) -> float | None:
    """Of a file such as `150000 100000`: microseconds in each period."""
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = path.read_text(encoding="ascii").split()
        return int(quota) / int(period)
    return None


def _number(path: Path) -> int | None:
    """None of `max`, which stands for no limit."""
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text(encoding="ascii"))
    return None
