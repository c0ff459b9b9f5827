"""Who must be at W&B before whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from kelt_daemon.upstream.wandb.carried_run import CarriedRun
from kelt_daemon.upstream.wandb.ordering import QueuedRun, has_reached, parents, sessions_before
from kelt_proto.v1.record_pb2 import BranchPoint, Created, Resumed, RunOpened, Shared


def queued(number: int, run_id: str, **more) -> QueuedRun:
    facts = {
        "writer_id": bytes([number]), "writers": (), "folder": Path(), "home": Path(), "entity": "", "project": "p",
        "run_id": run_id, "branch_id": f"b{number}", "started_at": float(number),
        "is_through": False, "is_held": False,
    }  # fmt: skip
    return QueuedRun(**(facts | more))


def waits(opened: RunOpened, me: QueuedRun, *others: QueuedRun) -> list[str]:
    found = sessions_before(opened, me, [me, *others], default_entity="team")
    return [before.run_id for before in found]


def inherits(point: BranchPoint, me: QueuedRun, *others: QueuedRun) -> list[str]:
    return [p.run_id for p in parents(point, me, [me, *others], default_entity="team")]


POINT = BranchPoint(project="p", run_id="parent", step=3)


def test_a_fork_waits_for_what_its_parent_was_up_to_the_point():
    assert inherits(POINT, queued(2, "child"), queued(1, "parent")) == ["parent"]
    assert inherits(POINT, queued(2, "child"), queued(1, "parent", project="other")) == []
    assert inherits(POINT, queued(2, "child"), queued(3, "parent")) == []  # a later session of it


@pytest.mark.parametrize(("entity", "is_it"), [("team", True), ("", True), ("others", False)])
def test_an_entity_that_is_not_named_is_the_default_one(entity, is_it):
    parent = queued(1, "parent", entity=entity)
    assert inherits(POINT, queued(2, "child"), parent) == (["parent"] if is_it else [])


def test_a_parent_may_be_named_by_its_immutable_id():
    point = BranchPoint(branch_id="b1", step=3)
    assert inherits(point, queued(2, "child"), queued(1, "parent")) == ["parent"]


def test_a_point_is_reached_on_its_own_branch():
    run = CarriedRun(writer_id=b"", branches=["old", "now"], last_step=5)
    reached = {
        (branch, step): has_reached(run, BranchPoint(branch_id=branch, step=step))
        for branch in ("old", "now", "later", "")
        for step in (5, 6)
    }
    assert reached == {
        ("old", 5): True, ("old", 6): True,  # nothing more of it comes
        ("now", 5): True, ("now", 6): False, ("later", 5): False, ("later", 6): False,
        ("", 5): True, ("", 6): False,
    }  # fmt: skip


def test_sessions_of_one_run_go_in_the_order_in_which_they_began():
    opened = RunOpened(resumed=Resumed())
    assert waits(opened, queued(2, "r"), queued(1, "r"), queued(3, "r")) == ["r"]
    assert waits(opened, queued(2, "r"), queued(1, "r", is_through=True)) == []


def test_a_new_run_of_an_old_name_waits_for_the_old_one_if_that_can_be_sent():
    opened = RunOpened(created=Created())
    assert waits(opened, queued(2, "r"), queued(1, "r")) == ["r"]
    assert waits(opened, queued(2, "r"), queued(1, "r", is_held=True)) == []
    assert waits(opened, queued(2, "r"), queued(1, "r", problem="no room")) == []
    assert waits(RunOpened(resumed=Resumed()), queued(2, "r"), queued(1, "r", is_held=True)) != []


def test_the_writers_of_a_shared_run_wait_for_nobody():
    opened = RunOpened(created=Created(), shared=Shared(label="rank_1"))
    assert waits(opened, queued(2, "r"), queued(1, "r")) == []
