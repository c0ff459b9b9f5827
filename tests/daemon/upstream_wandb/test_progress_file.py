"""What is kept of a run's way to W&B comes back as it was, or not at all."""

from __future__ import annotations

import os

import pytest

from kelt.metric_definitions import MetricDefinition
from kelt_daemon.upstream.wandb.carried_run import CarriedRun, LastLine
from kelt_daemon.upstream.wandb.progress_file import progress_path, read_progress, write_progress


@pytest.fixture
def run() -> CarriedRun:
    run = CarriedRun(
        writer_id=os.urandom(16), folded={os.urandom(16): 2**60}, run_id="é", exit_code=3,
        config={"a": {"b": [1, float("inf")]}}, branch_point={"run_id": "p", "step": 3},
        last_line=LastLine(
            index=4, step=7, timestamp=1.5, runtime=0.25, values={"x": -float("inf")}, first_seq=9
        ),
    )  # fmt: skip
    run.summary.definitions.add(MetricDefinition(name="x", summary="min"))
    run.summary.add_row(("x", "text"), (0.5, "ü"), 3)
    run.summary.set_by_hand("best", 7)
    run.summary.remove("gone")
    return run


def test_it_comes_back_as_it_was(tmp_path, run):
    path = progress_path(tmp_path, "http://w")
    write_progress(path, run)
    assert read_progress(path) == run
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_server_has_a_file_of_its_own(tmp_path):
    assert progress_path(tmp_path, "http://a") != progress_path(tmp_path, "http://b")


def test_damage_anywhere_makes_it_as_if_it_were_not_there(tmp_path, run):
    path = progress_path(tmp_path, "http://w")
    write_progress(path, run)
    whole = path.read_bytes()
    for place in range(0, len(whole), 37):
        path.write_bytes(whole[:place])
        assert read_progress(path) is None
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert read_progress(path) in (None, run)  # a space may have become another
