"""When the machine is measured, and that nothing waits for it."""

from __future__ import annotations

import json
import sys
import threading
import time

import pytest

from kelt.cgroup_limits import CgroupLimits
from kelt.system_metrics import SystemMetrics
from kelt.system_sampling import SystemSampling
from kelt_proto.v1.record_pb2 import System


class Taken:
    """Takes samples, and tells when one has come."""

    def __init__(self) -> None:
        self.samples: list[dict[str, float]] = []
        self.has_come = threading.Event()

    def __call__(self, payload: bytes) -> bool:
        (sample,) = System.FromString(payload).samples
        self.samples.append({item.key: json.loads(item.json) for item in sample.values})
        self.has_come.set()
        return True


@pytest.fixture
def taken() -> Taken:
    return Taken()


def settle(sampling: SystemSampling) -> None:
    while sampling._is_under_way:
        time.sleep(0.001)


def test_a_run_is_measured_after_each_interval_by_a_thread_that_does_not_stay(taken) -> None:
    sampling = SystemSampling(append=taken, interval_s=15.0)
    began_s, before = time.monotonic(), threading.active_count()
    for after_s in (0.0, 14.0, 16.0, 20.0, 31.5):
        sampling.look(began_s + after_s)
        settle(sampling)
    assert len(taken.samples) == 2
    assert taken.samples[1]["system.proc.memory.rssMB"] > 1
    assert threading.active_count() <= before + 1  # the last may be on its way out


def test_the_label_of_a_shared_runs_writer_is_in_the_names(taken) -> None:
    sampling = SystemSampling(append=taken, interval_s=0.1, label="rank_1")
    sampling.look(time.monotonic() + 1)
    assert taken.has_come.wait(60)
    assert "system.cpu/l:rank_1" in taken.samples[0]


def test_a_measurement_that_hangs_is_not_begun_again_and_holds_up_no_end(
    taken, monkeypatch
) -> None:
    hanging, begun = threading.Event(), []

    def hang(_: SystemMetrics) -> dict[str, float]:
        begun.append(1)
        hanging.wait()
        return {"system.cpu": 1.0}

    monkeypatch.setattr(SystemMetrics, "sample", hang)
    sampling = SystemSampling(append=taken, interval_s=0.1)
    for after_s in range(1, 5):
        sampling.look(time.monotonic() + after_s)
    sampling.end()
    hanging.set()
    settle(sampling)
    assert (begun, taken.samples) == ([1], [])


def test_without_psutil_there_are_no_samples_and_nothing_else(taken, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.delitem(sys.modules, "kelt.system_metrics")
    sampling = SystemSampling(append=taken, interval_s=0.1)
    sampling.look(time.monotonic() + 1)
    settle(sampling)
    sampling.look(time.monotonic() + 2)
    assert taken.samples == []
    assert not sampling._is_under_way


def test_shares_of_memory_are_those_of_a_containers_limit(tmp_path, monkeypatch) -> None:
    used = tmp_path / "memory.current"
    used.write_text(str(512 * 2**20))
    limits = CgroupLimits(cores=0.5, memory_bytes=2**30, memory_file=used)
    monkeypatch.setattr("kelt.system_metrics.cgroup_limits", lambda: limits)
    now_s, cpu_s = time.monotonic(), time.process_time()
    values = SystemMetrics(began_s=now_s - 100, cpu_s=cpu_s - 25).sample()
    assert (values["system.memory_percent"], values["system.proc.memory.availableMB"]) == (50, 512)
    resident = values["system.proc.memory.rssMB"]
    assert values["system.proc.memory.percent"] == pytest.approx(100 * resident / 1024)
    assert 45 < values["system.cpu"] < 60


def test_what_one_thing_cannot_say_costs_the_others_nothing(monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("couldn't find /proc/diskstats")

    monkeypatch.setattr("psutil.disk_io_counters", fail)
    monkeypatch.setattr("psutil.disk_usage", fail)
    cpu_s = time.process_time()
    values = SystemMetrics(began_s=time.monotonic() - 10, cpu_s=cpu_s - 5).sample()
    assert 0 < values["system.cpu"] < 100
    assert {"system.memory_percent", "system.network.recv"} <= values.keys()
    assert not any(name.startswith("system.disk") for name in values)
