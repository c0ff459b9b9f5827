"""A stop that is asked for at the server: who hears of it, and who does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from server.streams import simple_run
from server.wandb_api.doors import DONE, NAME, DoorStand, line
from server.wandb_api.test_routes import STREAM, Web

from kelt_server.errors import NotFoundError

STOP = "mutation S($id: ID!) { stopRun(input: {id: $id}) { success } }"
STATUS = """query RunStoppedStatus($projectName: String, $entityName: String, $runId: String!) {
  project(name: $projectName, entityName: $entityName) { run(name: $runId) { id stopped } } }"""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with DoorStand.opened(tmp_path) as door:
        yield Web(door, tmp_path)


def test_clients_hear_of_a_stop_by_their_posts_and_when_they_ask(web: Web) -> None:
    web.door.begin()
    web.door.post(web.door.lines(0, line(0, x=1)))
    named = {"projectName": "proj", "entityName": "local", "runId": "run"}
    run = web.ask(STATUS, **named)["data"]["project"]["run"]
    assert run["stopped"] is False
    assert web.client.post(STREAM, json={}).json() == {}
    assert web.ask(STOP, id=run["id"])["data"]["stopRun"]["success"] is True
    assert web.client.post(STREAM, json={}).json() == {"stopped": True}
    assert web.ask(STATUS, **named)["data"]["project"]["run"]["stopped"] is True
    web.door.post({"complete": True, "exitcode": 255})
    assert (web.door.run()["state"], web.door.run()["is_asked_to_stop"]) == ("killed", False)


def test_a_session_that_comes_later_is_not_meant(web: Web) -> None:
    door = web.door
    door.begin()
    door.post(door.lines(0, line(0, x=1)))
    assert door.stop() == 1
    assert door.post(door.lines(1, line(1, x=2), **DONE)) is True
    assert door.run()["state"] == "finished"
    assert door.stop() == 0
    door.begin(id="resumed")
    assert door.post(door.lines(2, line(2, x=3))) is False
    assert door.run()["state"] == "running"


def test_a_session_is_stopped_before_its_first_row(web: Web) -> None:
    web.door.begin()
    web.door.post(web.door.lines(0, line(0, x=1), **DONE))
    web.door.begin()  # only announced, as the name is there
    assert web.door.stop() == 1
    assert web.door.post(web.door.lines(0, line(5, x=1, at=900.0))) is True


def test_a_stop_is_remembered_over_a_restart(tmp_path: Path) -> None:
    with DoorStand.opened(tmp_path) as door:
        door.begin()
        door.post(door.lines(0, line(0, x=1)))
        door.stop()
    with DoorStand.opened(tmp_path) as door:
        assert door.post({}) is True
        assert door.run()["reason"] == "asked to stop"


def test_kelt_s_own_sessions_that_run_are_asked(web: Web) -> None:
    native = simple_run()
    web.door.stand.push(native.batches())
    (listed,) = web.door.stand.reader.runs("local", "proj")
    assert listed["is_asked_to_stop"] is False
    assert web.door.stop() == 1
    assert web.door.stand.stores.catalog.stops.of([native.writer_id]) == {native.writer_id}
    (listed,) = web.door.stand.reader.runs("local", "proj")
    assert listed["is_asked_to_stop"] is True
    with pytest.raises(NotFoundError):
        web.door.stop((*NAME[:2], "nothing"))
