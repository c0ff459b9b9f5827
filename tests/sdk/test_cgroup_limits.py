"""The limits of a control group, from files as the kernel has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kelt.cgroup_limits import CgroupLimits, cgroup_limits


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    (tmp_path / "own").write_text("4:memory:/old\n0::/pod/container\n")
    (tmp_path / "cgroup" / "pod" / "container").mkdir(parents=True)
    return tmp_path / "cgroup"


def limits(root: Path) -> CgroupLimits:
    return cgroup_limits(root=root, own=root.parent / "own")


def test_without_a_limit_or_a_group_there_is_none(root: Path) -> None:
    assert limits(root) == CgroupLimits()
    (root / "pod" / "container" / "cpu.max").write_text("max 100000\n")
    (root / "pod" / "container" / "memory.max").write_text("max\n")
    assert limits(root) == CgroupLimits()
    assert cgroup_limits(root=root, own=root / "none") == CgroupLimits()
    assert limits(root).used_bytes() is None


def test_the_smallest_counts_of_a_group_and_those_it_is_in(root: Path) -> None:
    inner, outer = root / "pod" / "container", root / "pod"
    (inner / "cpu.max").write_text("400000 100000\n")
    (outer / "cpu.max").write_text("150000 100000\n")
    (inner / "memory.max").write_text("4000\n")
    (inner / "memory.current").write_text("1000\n")
    (outer / "memory.max").write_text("9000\n")
    (root.parent / "memory.max").write_text("1\n")  # no group of it
    found = limits(root)
    assert (found.cores, found.memory_bytes, found.used_bytes()) == (1.5, 4000, 1000)


def test_a_process_that_may_run_on_some_processors_alone_has_so_many(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    assert limits(root).cores == 8.0


@pytest.mark.parametrize("text", ["", "1 0", "x y", "1 2 3"])
def test_what_cannot_be_read_is_no_limit(root: Path, text: str) -> None:
    (root / "pod" / "cpu.max").write_text(text)
    (root / "pod" / "memory.max").write_text(text)
    assert limits(root) == CgroupLimits()
