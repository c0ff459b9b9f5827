"""Several processes post by one name: whose post it is, and that each row is there once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server.wandb_api.doors import DONE, NAME, DoorStand, line, summary
from sqlalchemy import update

from kelt_server.catalog.tables import WANDB_SESSIONS
from kelt_server.errors import StoreError


@pytest.fixture
def door(tmp_path: Path) -> Iterator[DoorStand]:
    with DoorStand.opened(tmp_path) as opened:
        yield opened


def old(*steps: int) -> list[dict[str, Any]]:
    return [line(step, old=step) for step in steps]


def new(*steps: int) -> list[dict[str, Any]]:
    return [line(step, at=900.0 + step, new=step) for step in steps]


def began_again(door: DoorStand, how: str) -> int:
    """A process of five rows, and another one by its name; returns the index that this begins at."""
    door.begin()
    door.post(door.lines(0, *old(0, 1, 2, 3, 4)))
    if how == "rewound":
        return door.begin(point=("run", 1), id="x")
    return door.begin(host="another host")


@pytest.mark.parametrize("how", ["rewound", "anew"])
def test_what_the_earlier_process_still_posts_stays_on_its_branch(
    door: DoorStand, how: str
) -> None:
    start = began_again(door, how)
    door.post(door.lines(5, *old(5, 6)))
    first = 2 if how == "rewound" else 0
    door.post(door.lines(start, *new(first, first + 1)))
    door.post(door.lines(7, *old(7), **DONE))
    door.post(door.lines(start + 2, *new(first + 2)))
    kept = [(0, {"old": 0}), (1, {"old": 1})] if how == "rewound" else []
    assert door.values() == kept + [(first + i, {"new": first + i}) for i in range(3)]
    run = door.run()
    assert (run["state"], run["lost_rows"], run["rows_step_went_down"]) == ("running", 0, 0)
    (archived,) = run["archived"]
    earlier = door.stand.reader.branch(archived).as_json()
    assert (earlier["rows"], earlier["state"]) == (8, "finished")


@pytest.mark.parametrize("how", ["rewound", "anew"])
def test_a_repeated_post_of_the_earlier_process_changes_nothing(door: DoorStand, how: str) -> None:
    start = began_again(door, how)
    door.post(door.lines(3, *old(3, 4)))
    first = 2 if how == "rewound" else 0
    door.post(door.lines(start, *new(first)))
    kept = [(0, {"old": 0}), (1, {"old": 1})] if how == "rewound" else []
    assert door.values() == [*kept, (first, {"new": first})]


@pytest.mark.parametrize("how", ["rewound", "anew"])
def test_the_goodbye_of_the_earlier_process_is_its_own(door: DoorStand, how: str) -> None:
    start = began_again(door, how)
    last = summary(old=4, best=7, _step=4, _timestamp=104.0)
    door.post({**last, **DONE})
    first = 2 if how == "rewound" else 0
    door.post(door.lines(start, *new(first)))
    run = door.run()
    assert (run["state"], "best" in run["summary"]) == ("running", False)
    door.post({**summary(new=first, _step=first, _timestamp=900.0 + first), **DONE})
    assert door.run()["state"] == "finished"
    assert len(door.run()["archived"]) == 1


def test_a_file_is_synced_while_its_process_goes_on(door: DoorStand) -> None:
    door.begin()
    door.post(door.lines(0, *old(0, 1)))
    door.begin(host="the host of the sync")
    door.post(door.lines(0, *old(0, 1)))
    door.post(door.lines(2, *old(2, 3)))
    door.post(door.lines(2, *old(2, 3, 4)))
    door.post(door.lines(5, *old(5)))
    door.post(door.lines(4, *old(4, 5, 6)))
    assert door.values() == [(step, {"old": step}) for step in range(7)]
    assert door.run()["archived"] == []


def test_two_processes_that_resume_one_run_keep_all_their_rows(door: DoorStand) -> None:
    door.begin()
    door.post(door.lines(0, line(0, loss=0.5)))
    one, other = door.begin(id="x"), door.begin(id="x", host="another host")
    for step in range(1, 6):
        door.post(door.lines(one + step - 1, line(step, loss=step)))
        door.post(door.lines(other + step - 1, line(step, at=900.0 + step, loss=-step)))
    found = sorted((step, values["loss"]) for step, values in door.values())
    assert found == sorted([(0, 0.5), *((s, f * s) for s in range(1, 6) for f in (1, -1))])
    run = door.run()
    assert (run["lost_rows"], run["rows"], run["archived"]) == (0, 11, [])


def test_what_a_process_says_late_of_its_config_is_not_the_next_ones(door: DoorStand) -> None:
    said = {"value": {"e": {"one": {}}}}
    door.begin(config={"lr": 1})
    door.upsert(config={"lr": {"value": 1}, "_wandb": said})
    door.post(door.lines(0, *old(0, 1)))
    start = door.begin(point=("run", 0), id="x", config={"lr": 2})
    door.post(door.lines(start, *new(1)))
    door.upsert(config={"lr": {"value": 1}, "late": {"value": 1}, "_wandb": said})
    assert door.run()["config"] == {"lr": 2}


def test_old_sessions_are_let_go_and_their_rows_still_known(door: DoorStand) -> None:
    door.begin()
    last = door.lines(0, *old(0, 1), **DONE)
    door.post(last)
    other = ("local", "proj", "other")
    door.now += 31 * 86400
    door.begin(other)
    assert door.sessions() == [other]
    before = door.run()
    door.post(last)
    door.begin()
    door.post(last)
    assert door.run() == before


def test_after_a_restart_each_goes_on_where_it_was(door: DoorStand) -> None:
    start = began_again(door, "rewound")
    door.post(door.lines(start, *new(2)))
    door.restart()
    door.post(door.lines(5, *old(5)))
    door.restart()
    door.post(door.lines(start + 1, *new(3)))
    assert [step for step, values in door.values() if "new" in values] == [2, 3]
    (archived,) = door.run()["archived"]
    assert door.stand.reader.branch(archived).as_json()["rows"] == 6


@pytest.mark.parametrize(("version", "resumes"), [("0.16.6", True), ("0.31.0", False)])
def test_who_asked_how_a_run_stands_resumes_it_only_where_versions_say_it_so(
    door: DoorStand, version: str, resumes: bool
) -> None:
    door.begin()
    door.post(door.lines(0, *old(0), **DONE))
    door.door.expect_resume(NAME)  # and was refused, with resume="never"
    start = door.upsert(config={"_wandb": {"value": {"cli_version": version}}}, host="h")
    door.post(door.lines(start, *new(1)))
    assert len(door.run()["archived"]) == (0 if resumes else 1)


def test_a_rewind_of_the_oldest_clients_that_know_it(door: DoorStand) -> None:
    door.begin(config={"lr": 1})
    door.post(door.lines(0, *old(0, 1, 2), **DONE))
    door.rewind(1)
    assert len(door.run()["archived"]) == 0  # it has only asked
    door.upsert(config={"lr": {"value": 2}})
    door.post(door.lines(2, *new(2)))
    assert [values for _, values in door.values()] == [{"old": 0}, {"old": 1}, {"new": 2}]
    assert len(door.run()["archived"]) == 1


def test_a_synced_run_was_made_when_it_began(door: DoorStand) -> None:
    door.begin(jobProgram="-m wandb.__main__")
    door.post(door.lines(0, line(0, at=500.0, a=1), line(1, at=510.0, a=1), **DONE))
    assert door.run()["created_at"] == 499.0
    other = ("local", "proj", "other")
    said = {"_wandb": {"value": {"start_time": 400.0}}}
    door.upsert(other, config=said, host="h")
    assert door.run("other")["created_at"] == 400.0


def test_a_goodbye_that_was_cut_off_is_heard_when_it_comes_again(door: DoorStand) -> None:
    door.begin()
    door.post(door.lines(0, *old(0, 1)))  # killed
    start = door.begin(id="x")
    last = door.lines(start, *new(2, 3), **DONE)
    door.commits.failing = ["before", ""]  # the rows are committed, and the goodbye is not
    with pytest.raises(StoreError):
        door.post(last)
    assert door.run()["rows"] == 4
    door.restart()
    door.post(last)
    run = door.run()
    assert (run["state"], run["rows"], len(run["sessions"])) == ("finished", 4, 2)


@pytest.mark.parametrize("column", ["document", "batch"])
def test_a_damaged_session_costs_no_row_and_stops_nobody(door: DoorStand, column: str) -> None:
    door.begin()
    door.post(door.lines(0, *old(0, 1)))
    with door.stand.stores.catalog.engine.begin() as connection:
        connection.execute(update(WANDB_SESSIONS).values(**{column: b"{\xff no session"}))
    door.restart()
    door.post(door.lines(0, *old(0, 1, 2)))
    assert door.values() == [(step, {"old": step}) for step in range(3)]


def test_many_processes_of_one_name_keep_to_their_sessions(door: DoorStand) -> None:
    """As where every rank of a training resumes one run, without `mode="shared"`."""
    ranks = range(12)
    door.begin()
    door.post(door.lines(0, line(0, loss=0)))
    starts = [door.begin(id="x", host=f"host {rank}") for rank in ranks]
    for step in range(1, 5):
        for rank in ranks:
            row = line(step, at=1000.0 * rank + step, loss=rank)
            door.post(door.lines(starts[rank] + step - 1, row))
    run = door.run()
    assert (run["rows"], run["lost_rows"], run["archived"]) == (1 + 4 * 12, 0, [])
    assert len(run["sessions"]) <= 1 + 12
