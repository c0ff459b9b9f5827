"""What the machine does while a run goes on: the values that W&B's client measures, by its names.

As there, `cpu` is the share of the machine's cores that this process takes, what is a share of the
machine is one of the control group's limits where there are such, and disk and network count up;
here, from the first sample. Loading psutil takes a while, so this module is imported by
the thread that measures (`kelt.system_sampling`), and not at all by runs that are over before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

import psutil

from kelt.cgroup_limits import cgroup_limits
from kelt.gpu_metrics import NvidiaGpus

_PREFIX = "system."
_DISK_PATH = "/"
_MIB, _GIB = 2**20, 2**30
_PSEUDO_DEVICES = ("loop", "ram", "zram")


class SystemMetrics:
    """Measures this machine and this process.

    Args:
        began_s: the monotonic time from which the first sample tells `cpu`.
        cpu_s: the processor time that the process had taken by then.
    """

    def __init__(self, *, began_s: float, cpu_s: float) -> None:
        self._process = psutil.Process()
        self._limits = cgroup_limits()
        self._cores = self._limits.cores or psutil.cpu_count(logical=False) or os.cpu_count() or 1
        self._looked_s, self._cpu_s = began_s, cpu_s
        self._sent_bytes, self._received_bytes = _network_bytes()
        self._disks = _disk_bytes()
        self._gpus = NvidiaGpus.found()

    def sample(self) -> dict[str, float]:
        """What can be measured now; what cannot is left out."""
        values: dict[str, float] = {}
        groups: tuple[Callable[[], Mapping[str, float]], ...] = (
            self._cpu, self._memory, self._disk_use, self._disk_traffic, self._network,
            self._gpus.sample,
        )  # fmt: skip
        for measure in groups:
            try:
                values |= measure()
            except Exception:  # noqa: BLE001, S112 # a container without /proc/diskstats, and the like
                continue
        return {_PREFIX + name: value for name, value in values.items()}

    def _cpu(self) -> Mapping[str, float]:
        now_s, cpu_s = time.monotonic(), time.process_time()
        used_s, passed_s = cpu_s - self._cpu_s, max(now_s - self._looked_s, 1e-3)
        self._looked_s, self._cpu_s = now_s, cpu_s
        return {
            "cpu": 100 * used_s / passed_s / self._cores,
            "proc.cpu.threads": float(self._process.num_threads()),
        }

    def _memory(self) -> Mapping[str, float]:
        machine, resident_bytes = psutil.virtual_memory(), self._process.memory_info().rss
        total_bytes, available_bytes = machine.total, machine.available
        limit_bytes, used_bytes = self._limits.memory_bytes, self._limits.used_bytes()
        if limit_bytes is not None and used_bytes is not None:
            total_bytes, available_bytes = limit_bytes, max(0, limit_bytes - used_bytes)
        return {
            "memory_percent": 100 * (1 - available_bytes / total_bytes),
            "proc.memory.availableMB": available_bytes / _MIB,
            "proc.memory.rssMB": resident_bytes / _MIB,
            "proc.memory.percent": 100 * resident_bytes / total_bytes,
        }

    @staticmethod
    def _disk_use() -> Mapping[str, float]:
        use = psutil.disk_usage(_DISK_PATH)
        return {
            f"disk.{_DISK_PATH}.usagePercent": use.percent,
            f"disk.{_DISK_PATH}.usageGB": use.used / _GIB,
        }

    def _disk_traffic(self) -> Mapping[str, float]:
        values: dict[str, float] = {}
        for name, (read_bytes, written_bytes) in _disk_bytes().items():
            if name in self._disks:
                read_before, written_before = self._disks[name]
                values[f"disk.{name}.in"] = (read_bytes - read_before) / _MIB
                values[f"disk.{name}.out"] = (written_bytes - written_before) / _MIB
        return values

    def _network(self) -> Mapping[str, float]:
        sent, received = _network_bytes()
        return {
            "network.sent": float(sent - self._sent_bytes),
            "network.recv": float(received - self._received_bytes),
        }


def _network_bytes() -> tuple[int, int]:
    counted = psutil.net_io_counters()
    return (0, 0) if counted is None else (counted.bytes_sent, counted.bytes_recv)


def _disk_bytes() -> Mapping[str, tuple[int, int]]:
    """Read and written by the devices that hold `/`; in a container, where none does, by all."""
    try:
        counted = psutil.disk_io_counters(perdisk=True)
    except (OSError, RuntimeError):  # no /proc/diskstats
        return {}
    real = {name: c for name, c in counted.items() if not name.startswith(_PSEUDO_DEVICES)}
    parts = psutil.disk_partitions()
    of_root = {part.device.removeprefix("/dev/") for part in parts if part.mountpoint == _DISK_PATH}
    chosen = {name for name in real if name in of_root} or set(real)
    return {name: (real[name].read_bytes, real[name].write_bytes) for name in sorted(chosen)}
