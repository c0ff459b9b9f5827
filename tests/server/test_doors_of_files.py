"""What a key opens of artifacts, files and output: by wandb's questions, and by HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from server.streams import Stream, writer_id
from server.test_doors_of_users import ANN, BOB, ROOT, UPSERT, Web, run_of
from server.test_output import pieces
from server.wandb_api.doors import DoorStand, line
from server.wandb_api.test_artifact_routes import md5_of

from kelt_proto.v1.frames import Kind
from kelt_server.errors import ForbiddenError

CONTENT = b"content"
MD5 = hashlib.md5(CONTENT).hexdigest()
RUN = """query R($entity: String) { project(name: "proj", entityName: $entity) { run(name: "run") {
  id logLines(last: 5) { edges { node { line } } } files { edges { node { id name } } }
  outputArtifacts { edges { node { id } } } } } }"""
BY_NAME = """query N($entity: String) { project(name: "proj", entityName: $entity) {
  artifact(name: "data:v0") { id artifactSequence { id } } } }"""
#: What the one without a key of ann's asks for, with her ids.
QUESTIONS = (
    RUN,
    BY_NAME,
    "query { artifact(id: $artifact) { id } }",
    "query { artifactCollection(id: $collection) { id } }",
    'query { clientIDMapping(clientID: "ann-1") { serverID } }',
)
INPUTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("createArtifact", {"entityName": "ann", "artifactTypeName": "dataset",
                        "artifactCollectionName": "data", "digest": "x"}),
    ("createArtifactManifest", {"artifactID": "$artifact", "type": "FULL"}),
    ("updateArtifactManifest", {"artifactManifestID": "$manifest", "digest": "x"}),
    ("createArtifactFiles", {"artifactFiles": [{"artifactID": "$artifact", "name": "x",
                                                "md5": md5_of(b"x")}]}),
    ("commitArtifact", {"artifactID": "$artifact"}),
    ("useArtifact", {"artifactID": "$artifact", "projectName": "proj", "runName": "run"}),
    ("updateArtifact", {"artifactID": "$artifact", "description": "bob's"}),
    ("addAliases", {"artifactID": "$artifact", "aliases": [{"alias": "bob"}]}),
    ("deleteAliases", {"artifactID": "$artifact", "aliases": [{"alias": "latest"}]}),
    ("deleteArtifact", {"artifactID": "$artifact", "deleteAliases": True}),
    ("deleteArtifactSequence", {"artifactSequenceID": "$collection"}),
    ("updateArtifactSequence", {"artifactSequenceID": "$collection", "name": "bob"}),
    ("moveArtifactSequence", {"artifactSequenceID": "$collection",
                              "destinationArtifactTypeName": "bob"}),
    ("createArtifactCollectionTagAssignments", {"entityName": "ann", "projectName": "proj",
                                                "artifactCollectionName": "data",
                                                "tags": [{"tagName": "bob"}]}),
    ("createRunFiles", {"entityName": "ann", "projectName": "proj", "runName": "run",
                        "files": ["b.txt"]}),
    ("deleteFiles", {"files": ["$file"]}),
    ("deleteRun", {"id": "$run"}),
    ("stopRun", {"id": "$run"}),
    ("upsertBucket", {"id": "$run", "notes": "bob's"}),
    ("rewindRun", {"entityName": "ann", "projectName": "proj", "runName": "run", "metricValue": 0}),
)  # fmt: skip


def mutated(web: Web, key: str, field: str, **said: Any) -> httpx.Response:
    query = f"mutation M($input: Any) {{ {field}(input: $input) {{ __typename }} }}"
    return web.graphql(key, query, input=said)


def signed(web: Web, address: str, content: bytes) -> None:
    assert web.ask("", "PUT", address, content=content).status_code == 200


def of_user(web: Web, key: str, entity: str, content: bytes, **said: Any) -> dict[str, str]:
    """A run with a row, a line of its console, a file and an artifact; the ids of all."""
    assert web.graphql(key, UPSERT).status_code == 200
    history = {"offset": 0, "content": [json.dumps(line(0, x=1))]}
    body = {"files": {"wandb-history.jsonl": history,
                      "output.log": {"offset": 0, "content": [f"said by {entity}"]}}}  # fmt: skip
    web.ask(key, "POST", f"/files/{entity}/proj/run/file_stream", json=body)
    create = "mutation M($input: Any) { createRunFiles(input: $input) { files { uploadUrl } } }"
    named = {"projectName": "proj", "runName": "run"}
    answer = web.graphql(key, create, input={**named, "files": ["a.txt"]}).json()
    (file,) = answer["data"]["createRunFiles"]["files"]
    signed(web, file["uploadUrl"], entity.encode())
    artifact, manifest = logged(web, key, content, **named, **said)
    run = web.graphql(key, RUN).json()["data"]["project"]["run"]
    found = web.graphql(key, BY_NAME).json()["data"]["project"]["artifact"]
    return {
        "$artifact": artifact, "$manifest": manifest, "$run": run["id"],
        "$collection": found["artifactSequence"]["id"],
        "$file": run["files"]["edges"][0]["node"]["id"],
    }  # fmt: skip


def logged(
    web: Web, key: str, content: bytes, refs: Mapping[str, str] | None = None, **said: Any
) -> tuple[str, str]:
    create = "mutation M($input: Any) { createArtifact(input: $input) { artifact { id } } }"
    new = {"artifactTypeName": "dataset", "artifactCollectionName": "data", "digest": MD5}
    answer = web.graphql(key, create, input={**new, **said}).json()
    artifact = answer["data"]["createArtifact"]["artifact"]["id"]
    put = """mutation M($input: Any) { createArtifactFiles(input: $input) {
      files { edges { node { uploadUrl } } } } }"""
    spec = {"artifactID": artifact, "name": "f/x.txt", "md5": md5_of(content)}
    answer = web.graphql(key, put, input={"artifactFiles": [spec]}).json()
    (edge,) = answer["data"]["createArtifactFiles"]["files"]["edges"]
    if address := edge["node"]["uploadUrl"]:  # it is not there yet
        signed(web, address, content)
    announce = """mutation M($input: Any) { createArtifactManifest(input: $input) {
      artifactManifest { id file { uploadUrl } } } }"""
    answer = web.graphql(key, announce, input={"artifactID": artifact, "type": "FULL"}).json()
    made = answer["data"]["createArtifactManifest"]["artifactManifest"]
    entry = {"digest": md5_of(content), "size": len(content)}
    referred = {path: {"digest": "r", "ref": ref} for path, ref in (refs or {}).items()}
    manifest = json.dumps({"version": 1, "contents": {"f/x.txt": entry, **referred}})
    signed(web, made["file"]["uploadUrl"], manifest.encode())
    assert mutated(web, key, "commitArtifact", artifactID=artifact).status_code == 200
    return artifact, made["id"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Web, dict[str, str]]]:
    """A run of ann with all that there can be of one, and the ids of its parts."""
    folder = tmp_path_factory.mktemp("filled")
    with DoorStand.opened(folder) as door:
        web = Web(door, folder)
        web.graphql(BOB, UPSERT)
        yield web, of_user(web, ANN, "ann", CONTENT, clientID="ann-1")


def with_ids(said: Any, ids: dict[str, str]) -> Any:
    text = json.dumps(said)
    for name, value in ids.items():
        text = text.replace(json.dumps(name), json.dumps(value))
    return json.loads(text)


@pytest.mark.parametrize("query", QUESTIONS)
def test_another_s_are_not_shown_by_any_question(
    filled: tuple[Web, dict[str, str]], query: str
) -> None:
    web, ids = filled
    for name, value in ids.items():
        query = query.replace(name, json.dumps(value)) if "$entity" not in query else query
    refused = web.graphql(BOB, query, entity="ann")
    assert refused.status_code == 403, refused.text
    assert "it opens bob" in refused.json()["errors"][0]["message"]
    for key in (ANN, ROOT):
        seen = web.graphql(key, query, entity="ann")
        assert (seen.status_code, "errors" in seen.json()) == (200, False), seen.text


@pytest.mark.parametrize(("field", "said"), INPUTS)
def test_another_s_are_not_changed_by_any_mutation(
    filled: tuple[Web, dict[str, str]], field: str, said: dict[str, Any]
) -> None:
    web, ids = filled
    paths = ("/api/v1/artifacts/ann/proj/data", "/api/v1/runs/ann/proj/run",
             "/api/v1/runs/ann/proj/run/files", "/api/v1/runs/bob/proj/run/artifacts")  # fmt: skip
    before = [web.get(ROOT, path).json() for path in paths]
    refused = mutated(web, BOB, field, **with_ids(said, ids))
    assert refused.status_code == 403, refused.text
    assert [web.get(ROOT, path).json() for path in paths] == before


def test_a_manifest_of_another_s_is_not_built_on(filled: tuple[Web, dict[str, str]]) -> None:
    web, ids = filled
    create = "mutation M($input: Any) { createArtifact(input: $input) { artifact { id } } }"
    new = {"artifactTypeName": "dataset", "artifactCollectionName": "own", "digest": "d"}
    answer = web.graphql(BOB, create, input={"projectName": "proj", **new}).json()
    own = answer["data"]["createArtifact"]["artifact"]["id"]
    refused = mutated(
        web, BOB, "createArtifactManifest", artifactID=own, type="INCREMENTAL",
        baseArtifactID=ids["$artifact"],
    )  # fmt: skip
    assert refused.status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/runs/ann/proj/run/files",
        "/api/v1/runs/ann/proj/run/files/a.txt",
        "/api/v1/runs/ann/proj/run/artifacts",
        "/api/v1/runs/ann/proj/run/console",
        "/api/v1/runs/ann/proj/run/history?stream=system",
        "/api/v1/artifacts/ann/proj",
        "/api/v1/artifacts/ann/proj/data:v0",
        "/api/v1/artifacts/ann/proj/data/versions",
        "/api/v1/artifacts/ann/proj/data/files/f/x.txt",
        f"/artifacts/ann/{MD5}",
        f"/artifactsV2/r/ann/proj/data/i/{MD5}/x.txt",
        "/files/ann/proj/run/a.txt",
        "/ann/proj/runs/run",
        "/ann/proj/artifacts",
        "/ann/proj/artifacts/dataset/data",
        "/ann/proj/artifacts/dataset/data/v0",
    ],
)
def test_another_s_are_not_served_by_any_address(
    filled: tuple[Web, dict[str, str]], path: str
) -> None:
    web, _ = filled
    assert web.get(BOB, path).status_code == 403
    assert web.get("", path).status_code == 401
    for key in (ANN, ROOT):
        assert web.get(key, path).status_code == 200


def test_an_address_ends_with_the_key_and_the_membership_by_which_it_was_asked_for(
    tmp_path: Path,
) -> None:
    create = "mutation M($input: Any) { createRunFiles(input: $input) { files { uploadUrl } } }"
    with DoorStand.opened(tmp_path) as door:
        web = Web(door, tmp_path)
        addresses = {}
        for entity in ("ann", "crew"):
            named = {"entityName": entity, "projectName": "proj", "runName": "run"}
            answer = web.graphql(ANN, create, input={**named, "files": ["a.txt"]}).json()
            (file,) = answer["data"]["createRunFiles"]["files"]
            addresses[entity] = file["uploadUrl"]

        def statuses() -> list[int]:
            return [web.ask("", "PUT", a, content=b"x").status_code for a in addresses.values()]

        assert statuses() == [200, 200]
        web.file.change(lambda a: a.without_member("crew", "ann"))
        assert statuses() == [200, 403]
        web.file.change(lambda a: a.without_key("ann", web.caller(ANN).key_id))
        assert statuses() == [403, 403]


def test_where_no_entity_is_named_everybody_has_their_own(tmp_path: Path) -> None:
    with DoorStand.opened(tmp_path) as door:
        web = Web(door, tmp_path)
        of_user(web, ANN, "ann", b"ann's")
        of_user(web, BOB, "bob", b"bob's")
        for key, entity in ((ANN, "ann"), (BOB, "bob")):
            run = "/api/v1/runs/-/proj/run"
            assert web.get(key, f"{run}/files/a.txt").text == entity
            lines = web.get(key, f"{run}/console").json()["lines"]
            assert [said["text"] for said in lines] == [f"said by {entity}"]
            content = web.get(key, "/api/v1/artifacts/-/proj/data:latest/files/f/x.txt")
            assert content.text == f"{entity}'s"


def test_what_a_team_uses_shows_nobody_else_s_run(tmp_path: Path) -> None:
    with DoorStand.opened(tmp_path) as door:
        web = Web(door, tmp_path)
        web.file.change(lambda a: a.with_member("crew", "bob"))
        web.graphql(ANN, UPSERT)
        web.graphql(ANN, UPSERT, entity="crew")
        of_crew, _ = logged(web, ANN, b"crew's", entityName="crew", projectName="proj")
        own, _ = logged(web, ANN, b"own", projectName="proj")
        named = {"projectName": "proj", "runName": "run"}
        for entity, artifact in (("ann", of_crew), ("crew", own)):
            used = {"artifactID": artifact, "entityName": entity, **named}
            assert mutated(web, ANN, "useArtifact", **used).status_code == 200
        seen = "/api/v1/artifacts/crew/proj/data"
        assert [u["entity"] for u in web.get(ANN, seen).json()["used_by"]] == ["ann"]
        assert web.get(BOB, seen).json()["used_by"] == []
        used_by_crew = "/api/v1/runs/crew/proj/run/artifacts"
        assert [a["entity"] for a in web.get(ANN, used_by_crew).json()["used"]] == ["ann"]
        assert web.get(BOB, used_by_crew).json()["used"] == []
        assert "/artifacts/dataset/data/v0" in web.get(ANN, "/crew/proj/runs/run").text
        assert "/artifacts/" not in web.get(BOB, "/crew/proj/runs/run").text
        shown = "/crew/proj/artifacts/dataset/data/v0"
        assert "/ann/proj/runs/run" in web.get(ANN, shown).text
        assert "/ann/" not in web.get(BOB, shown).text
        asked = """query { project(name: "proj", entityName: "crew") {
          artifact(name: "data:v0") { usedBy { edges { node { name } } } }
          run(name: "run") { inputArtifacts { edges { node { id } } } } } }"""
        found = web.graphql(BOB, asked).json()["data"]["project"]
        assert found["artifact"]["usedBy"]["edges"] == []
        assert found["run"]["inputArtifacts"]["edges"] == []


def test_a_file_is_not_brought_to_a_writer_of_another_s(tmp_path: Path) -> None:
    with DoorStand.opened(tmp_path) as door:
        web = Web(door, tmp_path)
        web.push(run_of(1, ""), ANN)
        carrier = Stream(writer_id(2))
        for piece in pieces(b"planted", "planted.txt", of=writer_id(1)):
            carrier.record(Kind.FILE_PIECE, piece)
        with pytest.raises(ForbiddenError):
            web.push(carrier, BOB)
        assert web.get(ANN, "/api/v1/runs/-/proj/run/files").json()["files"] == []
        web.push(carrier, ANN)
        assert web.get(ANN, "/api/v1/runs/-/proj/run/files/planted.txt").content == b"planted"


def test_nobody_uses_another_s_artifact_nor_says_so_for_another_s_run(
    filled: tuple[Web, dict[str, str]],
) -> None:
    web, _ = filled
    for run, artifact in (("bob", "ann"), ("ann", "ann")):
        path = f"/api/v1/runs/{run}/proj/run/uses/{artifact}/proj/data:v0"
        assert web.ask(BOB, "POST", path).status_code == 403
        assert web.ask("", "POST", path).status_code == 401
    own = "/api/v1/runs/ann/proj/user/uses/ann/proj/data:v0"
    assert web.ask(ANN, "POST", own).json()["version"] == "v0"
    assert web.ask(ANN, "POST", own.replace("v0", "v7")).status_code == 404
    used_by = web.get(ANN, "/api/v1/artifacts/ann/proj/data").json()["used_by"]
    assert used_by == [{"entity": "ann", "project": "proj", "run_id": "user"}]


def test_a_version_is_changed_and_deleted_by_who_has_it(tmp_path: Path) -> None:
    with DoorStand.opened(tmp_path) as door:
        web = Web(door, tmp_path)
        of_user(web, ANN, "ann", CONTENT)
        path = "/api/v1/artifacts/ann/proj/data:v0"
        said = {
            "description": "d", "metadata": {"k": 1}, "tags": ["t", "t"], "ttl_s": 60,
            "add_aliases": ["best"], "delete_aliases": ["latest"],
        }  # fmt: skip
        assert web.ask(BOB, "PATCH", path, json=said).status_code == 403
        assert web.ask(BOB, "DELETE", path).status_code == 403
        changed = web.ask(ANN, "PATCH", path, json=said).json()
        assert changed == web.ask(ANN, "PATCH", path, json={}).json() | {
            "updated_at": changed["updated_at"]
        }
        kept = {name: changed[name] for name in ("description", "metadata", "tags", "ttl_s")}
        assert kept == {"description": "d", "metadata": {"k": 1}, "tags": ["t"], "ttl_s": 60}
        assert changed["aliases"] == ["best"]
        for wrong in (
            {"metadata": 1}, {"description": 1}, {"tags": "t"}, {"ttl_s": -1}, {"ttl_s": True},
            {"add_aliases": ["v3"]}, {"add_aliases": ["a/b"]}, {"digest": "x"},
        ):  # fmt: skip
            assert web.ask(ANN, "PATCH", path, json=wrong).status_code == 400, wrong
        deep = json.loads("[" * 101 + "]" * 101)
        assert web.ask(ANN, "PATCH", path, json={"metadata": {"k": deep}}).status_code == 400
        refused = mutated(
            web, ANN, "updateArtifact", artifactID=changed["id"], metadata=json.dumps({"k": deep})
        )
        assert "nested more than 100 deep; flatten it" in refused.text
        assert web.get(ANN, path).json()["aliases"] == ["best"]
        versions = web.get(ANN, "/api/v1/artifacts/ann/proj/data/versions").json()["versions"]
        assert [version["version"] for version in versions] == ["v0"]
        (named,) = web.get(ANN, "/api/v1/artifacts/ann/proj").json()["collections"]
        assert (named["name"], named["type"]) == ("data", "dataset")
        assert web.ask(ANN, "DELETE", path).status_code == 400
        assert web.ask(ANN, "DELETE", f"{path}?with_aliases=true").status_code == 200
        assert web.get(ANN, path).status_code == 404
        assert web.get(ANN, "/api/v1/artifacts/ann/proj/nothing/versions").status_code == 404


def test_a_reference_to_an_artifact_is_served_to_whom_that_is_open(
    filled: tuple[Web, dict[str, str]],
) -> None:
    web, ids = filled
    address = f"wandb-artifact://{base64.b64decode(ids['$artifact']).hex()}"
    refs = {"good": f"{address}/f/x.txt", "gone": f"{address}/y", "odd": "wandb-artifact://zz/y"}
    for key, entity in ((ANN, "ann"), (BOB, "bob")):
        logged(
            web, key, CONTENT, refs, artifactCollectionName="refers", digest="r",
            entityName=entity, projectName="proj",
        )  # fmt: skip
    path = "/api/v1/artifacts/ann/proj/refers"
    files = {file["path"]: file for file in web.get(ANN, path).json()["files"]}
    assert files["good"]["of"] == {"artifact": "ann/proj/data:v0", "path": "f/x.txt"}
    assert (files["odd"]["of"], files["f/x.txt"]["of"]) == (None, None)
    assert web.get(ANN, f"{path}/files/good").content == CONTENT
    for missing in ("gone", "odd"):
        assert web.get(ANN, f"{path}/files/{missing}").status_code == 404
    path = "/api/v1/artifacts/bob/proj/refers"
    assert {file["of"] for file in web.get(BOB, path).json()["files"]} == {None}
    assert web.get(BOB, f"{path}/files/good").status_code == 404
    assert web.get(ROOT, f"{path}/files/good").content == CONTENT
