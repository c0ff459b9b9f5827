"""What processes have used, as the kernel counts it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one process, so far.

    Attributes:
        cpu_s: user and system time.
        rss_mib: resident now, shared pages included.
        peak_mib: the most that was resident.
        own_mib: resident now, without what is shared with other processes or lies in files.
    """

    cpu_s: float
    rss_mib: float
    peak_mib: float
    own_mib: float


def usage_of(pid: int) -> Usage:
    """What a living process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = {
        name: value.split()
        for name, _, value in (
            line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
    }
    return Usage(
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS_PER_S,
        rss_mib=int(status["VmRSS"][0]) / 1024,
        peak_mib=int(status["VmHWM"][0]) / 1024,
        own_mib=int(status["RssAnon"][0]) / 1024,
    )


def busiest_thread_s(pid: int) -> float:
    """The processor time of the thread of a process that has used most."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        found.append((int(fields[11]) + int(fields[12])) / _TICKS_PER_S)
    return max(found)
