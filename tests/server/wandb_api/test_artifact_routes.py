"""The door's answers about artifacts, without a client."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server.wandb_api.doors import DoorStand
from server.wandb_api.web import Web

CREATE = """mutation C($digest: String, $name: String, $type: String) {
  createArtifact(input: {artifactCollectionName: $name, artifactTypeName: $type, digest: $digest,
    projectName: "p", runName: "r1", aliases: [{artifactCollectionName: "a", alias: "best"}]}) {
    artifact { id state artifactSequence { latestArtifact { id } } } } }"""
FILES = """mutation F($files: Any) { createArtifactFiles(input: {artifactFiles: $files}) {
    files { edges { node { uploadUrl artifact { id } } } } } }"""
MANIFEST = """mutation M($id: ID!) {
  createArtifactManifest(input: {artifactID: $id, type: FULL, name: "m"}) {
    artifactManifest { id file { uploadUrl } } } }"""
COMMIT = "mutation C($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact { id } } }"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with DoorStand.opened(tmp_path) as door:
        yield Web(door, tmp_path)


def md5_of(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()


def created(web: Web, *, digest: str = "d", name: str = "data", type_name: str = "dataset") -> str:
    answer = web.ask(CREATE, digest=digest, name=name, type=type_name)
    return str(answer["data"]["createArtifact"]["artifact"]["id"])


def addresses(web: Web, artifact_id: str, *contents: bytes) -> list[str | None]:
    files = [
        {"artifactID": artifact_id, "name": str(n), "md5": md5_of(content)}
        for n, content in enumerate(contents)
    ]
    answer = web.ask(FILES, files=files)
    return [e["node"]["uploadUrl"] for e in answer["data"]["createArtifactFiles"]["files"]["edges"]]


def logged(web: Web, content: bytes = b"content", **said: str) -> str:
    artifact_id = created(web, **said)
    (address,) = addresses(web, artifact_id, content)
    if address is not None:
        assert web.client.put(address, content=content).status_code == 200
    made = web.ask(MANIFEST, id=artifact_id)["data"]["createArtifactManifest"]
    entry = {"digest": md5_of(content), "size": len(content)}
    manifest = json.dumps({"version": 1, "contents": {"f/x.txt": entry}})
    address = made["artifactManifest"]["file"]["uploadUrl"]
    assert web.client.put(address, content=manifest).status_code == 200
    answer = web.ask(COMMIT, id=artifact_id)
    assert answer["data"]["commitArtifact"] == {"artifact": {"id": artifact_id}}, answer
    return artifact_id


def test_a_file_that_is_there_is_not_asked_for_again(web: Web) -> None:
    artifact_id = logged(web)
    assert addresses(web, artifact_id, b"content", b"other")[0] is None
    assert addresses(web, artifact_id, b"other")[0] is not None


def test_a_file_with_another_content_is_refused_for_good(web: Web) -> None:
    (address,) = addresses(web, created(web), b"content")
    answer = web.client.put(address, content=b"other")
    assert answer.status_code == 400
    assert "log the artifact again" in answer.json()["error"]
    assert web.client.get(address).status_code == 404  # signed for putting


def test_a_version_keeps_its_manifest(web: Web) -> None:
    artifact_id = logged(web)
    made = web.ask(MANIFEST, id=artifact_id)["data"]["createArtifactManifest"]
    address = made["artifactManifest"]["file"]["uploadUrl"]
    answer = web.client.put(address, content=b"{}")
    assert (answer.status_code, "is not changed" in answer.json()["error"]) == (400, True)


def test_addresses_that_were_not_signed_are_refused(web: Web, tmp_path: Path) -> None:
    (good,) = addresses(web, created(web), b"content")
    assert good is not None
    md5 = hashlib.md5(b"content").hexdigest()
    for bad in (
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        good.partition("?")[0],
        good.replace(md5, hashlib.md5(b"x").hexdigest()),
        good.replace("/local/", "/other/"),
        good.replace("/blob/", "/manifest/"),
        good.replace("/local/", "/..%2F..%2F/"),
    ):
        assert web.client.put(bad, content=b"content").status_code == 404
    assert not [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]


@pytest.mark.parametrize("layout", ["artifacts/local/{}", "artifactsV2/r/local/p/data/i/{}/x.txt"])
def test_single_files_are_fetched_by_their_digest(web: Web, layout: str) -> None:
    logged(web)
    md5 = hashlib.md5(b"content").hexdigest()
    assert web.client.get("/" + layout.format(md5)).content == b"content"
    for bad in ("0" * 32, "x", "%2E%2E%2F", ""):
        assert web.client.get("/" + layout.format(bad)).status_code == 404


def test_what_cannot_be_logged_is_told_in_a_sentence(web: Web) -> None:
    logged(web)
    for said, reason in (
        ({"name": "a/b"}, "name of an artifact"),
        ({"name": "data", "type": "model", "digest": "x"}, "'dataset'"),
    ):
        answer = web.ask(CREATE, **{"digest": "y", "type": "dataset", **said})
        assert reason in answer["errors"][0]["message"]
    answer = web.ask(COMMIT, id="nonsense")
    assert "no id of an artifact" in answer["errors"][0]["message"]


def test_without_room_the_client_is_told_when_it_begins(web: Web, tmp_path: Path) -> None:
    small = Web(web.door, tmp_path, bytes_max=500)
    (address,) = addresses(small, created(small), b"x" * 501)
    answer = small.client.put(address, content=b"x" * 501)
    assert (answer.status_code, "take 0 of at most 500" in answer.json()["error"]) == (413, True)


ODD: list[Any] = [None, "", "x", "\ud800", "\0", 3, [], {}, [{}], {"a": 1}, "Q" * 40]


LOOK_UP = """query L($name: Any) { project(name: "p") {
    artifact(name: $name) { id } artifactType(name: $name) { id }
    artifactCollection(name: $name) { id } } clientIDMapping(clientID: $name) { serverID } }"""
FIELDS = (
    "createArtifact", "createArtifactManifest", "createArtifactFiles", "commitArtifact",
    "useArtifact", "updateArtifact", "deleteArtifact", "addAliases", "deleteArtifactSequence",
    "createArtifactCollectionTagAssignments",
)  # fmt: skip


def test_no_input_is_too_strange(web: Web) -> None:
    for field in FIELDS:
        query = f"mutation M($input: Any) {{ {field}(input: $input) {{ __typename }} }}"
        for odd in ODD + [[odd] for odd in ODD] + [[{"alias": odd, "tagName": odd}] for odd in ODD]:
            said = dict.fromkeys(
                ["artifactID", "artifactFiles", "aliases", "artifactCollectionNames", "tags",
                 "tagsToAdd", "artifactSequenceID", "artifactCollectionName", "metadata",
                 "ttlDurationSeconds"], odd,
            )  # fmt: skip
            assert "data" in web.ask(query, input=said)
            assert "data" in web.ask(LOOK_UP, name=odd)
            assert "data" in web.ask(query, input=odd)


def test_the_read_api_lists_and_fetches(web: Web) -> None:
    web.door.begin(("local", "p", "r1"))
    assert web.client.put(web.address("a.txt"), content=b"hello").status_code == 200
    logged(web)
    base = "/api/v1"
    found = web.client.get(f"{base}/runs/-/p/r1/artifacts").json()
    (artifact,) = found["logged"]
    assert (artifact["name"], artifact["version"]) == ("data", "v0")
    assert artifact["aliases"] == ["best", "latest"]
    assert artifact["logged_by"] == {"entity": "local", "project": "p", "run_id": "r1"}
    assert found["used"] == []
    one = web.client.get(f"{base}/artifacts/-/p/data:best").json()
    assert [(file["path"], file["size_bytes"]) for file in one["files"]] == [("f/x.txt", 7)]
    content = web.client.get(f"{base}/artifacts/local/p/data/files/f/x.txt")
    assert content.content == b"content"
    for missing in ("data/files/f", "data/files/../x", "data:v7", "nothing", "data/files/%00"):
        assert web.client.get(f"{base}/artifacts/-/p/{missing}").status_code == 404
    web.door.begin()
    assert web.client.get(f"{base}/runs/-/proj/run/files").json() == {
        "files": [{"path": "a.txt", "size_bytes": 5, "sha256": None, "changed_at": None}],
        "total": 1,
    }
    assert web.client.get(f"{base}/runs/-/proj/run/files/a.txt").content == b"hello"
    assert web.client.get(f"{base}/runs/-/proj/run/files/b.txt").status_code == 404


def test_a_runs_page_links_its_files_and_artifacts(web: Web) -> None:
    web.door.begin(("local", "p", "r1"), modelName="p")
    logged(web)
    web.door.begin()
    assert web.client.put(web.address("a <b>.txt"), content=b"hello").status_code == 200
    page = web.client.get("/local/p/runs/r1").text
    assert 'href="/local/p/artifacts/dataset/data/v0"' in page
    assert '<span class="badge">best</span>' in page
    page = web.client.get("/local/proj/runs/run").text
    assert 'href="/api/v1/runs/local/proj/run/files/a%20%3Cb%3E.txt"' in page
    assert "a &lt;b&gt;.txt" in page
