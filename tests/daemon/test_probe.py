"""What is concluded about a process from what can be looked at."""

from __future__ import annotations

import resource

import pytest

from harness.in_process import make_folder
from kelt.run_folder import LOCK_NAME, read_manifest
from kelt_daemon.liveness import Process
from kelt_daemon.probe import ProcessProbe, is_lock_free


@pytest.fixture
def probe(tmp_path):
    """Of a process that cannot be seen."""
    folder = tmp_path / "r"
    make_folder(folder, "http://127.0.0.1:9", 1, pid=0, pid_start_ticks=1).close()
    return ProcessProbe(manifest=read_manifest(folder), folder=folder)


def test_without_a_lock_file_a_process_that_is_not_seen_is_gone(probe):
    assert probe.look() is Process.GONE


def test_a_lock_that_cannot_be_looked_at_for_want_of_descriptors_proves_no_death(probe, tmp_path):
    (tmp_path / "r" / LOCK_NAME).touch()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        seen, is_free = probe.look(), is_lock_free(tmp_path / "r")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert seen is Process.UNKNOWN
    assert not is_free
    assert probe.look() is Process.GONE
