"""Who must be at W&B before whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from kelt_daemon.upstream.wandb.ordering import QueuedRun, predecessors
from kelt_proto.v1.record_pb2 import BranchPoint, Created, Resumed, RunOpened, Shared


def queued(number: int, run_id: str, **more) -> QueuedRun:
    facts = {
        "writer_id": bytes([number]), "writers": (), "home": Path(), "entity": "", "project": "p",
        "run_id": run_id, "branch_id": f"b{number}", "started_at": float(number),
        "is_through": False, "is_held": False,
    }  # fmt: skip
    return QueuedRun(**(facts | more))


def waits(opened: RunOpened, me: QueuedRun, *others: QueuedRun) -> list[tuple[str, int | None]]:
    found = predecessors(opened, me, [me, *others], default_entity="team")
    return [(before.run.run_id, before.through_step) for before in found]


FORKED = RunOpened(forked=BranchPoint(project="p", run_id="parent", step=3))


def test_a_fork_waits_for_its_parent_up_to_the_point_whenever_that_began():
    assert waits(FORKED, queued(1, "child"), queued(2, "parent")) == [("parent", 3)]
    assert waits(FORKED, queued(1, "child"), queued(2, "parent", is_through=True)) == []
    assert waits(FORKED, queued(1, "child"), queued(2, "parent", project="other")) == []


@pytest.mark.parametrize(("entity", "is_it"), [("team", True), ("", True), ("others", False)])
def test_an_entity_that_is_not_named_is_the_default_one(entity, is_it):
    parent = queued(2, "parent", entity=entity)
    assert waits(FORKED, queued(1, "child"), parent) == ([("parent", 3)] if is_it else [])


def test_a_parent_may_be_named_by_its_immutable_id():
    opened = RunOpened(forked=BranchPoint(branch_id="b2", step=3))
    assert waits(opened, queued(1, "child"), queued(2, "parent")) == [("parent", 3)]


def test_sessions_of_one_run_go_in_the_order_in_which_they_began():
    opened = RunOpened(resumed=Resumed())
    assert waits(opened, queued(2, "r"), queued(1, "r"), queued(3, "r")) == [("r", None)]
    assert waits(RunOpened(created=Created()), queued(2, "r"), queued(1, "r")) == [("r", None)]


def test_the_writers_of_a_shared_run_wait_for_nobody():
    opened = RunOpened(created=Created(), shared=Shared(label="rank_1"))
    assert waits(opened, queued(2, "r"), queued(1, "r")) == []
