from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server.wandb_api.doors import DoorStand, line
from server.wandb_api.web import Web

from kelt_server.access.callers import Caller, anybody
from kelt_server.errors import BadRequestError, BusyError, NotFoundError
from kelt_server.wandb_api import AddressSigner
from kelt_server.wandb_api.executing import execute_document

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


def test_what_a_short_document_asks_for_is_bounded() -> None:
    def artifact(_info: object) -> dict[str, Any]:
        return {"id": 1, "artifactSequence": {"latestArtifact": artifact}}

    def asks(depth: int) -> str:
        fragments = "".join(
            f"fragment F{n} on Artifact {{ a: artifactSequence {{ latestArtifact {{ {below} }} }} "
            f"b: artifactSequence {{ latestArtifact {{ {below} }} }} }}"
            for n, below in enumerate(["id", *(f"...F{n}" for n in range(depth - 1))])
        )
        return f"query {{ artifact {{ ...F{depth - 1} }} }} {fragments}"

    root = {"artifact": artifact}
    assert execute_document(asks(3), {}, None, root)["data"]["artifact"]["a"]
    with pytest.raises(BadRequestError, match="too much at once"):
        execute_document(asks(12), {}, None, root, fields_max=1000)
    ticks = iter(range(10**6))
    with pytest.raises(BadRequestError, match="too much at once"):
        execute_document(asks(12), {}, None, root, clock=lambda: float(next(ticks)))


def test_arguments_of_another_kind_are_told_so(web: Web) -> None:
    web.door.begin()
    web.door.post(web.door.lines(0, line(0, a=1)))

    def asked_of_run(field: str) -> Any:
        run = f'project(name: "proj", entityName: "local") {{ run(name: "run") {{ {field} }} }}'
        return web.ask(f"query {{ {run} }}")

    for spec in ("{", "[" * 2000):
        answer = asked_of_run(f'sampledHistory(specs: ["{spec}"])')
        assert "is not JSON" in answer["errors"][0]["message"]
    rows = asked_of_run('history(minStep: "x", maxStep: [1])')
    assert len(rows["data"]["project"]["run"]["history"]) == 1
    run_id = asked_of_run("id")["data"]["project"]["run"]["id"]
    edit = "mutation M($input: Any) { upsertBucket(input: $input) { inserted } }"
    for summary in ("{", "[]"):
        answer = web.ask(edit, input={"id": run_id, "summaryMetrics": summary})
        assert "the summary is no" in answer["errors"][0]["message"]


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


def test_a_name_that_cannot_be_is_refused_for_good(web: Web) -> None:
    """Clients repeat for hours what is answered with 503."""
    assert web.client.put(web.address("a"), content=b"x").status_code == 200
    assert web.client.put(web.address("b/c.partial"), content=b"x").status_code == 200
    assert web.client.put(web.address("n" * 999), content=b"x").status_code == 200
    for name in ("a/b", "b", "/".join(["n" * 190] * 40)):
        assert web.client.put(web.address(name), content=b"x").status_code == 400
        assert web.client.get(f"/files/local/proj/run/{name}").status_code == 404
    assert web.client.get("/files/local/proj/run/%ff").status_code == 404
    # Of one whose name was too long for the disk, only who knows it finds it.
    assert list(web.uploads.names(("local", "proj", "run"))) == [("a", 1), ("b/c.partial", 1)]


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


def test_an_address_ends_with_its_time(web: Web) -> None:
    put = web.address("a.txt")
    web.parts.now += 24 * 3600
    assert web.client.put(put, content=b"content").status_code == 200
    web.door.begin()
    query = """query F { project(name: "proj", entityName: "local") {
        run(name: "run") { files { edges { node { url directUrl } } } } } }"""
    (edge,) = web.ask(query)["data"]["project"]["run"]["files"]["edges"]
    fetched, keyed = edge["node"]["directUrl"], edge["node"]["url"]
    assert web.client.get(fetched).content == b"content"
    web.parts.now += 3601
    for answer in (web.client.put(put, content=b"late"), web.client.get(fetched)):
        assert (answer.status_code, "ask for another" in answer.json()["error"]) == (403, True)
    later = fetched.replace("expires=", "expires=9")
    assert web.client.get(later).status_code == 404  # signed with its time
    assert web.client.get(keyed).content == b"content"  # wants a key instead, and is for good


