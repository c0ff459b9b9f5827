"""What a wandb client of a deleted run hears, and what the next run of its name sees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from server.wandb_api.doors import DONE, NAME, DoorStand, line, summary
from server.wandb_api.test_artifact_routes import CREATE, logged
from server.wandb_api.test_routes import STREAM, Web

from kelt_server.errors import RunDeletedError, StoreError

DELETE = "mutation D($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }"
ID = 'query Q { project(name: "proj") { run(name: "run") { id } } }'
FILES = """query F { project(name: "proj") { run(name: "run") {
  files { edges { node { id name } } } } } }"""
RUN_1 = ("local", "p", "r1")
USE = """mutation U($id: ID!) { useArtifact(input: {artifactID: $id, projectName: "p",
  runName: "r1"}) { artifact { id } } }"""
DELETE_FILES = "mutation D($files: [ID!]!) { deleteFiles(input: {files: $files}) { success } }"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with DoorStand.opened(tmp_path) as door:
        yield Web(door, tmp_path)


@pytest.fixture
def door(web: Web) -> DoorStand:
    web.door.begin(config={"lr": 1})
    web.door.post(web.door.lines(0, line(0, x=1), line(1, x=2)))
    return web.door


def test_a_living_client_is_refused_until_another_run_of_the_name_begins(door: DoorStand) -> None:
    door.delete()
    for body in (door.lines(2, line(2, x=3)), summary(x=3), DONE, {}):
        with pytest.raises(RunDeletedError, match="local/proj/run was deleted"):
            door.post(body)
    with pytest.raises(RunDeletedError):
        door.upsert(config={"lr": {"value": 2}})  # as it says at its end
    assert door.stand.reader.runs("local", "proj") == []
    assert door.begin() == 0
    door.post(door.lines(0, line(0, x=5)))
    assert door.values() == [(0, {"x": 5})]
    assert (door.run()["config"], door.run()["archived"]) == ({}, [])


def test_it_stays_refused_after_a_restart(door: DoorStand) -> None:
    door.delete()
    door.restart()
    with pytest.raises(RunDeletedError):
        door.post(door.lines(2, line(2, x=3)))


def test_a_file_that_is_synced_after_the_deletion_makes_the_run_again(door: DoorStand) -> None:
    door.delete()
    door.begin(config={"lr": 1})
    door.post(door.lines(0, line(0, x=1), line(1, x=2), **DONE))
    assert door.values() == [(0, {"x": 1}), (1, {"x": 2})]
    assert door.run()["state"] == "finished"


def test_a_commit_that_failed_is_not_made_good_in_another_run(door: DoorStand) -> None:
    door.commits.failing.append("between")
    with pytest.raises(StoreError):
        door.post(door.lines(2, line(2, x=3)))
    door.delete()
    door.restart()
    door.begin()
    door.post(door.lines(0, line(0, x=9)))
    assert door.values() == [(0, {"x": 9})]


def test_clients_delete_runs_and_files(web: Web, door: DoorStand) -> None:
    web.client.put(web.address("a.txt"), content=b"a")
    web.client.put(web.address("b/c.txt"), content=b"c")
    edges = web.ask(FILES)["data"]["project"]["run"]["files"]["edges"]
    ids = {edge["node"]["name"]: edge["node"]["id"] for edge in edges}
    assert web.ask(DELETE_FILES, files=[ids["b/c.txt"]])["data"]["deleteFiles"]["success"]
    edges = web.ask(FILES)["data"]["project"]["run"]["files"]["edges"]
    assert [edge["node"]["name"] for edge in edges] == ["a.txt"]
    run_id = web.ask(ID)["data"]["project"]["run"]["id"]
    assert "errors" not in web.ask(DELETE, id=run_id)
    assert web.ask(ID)["data"]["project"]["run"] is None
    assert "no run" in web.ask(DELETE, id=run_id)["errors"][0]["message"]
    for nonsense in ("", "x", ids["a.txt"]):
        assert web.ask(DELETE, id=nonsense)["errors"]


def test_files_of_a_deleted_run_are_not_the_next_one_s(web: Web, door: DoorStand) -> None:
    before = web.address("late.txt")
    web.client.put(before, content=b"old")
    door.delete()
    assert web.client.put(before, content=b"late").status_code == 404
    answer = web.ask(web.files_query, entity="local", files=["late.txt"])
    assert "was deleted" in answer["errors"][0]["message"]
    door.begin()
    assert web.ask(FILES)["data"]["project"]["run"]["files"]["edges"] == []
    assert web.client.put(before, content=b"late").status_code == 404
    assert web.client.put(web.address("new.txt"), content=b"new").status_code == 200


def test_files_that_a_crash_left_are_moved_before_anybody_comes_in(
    web: Web, door: DoorStand
) -> None:
    web.client.put(web.address("a.txt"), content=b"a")
    deletions = door.stand.stores.catalog.deletions
    deletions.delete(NAME, at=1.0, by_user="")
    assert [file for file, _ in web.uploads.names(NAME)] == ["a.txt"]
    door.restart()
    door.actions.recover()
    assert list(web.uploads.names(NAME)) == []
    assert deletions.uncleared() == {}
    door.actions.recover()  # has nothing to do
    web.uploads.remove_aside()


def test_the_stream_of_a_deleted_run_ends_for_good(web: Web, door: DoorStand) -> None:
    door.delete()
    answer = web.client.post(STREAM, json={})
    assert (answer.status_code, "was deleted" in answer.json()["error"]) == (404, True)


def test_what_it_logged_and_used_is_not_the_next_one_s(web: Web) -> None:
    web.door.begin(RUN_1)
    artifact_id = logged(web)
    web.ask(USE, id=artifact_id)
    assert lineage(web) == (["data"], ["data"])
    web.door.delete(RUN_1)
    web.door.begin(RUN_1)
    assert lineage(web) == ([], [])
    one = web.client.get("/api/v1/artifacts/-/p/data:v0").json()  # which is there still
    assert (one["logged_by"], one["used_by"], one["file_count"]) == (None, [], 1)
    assert web.client.get("/api/v1/artifacts/-/p/data/files/f/x.txt").content == b"content"


def test_artifacts_go_with_their_run_where_that_is_said(web: Web) -> None:
    web.door.begin(RUN_1)
    logged(web)
    run_id = web.ask('query Q { project(name: "p") { run(name: "r1") { id } } }')
    said = {"id": run_id["data"]["project"]["run"]["id"], "deleteArtifacts": True}
    query = "mutation D($input: Any) { deleteRun(input: $input) { clientMutationId } }"
    assert "errors" not in web.ask(query, input=said)
    assert web.client.get("/api/v1/artifacts/-/p/data").status_code == 404


def test_a_deleted_run_logs_and_uses_no_more(web: Web) -> None:
    web.door.begin(RUN_1)
    artifact_id = logged(web)
    web.door.delete(RUN_1)
    for answer in (
        web.ask(CREATE, digest="other", name="data", type="dataset"),
        web.ask(USE, id=artifact_id),
    ):
        assert "local/p/r1 was deleted" in answer["errors"][0]["message"]


def lineage(web: Web) -> tuple[list[str], list[str]]:
    found = web.client.get("/api/v1/runs/-/p/r1/artifacts").json()
    return [a["name"] for a in found["logged"]], [a["name"] for a in found["used"]]


def test_every_writer_of_a_shared_run_is_refused(web: Web) -> None:
    shared = web.door
    for client in ("a", "b"):
        shared.begin(client=client)
        shared.post(shared.lines(0, line(0, x=1)), client=client)
    assert shared.stop() == 2
    assert shared.post({}, client="b") is True
    shared.delete()
    assert shared.sessions() == []
    for client in ("a", "b"):
        with pytest.raises(RunDeletedError):
            shared.post(shared.lines(1, line(1, x=2)), client=client)
    shared.begin(client="c")
    shared.post(shared.lines(0, line(0, x=9)), client="c")
    assert shared.values() == [(0, {"x": 9})]
    assert shared.run()["archived"] == []
