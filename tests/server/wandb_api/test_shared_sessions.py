"""`mode="shared"` of wandb's clients: each says an id of its own, and has a writer of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server.wandb_api.doors import DONE, NAME, DoorStand, line

from kelt.names import shared_branch_id


@pytest.fixture
def door(tmp_path: Path) -> Iterator[DoorStand]:
    with DoorStand.opened(tmp_path) as opened:
        yield opened


def begun(door: DoorStand, *clients: str) -> None:
    for client in clients:
        assert door.begin(client=client) == 0
        event = json.dumps({"_timestamp": 1, f"system.cpu/l:rank {client}": 1})
        door.post(
            {"files": {"wandb-events.jsonl": {"offset": 0, "content": [event]}}}, client=client
        )


def rows(door: DoorStand, client: str) -> list[tuple[int, Any]]:
    found = door.stand.rows("run", label=f"rank {client}")
    return [(row["step"], row["values"]["x"]) for row in found]


def test_each_writer_has_its_rows_at_the_same_steps_and_times(door: DoorStand) -> None:
    begun(door, "a", "b")
    for step in range(4):
        for client in "ab":
            post = door.lines(step, line(step, at=5.0 + step, x=f"{client}{step}"))
            door.post(post, client=client)
            door.post(post, client=client)
    for client in "ab":
        assert rows(door, client) == [(step, f"{client}{step}") for step in range(4)]
    run = door.run()
    assert (run["rows"], run["archived"], run["labels"]) == (8, [], ["rank a", "rank b"])


def test_the_branch_is_the_one_that_kelts_own_writers_make(door: DoorStand) -> None:
    begun(door, "a")
    assert door.run()["immutable_id"] == shared_branch_id("", *NAME[1:])


def test_shared_runs_of_one_id_are_different_runs_in_different_entities(door: DoorStand) -> None:
    for entity in ("ann", "bob"):
        name = (entity, *NAME[1:])
        door.begin(name, client=entity)
        door.post(door.lines(0, line(0, x=entity)), name, client=entity)
    runs = [door.stand.reader.run(entity, *NAME[1:]).as_json() for entity in ("ann", "bob")]
    assert len({run["immutable_id"] for run in runs}) == 2
    assert [run["summary"]["x"] for run in runs] == ["ann", "bob"]


def test_the_goodbye_of_one_counts_for_those_that_say_none(door: DoorStand) -> None:
    begun(door, "a", "b")
    door.post(door.lines(0, line(0, x=1)), client="b")
    door.post(door.lines(0, line(0, x=1), **DONE), client="a")
    assert door.run()["state"] == "finished"
    door.post(door.lines(1, line(1, x=1)), client="b")
    assert door.run()["state"] == "finished"  # a straggler


def test_unless_they_go_on(door: DoorStand) -> None:
    begun(door, "a", "b")
    door.post(door.lines(0, line(0, x=1), **DONE), client="a")
    door.now += 500
    door.post(door.lines(0, line(0, x=1)), client="b")
    assert door.run()["state"] == "running"
    door.post({**door.lines(1, line(1, x=1)), "complete": True, "exitcode": 3}, client="b")
    assert door.run()["state"] == "failed"


def test_a_writer_of_an_ordinary_run_joins_it(door: DoorStand) -> None:
    door.begin()
    door.post(door.lines(0, line(0, x="ordinary"), **DONE))
    begun(door, "a")
    door.post(door.lines(0, line(0, x="shared")), client="a")
    run = door.run()
    assert (run["rows"], run["archived"], run["rows_step_went_down"]) == (2, [], 0)


def test_each_goes_on_after_a_restart(door: DoorStand) -> None:
    begun(door, "a", "b")
    door.post(door.lines(0, line(0, x=1), line(1, x=2)), client="a")
    door.restart()
    door.post(door.lines(1, line(1, x=2), line(2, x=3)), client="a")
    door.post(door.lines(0, line(0, x=1)), client="b")
    assert rows(door, "a") == [(0, 1), (1, 2), (2, 3)]
    assert len(door.run()["sessions"]) == 2


def test_own_last_values_are_none_set_by_hand(door: DoorStand) -> None:
    begun(door, "a", "b")
    for client, value in (("a", 1), ("b", 2)):
        said = {"x": value, f"best_{client}": value, "_step": 0}
        files = door.lines(0, line(0, x=value))["files"]
        files["wandb-summary.json"] = {"offset": 0, "content": [json.dumps(said)]}
        door.post({"files": files}, client=client)
    for client, value in (("a", 1), ("b", 2)):
        said = {"x": value, f"best_{client}": value}
        done = {"files": {"wandb-summary.json": {"offset": 0, "content": [json.dumps(said)]}}}
        door.post({**done, **DONE}, client=client)
    summary = {k: v for k, v in door.run()["summary"].items() if k[0] != "_"}
    assert summary == {"x": 2, "best_a": 1, "best_b": 2}
