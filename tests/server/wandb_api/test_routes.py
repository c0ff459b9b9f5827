from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server.wandb_api.doors import DoorStand, line
from server.wandb_api.web import Web

from kelt_server.errors import BusyError

STREAM = "/files/local/proj/run/file_stream"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with DoorStand.opened(tmp_path) as door:
        yield Web(door, tmp_path)


def test_a_post_is_answered_when_it_is_committed(web: Web) -> None:
    web.door.begin()
    answer = web.client.post(STREAM, json=web.door.lines(0, line(0, a=1)))
    assert (answer.status_code, answer.json()) == (200, {})
    assert web.door.values() == [(0, {"a": 1})]


def test_a_store_that_fails_is_asked_again_later(web: Web) -> None:
    web.door.begin()
    web.door.commits.failing = ["before"]
    post = web.door.lines(0, line(0, a=1))
    answer = web.client.post(STREAM, json=post)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert web.client.post(STREAM, json=post).status_code == 200
    assert web.door.values() == [(0, {"a": 1})]


def test_likewise_of_a_question(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: Any) -> None:
        raise BusyError("later")

    monkeypatch.setattr(web.door.stand.reader, "run", busy)
    query = 'query Q { project(name: "p") { run(name: "r") { id } } }'
    answer = web.client.post("/graphql", json={"query": query})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


@pytest.mark.parametrize(
    "query",
    ["", "{", "query A {", "fragment F on Run { id }", "query Q { nothing { at { all } } }",
     "query Q($x: Unknown!) { viewer { id unknown } }"],
)  # fmt: skip
def test_no_document_is_too_strange(web: Web, query: str) -> None:
    answer = web.ask(query)
    assert "data" in answer


def test_what_is_no_question_is_told_so(web: Web) -> None:
    for body in (b"", b"[]", b'{"query": 3}', b"\xff"):
        answer = web.client.post("/graphql", content=body)
        assert answer.status_code == 200
        assert answer.json()["errors"]


def test_variables_that_were_left_out(web: Web) -> None:
    query = """mutation U($name: String, $project: String, $config: JSONString, $host: String,
        $entity: String) { upsertBucket(input: {name: $name, modelName: $project, host: $host,
        config: $config, entityName: $entity}) { bucket { id name historyLineCount
        project { name entity { name } } } inserted } }"""
    answer = web.ask(query, name="r", project="proj", host="h")
    bucket = answer["data"]["upsertBucket"]["bucket"]
    assert bucket["project"] == {"name": "proj", "entity": {"name": "local"}}
    assert (bucket["name"], bucket["historyLineCount"]) == ("r", 0)


def test_clients_of_019_to_023_find_how_files_are_deleted(web: Web) -> None:
    found = web.ask('{ probed: __type(name: "DeleteFilesInput") { inputFields { name } } }')
    assert found["data"]["probed"]["inputFields"] == [{"name": "files"}]


def test_a_status_for_resume_has_every_field(web: Web) -> None:
    web.door.begin()
    web.door.post(web.door.lines(0, line(0, a=1), line(7, a=1)))
    query = """query RunResumeStatus($project: String, $entity: String, $name: String!) {
        model(name: $project, entityName: $entity) { id name entity { id name }
          bucket(name: $name, missingOk: true) { id name summaryMetrics displayName logLineCount
            historyLineCount eventsLineCount historyTail eventsTail config tags notes
            wandbConfig(keys: ["t"]) } } }"""
    bucket = web.ask(query, project="proj", entity="local", name="run")["data"]["model"]["bucket"]
    assert '"_step": 7,' in bucket["historyTail"].replace("\\", "")
    assert json.loads(json.loads(bucket["historyTail"])[-1])["_step"] == 7
    assert "t" in json.loads(bucket["wandbConfig"])
    counts = (bucket["historyLineCount"], bucket["eventsLineCount"], bucket["logLineCount"])
    assert counts == (2, 0, 0)
    missing = web.ask(query, project="proj", entity="local", name="nothing")
    assert missing["data"]["model"]["bucket"] is None