@pytest.mark.parametrize("method", ["GET", "PUT"])
@given(
    parts=st.lists(st.text(), min_size=1, max_size=4),
    other=st.lists(st.text(), min_size=1, max_size=4),
    bound=st.text(max_size=3),
)
def test_an_address_opens_what_it_was_signed_for_and_nothing_else(
    signer: AddressSigner, method: str, parts: list[str], other: list[str], bound: str
) -> None:
    address = signer.address("http://h", method, parts, key_id="k", bound=bound)
    query = dict(parse_qsl(urlsplit(address).query))
    signer.check(method, parts, query, entity="any", bound=bound)
    forged: list[tuple[str, list[str], dict[str, str], str]] = [
        ("PUT" if method == "GET" else "GET", parts, query, bound),
        (method, [*parts, ""], query, bound),
        (method, parts, query, bound + "x"),
        (method, parts, {**query, "key": "other"}, bound),
        (method, parts, {**query, "expires": query["expires"] + "0"}, bound),
        (method, parts, {**query, "expires": f"{query['expires']}\0k"}, bound),
    ]
    forged += [(method, other, query, bound)] * (other != parts)
    for said_method, said, given_query, said_bound in forged:
        with pytest.raises(NotFoundError):
            signer.check(said_method, said, given_query, entity="any", bound=said_bound)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> AddressSigner:
    def anyone(_key_id: str) -> Caller:
        return anybody("local")

    folder = tmp_path_factory.mktemp("signer")
    return AddressSigner(folder, clock=lambda: 1.0, caller_of_key=anyone)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a//b", ".", ""])
def test_no_name_leads_out_of_the_folder(web: Web, tmp_path: Path, name: str) -> None:
    assert web.client.put(web.address(name), content=b"x").status_code in (400, 404)
    assert not [p for p in tmp_path.rglob("*") if p.name in ("x", "passwd", "b")]


def test_a_file_may_not_be_too_large(web: Web, tmp_path: Path) -> None:
    assert web.client.put(web.address("a"), content=b"x" * 1001).status_code == 413
    assert [p.name for p in (tmp_path / "files").rglob("*") if p.is_file()] == ["secret"]


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
    assert locked.client.put(address, content=b"x").status_code == 403  # nobody's key asked for it
    assert locked.client.post("/graphql", json={"query": "{viewer{id}}"}).status_code == 401
    assert locked.client.post(STREAM, json={}).status_code == 401
    allowed = locked.client.post("/graphql", json={"query": "{viewer{id}}"}, auth=("api", "k" * 40))
    assert allowed.json()["data"]["viewer"]["id"] == "local"
    assert locked.client.get("/files/local/proj/run/a.txt").status_code == 401
    asked = {"query": web.files_query, "variables": {"entity": "local", "files": ["a.txt"]}}
    answer = locked.client.post("/graphql", json=asked, auth=("api", "k" * 40)).json()
    (file,) = answer["data"]["createRunFiles"]["files"]
    assert locked.client.put(file["uploadUrl"], content=b"x").status_code == 200


def test_what_comes_without_any_key_as_from_a_page_in_a_browser_changes_nothing(web: Web) -> None:
    said = web.door.lines(0, line(0, a=1))
    assert web.client.post(STREAM, json=said, auth=None).status_code == 401
    answer = web.client.post("/graphql", json={"query": "{viewer{id}}"}, auth=None)
    assert answer.status_code == 401
    assert "a key is wanted" in answer.json()["error"]
