"""NVIDIA's GPUs, by NVML: the values that W&B's client measures, by its names.

`gpu.process.N.*` repeats those of a GPU that this process computes on. Where there is no GPU or no
driver there are no values. A question that a GPU cannot answer (a fan's speed, say) is not asked
again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Without one of these nothing is loaded: the driver's device, and that of WSL.
_DEVICES = ("/dev/nvidiactl", "/dev/dxg")
#: Besides, of each GPU that the process uses.
_OF_PROCESS = (
    "gpu", "memory", "memoryAllocated", "memoryAllocatedBytes", "temp", "powerWatts",
    "enforcedPowerLimitWatts", "powerPercent",
)  # fmt: skip

_Question = Callable[[Any, Any], Mapping[str, float]]


def _utilization(nvml: Any, gpu: Any) -> Mapping[str, float]:
    rates = nvml.nvmlDeviceGetUtilizationRates(gpu)
    return {"gpu": rates.gpu, "memory": rates.memory}


def _memory(nvml: Any, gpu: Any) -> Mapping[str, float]:
    memory = nvml.nvmlDeviceGetMemoryInfo(gpu)
    share = 100 * memory.used / memory.total
    return {"memoryAllocated": share, "memoryAllocatedBytes": memory.used}


def _temperature(nvml: Any, gpu: Any) -> Mapping[str, float]:
    return {"temp": nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)}


def _power(nvml: Any, gpu: Any) -> Mapping[str, float]:
    return {"powerWatts": nvml.nvmlDeviceGetPowerUsage(gpu) / 1000}


def _power_limit(nvml: Any, gpu: Any) -> Mapping[str, float]:
    limit = nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000
    used = nvml.nvmlDeviceGetPowerUsage(gpu) / 1000
    return {"enforcedPowerLimitWatts": limit, "powerPercent": 100 * used / limit}


def _sm_clock(nvml: Any, gpu: Any) -> Mapping[str, float]:
    return {"smClock": nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM)}


def _memory_clock(nvml: Any, gpu: Any) -> Mapping[str, float]:
    return {"memoryClock": nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM)}


def _memory_errors(nvml: Any, gpu: Any) -> Mapping[str, float]:
    kinds = {
        "correctedMemoryErrors": nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED,
        "uncorrectedMemoryErrors": nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
    }
    counter, place = nvml.NVML_AGGREGATE_ECC, nvml.NVML_MEMORY_LOCATION_DEVICE_MEMORY
    return {
        name: nvml.nvmlDeviceGetMemoryErrorCounter(gpu, kind, counter, place)
        for name, kind in kinds.items()
    }


def _fan(nvml: Any, gpu: Any) -> Mapping[str, float]:
    return {"fanSpeed": nvml.nvmlDeviceGetFanSpeed(gpu)}


_QUESTIONS: tuple[_Question, ...] = (
    _utilization, _memory, _temperature, _power, _power_limit, _sm_clock, _memory_clock,
    _memory_errors, _fan,
)  # fmt: skip


@dataclass(slots=True)
class _Gpu:
    handle: Any
    questions: list[_Question] = field(default_factory=lambda: [*_QUESTIONS])


class NvidiaGpus:
    """All GPUs of the machine.

    Args:
        nvml: NVIDIA's module `pynvml`, initialised; None where there are none.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._gpus: list[_Gpu] = []
        if nvml is not None:
            count = nvml.nvmlDeviceGetCount()
            self._gpus = [_Gpu(nvml.nvmlDeviceGetHandleByIndex(i)) for i in range(count)]

    @classmethod
    def found(cls) -> NvidiaGpus:
        """Those that can be asked."""
        if any(Path(device).exists() for device in _DEVICES):
            try:
                import pynvml  # noqa: PLC0415 # needed where there is a GPU

                pynvml.nvmlInit()
                return cls(pynvml)
            except Exception:  # noqa: BLE001, S110 # another package of that name, a driver that fails
                pass
        return cls(None)

    def sample(self) -> Mapping[str, float]:
        """What can be measured now."""
        return dict(self._values())

    def _values(self) -> Iterator[tuple[str, float]]:
        for index, gpu in enumerate(self._gpus):
            is_ours = self._is_used_by(gpu, os.getpid())
            for question in [*gpu.questions]:
                try:
                    answers = question(self._nvml, gpu.handle)
                except Exception:  # noqa: BLE001 # NVMLError, or a function that is not there
                    gpu.questions.remove(question)
                    continue
                for name, value in answers.items():
                    yield f"gpu.{index}.{name}", float(value)
                    if is_ours and name in _OF_PROCESS:
                        yield f"gpu.process.{index}.{name}", float(value)

    def _is_used_by(self, gpu: _Gpu, pid: int) -> bool:
        try:
            running = self._nvml.nvmlDeviceGetComputeRunningProcesses(gpu.handle)
        except Exception:  # noqa: BLE001 # as above
            return False
        return any(process.pid == pid for process in running)