@pytest.mark.parametrize("name", ["a.txt", "media/images/x y%2F#?ü.png", ".hidden", "n" * 300])
def test_a_file_comes_back_as_it_was_put(web: Web, name: str) -> None:
    answer = web.client.put(web.address(name), content=b"content")
    assert answer.status_code == 200, answer.text
    query = """query F($n: [String]) { project(name: "proj", entityName: "local") {
        run(name: "run") { files(names: $n) { edges { node { name directUrl mimetype } } } } } }"""
    web.door.begin()
    edges = web.ask(query)["data"]["project"]["run"]["files"]["edges"]
    if len(name) < 200:
        assert [edge["node"]["name"] for edge in edges] == [name]
        assert web.client.get(edges[0]["node"]["directUrl"]).content == b"content"
        kind = {".txt": "text/plain", ".png": "image/png"}.get(
            name[-4:], "application/octet-stream"
        )
        assert edges[0]["node"]["mimetype"] == kind


def test_an_address_that_was_not_signed_is_refused(web: Web, tmp_path: Path) -> None:
    good = web.address("a.txt")
    for bad in (
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        good.partition("?")[0],
        good.replace("a.txt", "b.txt"),
        good.replace("/run/", "/other/"),
        good.replace("a.txt", "..%2F..%2Fx"),
    ):
        assert web.client.put(bad, content=b"x").status_code == 404
    assert web.client.get(good).status_code == 404  # signed for putting
    assert not [p for p in (tmp_path / "files").rglob("*") if p.name != "secret"]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a//b", ".", ""])
def test_no_name_leads_out_of_the_folder(web: Web, tmp_path: Path, name: str) -> None:
    assert web.client.put(web.address(name), content=b"x").status_code in (400, 404)
    assert not [p for p in tmp_path.rglob("*") if p.name in ("x", "passwd", "b")]


def test_a_file_may_not_be_too_large(web: Web, tmp_path: Path) -> None:
    assert web.client.put(web.address("a"), content=b"x" * 1001).status_code == 413
    assert not list((tmp_path / "files").rglob("*.partial"))


def test_files_may_not_take_more_than_all_of_the_room(web: Web, tmp_path: Path) -> None:
    small = Web(web.door, tmp_path, bytes_max=1500)
    assert small.client.put(small.address("a"), content=b"x" * 1000).status_code == 200
    answer = small.client.put(small.address("b"), content=b"x" * 501)
    assert answer.status_code == 413
    assert "--files-bytes-max" in answer.json()["error"]
    assert small.client.put(small.address("b"), content=b"x" * 500).status_code == 200
    counters = web.door.stand.counters
    assert (counters.files_bytes, counters.files_refused) == (1500, 1)


def test_what_is_not_done_is_told(web: Web) -> None:
    answer = web.ask("mutation M { createTeam(input: {}) { id } }")
    assert "does not do createTeam" in answer["errors"][0]["message"]


def test_the_secret_outlives_the_server(web: Web, tmp_path: Path) -> None:
    address = web.address("a.txt")
    later = Web(web.door, tmp_path)
    assert later.client.put(address, content=b"x").status_code == 200
    assert (tmp_path / "files" / "secret").stat().st_mode & 0o077 == 0


def test_with_a_key_only_addresses_of_files_are_open(web: Web, tmp_path: Path) -> None:
    address = web.address("a.txt")
    locked = Web(web.door, tmp_path, api_key="k" * 40)
    assert locked.client.post("/graphql", json={"query": "{viewer{id}}"}).status_code == 401
    assert locked.client.post(STREAM, json={}).status_code == 401
    allowed = locked.client.post("/graphql", json={"query": "{viewer{id}}"}, auth=("api", "k" * 40))
    assert allowed.json()["data"]["viewer"]["id"] == "local"
    assert locked.client.put(address, content=b"x").status_code == 200


def test_what_comes_without_any_key_as_from_a_page_in_a_browser_changes_nothing(web: Web) -> None:
    said = web.door.lines(0, line(0, a=1))
    assert web.client.post(STREAM, json=said, auth=None).status_code == 401
    answer = web.client.post("/graphql", json={"query": "{viewer{id}}"}, auth=None)
    assert answer.status_code == 401
    assert "a key is wanted" in answer.json()["error"]
