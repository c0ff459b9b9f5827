"""What NVIDIA's library says, by W&B's names; and what it does not."""

# ruff: noqa: N802, ARG002 # NVIDIA's names

from __future__ import annotations

import os
from types import SimpleNamespace

import pynvml
import pytest

from kelt.gpu_metrics import NvidiaGpus

COMMON = {
    "gpu": 87.0, "memory": 40.0, "memoryAllocated": 25.0, "memoryAllocatedBytes": 2.0e10,
    "temp": 61.0, "powerWatts": 350.0, "enforcedPowerLimitWatts": 700.0, "powerPercent": 50.0,
}  # fmt: skip
MORE = {
    "smClock": 1980.0, "memoryClock": 2619.0, "correctedMemoryErrors": 3.0,
    "uncorrectedMemoryErrors": 1.0, "fanSpeed": 30.0,
}  # fmt: skip


class Library:
    """NVIDIA's module with two GPUs; the second has no fan and nobody uses it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def __getattr__(self, name: str):
        return getattr(pynvml, name)  # its constants

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetUtilizationRates(self, gpu):
        return SimpleNamespace(gpu=87, memory=40)

    def nvmlDeviceGetMemoryInfo(self, gpu):
        return SimpleNamespace(total=80_000_000_000, used=20_000_000_000)

    def nvmlDeviceGetTemperature(self, gpu, sensor):
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return 61

    def nvmlDeviceGetPowerUsage(self, gpu):
        return 350_000

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu):
        return 700_000

    def nvmlDeviceGetClockInfo(self, gpu, kind):
        return {pynvml.NVML_CLOCK_SM: 1980, pynvml.NVML_CLOCK_MEM: 2619}[kind]

    def nvmlDeviceGetMemoryErrorCounter(self, gpu, kind, counter, place):
        assert place == pynvml.NVML_MEMORY_LOCATION_DEVICE_MEMORY
        return {pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED: 3}.get(kind, 1)

    def nvmlDeviceGetFanSpeed(self, gpu):
        self.asked.append(("fan", gpu))
        if gpu == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return 30

    def nvmlDeviceGetComputeRunningProcesses(self, gpu):
        return [SimpleNamespace(pid=os.getpid() if gpu == 0 else 1)]


def test_each_gpu_is_measured_and_the_one_in_use_is_told_again_as_the_processs() -> None:
    expected = {f"gpu.0.{name}": value for name, value in (COMMON | MORE).items()}
    expected |= {f"gpu.process.0.{name}": value for name, value in COMMON.items()}
    expected |= {f"gpu.1.{n}": value for n, value in (COMMON | MORE).items() if n != "fanSpeed"}
    assert NvidiaGpus(Library()).sample() == expected


def test_what_a_gpu_cannot_answer_is_not_asked_again() -> None:
    library = Library()
    gpus = NvidiaGpus(library)
    for _ in range(3):
        gpus.sample()
    assert library.asked.count(("fan", 1)) == 1
    assert library.asked.count(("fan", 0)) == 3


def test_where_there_is_no_gpu_or_no_driver_there_are_no_values(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("kelt.gpu_metrics._DEVICES", (str(tmp_path / "none"),))
    assert NvidiaGpus.found().sample() == {}
    if not os.path.exists("/dev/nvidiactl"):  # noqa: PTH110 # a name of the system
        monkeypatch.setattr("kelt.gpu_metrics._DEVICES", (str(tmp_path),))
        assert NvidiaGpus.found().sample() == {}


@pytest.mark.parametrize("name", ["nvmlDeviceGetMemoryErrorCounter", "NVML_CLOCK_SM"])
def test_the_library_has_what_is_asked_of_it(name) -> None:
    assert hasattr(pynvml, name)
