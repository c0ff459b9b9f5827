"""What becomes `output.log` when a run ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from kelt_daemon.upstream.wandb import output_log
from kelt_daemon.upstream.wandb.output_log import OutputLog


@pytest.fixture
def log(tmp_path: Path) -> OutputLog:
    return OutputLog(tmp_path, "http://wandb")


def test_lines_that_come_again_take_the_place_of_those_before(log):
    log.add(1, {0: "a", 1: "10 %"})
    log.add(1, {1: "100 %\té", 2: ""})
    log.add(1, {0: "a", 1: "100 %\té"})  # after a death
    assert log.text(1) == "a\n100 %\té\n\n"


def test_a_branch_begins_anew(log):
    log.add(1, {0: "a", 1: "b"})
    log.add(2, {0: "c"})
    assert (log.text(1), log.text(2), log.text(3)) == ("a\nb\n", "c\n", "")


def test_a_line_that_was_torn_costs_itself_alone(log, tmp_path):
    log.add(1, {0: "a", 1: "b"})
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-4])
    log.add(1, {2: "c"})
    assert log.text(1) == "a\nc\n"
    log.remove()
    assert log.text(1) == ""


def test_of_too_much_the_newest_lines_are_kept(log, tmp_path, monkeypatch):
    monkeypatch.setattr(output_log, "_BYTES_MAX", 3000)
    monkeypatch.setattr(output_log, "_KEPT_BYTES_MAX", 1500)
    for number in range(500):
        log.add(1, {number // 2: f"line {number}"})
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size <= 3020
    lines = log.text(1).splitlines()
    assert lines == [f"line {number}" for number in range(501 - 2 * len(lines), 500, 2)]
    assert len(lines) > 50
