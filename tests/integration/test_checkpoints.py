"""The point of a run that a checkpoint carries, without any framework."""

from __future__ import annotations

import pytest

import kelt
from kelt.errors import UsageError
from kelt.integration.checkpoints import (
    checked_go_on,
    open_run,
    point_in,
    point_of,
    rewind_open,
)


@pytest.fixture(autouse=True)
def _offline(tmp_path, monkeypatch):
    monkeypatch.setenv("KELT_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("KELT_MODE", "offline")
    monkeypatch.setenv("KELT_SILENT", "1")
    yield
    while kelt.run is not None:
        kelt.finish()


def logged(run, steps):
    for step in steps:
        run.log({"loss": step * 0.5}, step=step)


def test_before_its_first_row_a_run_has_no_point():
    run = kelt.init("p")
    assert point_of(run) is None
    logged(run, [4])
    point = point_of(run)
    assert (point.run_id, point.branch_id, point.step) == (run.id, run.immutable_id, 4)
    assert point_in(point.as_dict()) == point


@pytest.mark.parametrize(
    "kept",
    [None, 3, {}, {"run_id": "a"}, {"entity": "", "project": "p", "run_id": "", "branch_id": "b", "step": 1},
     {"entity": "", "project": "p", "run_id": "a", "branch_id": "b", "step": "1"}],
)  # fmt: skip
def test_what_is_no_point_is_none(kept):
    assert point_in(kept) is None


def test_a_training_goes_on_in_the_run_of_its_checkpoint_rewound_to_it():
    with kelt.init("p", config={"lr": 1}) as run:
        logged(run, range(10))
        point = point_of(run)
        logged(run, range(10, 20))
    again = open_run(point, "rewind", {"project": "other"})
    assert (again.id, again.project, again.step) == (run.id, "p", 10)
    assert again.immutable_id != run.immutable_id
    assert dict(again.config) == {"lr": 1}


def test_or_in_a_fork_of_it_or_in_a_run_of_its_own():
    with kelt.init("p") as run:
        logged(run, range(10))
        point = point_of(run)
    with open_run(point, "fork", {"project": "p"}) as fork:
        assert fork.id != run.id
        assert fork.step == 10
    with open_run(point, "new", {"project": "p"}) as new:
        assert new.step == 0
    with open_run(point, "rewind", {"project": "p", "id": "mine"}) as mine:
        assert (mine.id, mine.step) == ("mine", 0)


def test_a_point_of_a_branch_that_was_left_since_is_still_that_branchs():
    with kelt.init("p") as run:
        logged(run, range(10))
        point = point_of(run)
        run.rewind(2)
        run.log({"loss": 9.0})
    again = open_run(point, "rewind", {"project": "p"})
    assert (again.id, again.step, again.summary["loss"]) == (run.id, 10, 4.5)


def test_a_run_that_is_open_is_taken_back_if_the_checkpoint_is_its_own(capsys, monkeypatch):
    monkeypatch.delenv("KELT_SILENT")
    run = kelt.init("p", id="a")
    logged(run, range(10))
    point = point_of(run)
    rewind_open(run, point)
    assert run.immutable_id == point.branch_id  # nothing came after it
    logged(run, range(10, 20))
    rewind_open(run, point)
    assert run.step == 10
    other = kelt.init("p", id="b", reinit="create_new")
    rewind_open(other, point)
    assert "the checkpoint belongs to run 'a'" in capsys.readouterr().err
    other.finish(quiet=True)
    run.finish(quiet=True)


def test_how_to_go_on_is_checked_at_once():
    with pytest.raises(UsageError, match="rewind, fork, new"):
        checked_go_on("append")
