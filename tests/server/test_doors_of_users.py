"""What a key opens: reading, writing and the admin API, through the server's own application."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from server.stand import NOW, Stand
from server.streams import Stream, simple_run, writer_id
from server.wandb_api.doors import DoorStand
from server.wandb_api.web import FileParts

from kelt_proto.v1 import record_pb2
from kelt_server.access.account_file import AccountFile
from kelt_server.access.callers import Caller
from kelt_server.access.gate import Gate
from kelt_server.api.admin import AdminApi
from kelt_server.api.app import build_app
from kelt_server.api.routes import ReadApi, ServerFacts
from kelt_server.errors import ForbiddenError

ANN, BOB, ROOT = ("a" * 40, "b" * 40, "r" * 40)
SAID = """query V { viewer { entity username admin teams { edges { node { name } } } } }"""
UPSERT = """mutation M($entity: String) {
  upsertBucket(input: {entityName: $entity, modelName: "proj", name: "run", host: "h"}) {
    bucket { project { entity { name } } } } }"""


class Web:
    """An application with the users ann (of the team crew), bob and root, who is an admin."""

    def __init__(self, door: DoorStand, folder: Path) -> None:
        self.stand = door.stand
        self.file = AccountFile(folder / "accounts")
        for name, key in (("ann", ANN), ("bob", BOB), ("root", ROOT)):
            self.add(name, key)
        self.file.change(lambda a: a.with_team("crew", now=1.0).with_member("crew", "ann"))
        gate = Gate(api_key="", accounts=self.file.accounts, default_entity="local")
        about = ServerFacts(server_id="s", grpc_port=1, default_entity="local", damaged_files=())
        parts = self.parts = FileParts(door, folder, gate=gate)
        self.app = build_app(
            api_routes=[
                *ReadApi(
                    reader=self.stand.reader, about=about, counters=self.stand.counters, gate=gate
                ).routes(),
                *AdminApi(accounts=self.file, clock=lambda: NOW).routes(),
                *parts.api_routes,
            ],
            page_routes=parts.page_routes,
            more_routes=parts.wandb_routes,
            gate=gate,
        )

    def add(self, name: str, key: str) -> None:
        self.file.change(
            lambda a: a.with_user(name, is_admin=name == "root", now=1.0).with_key(
                name, key, now=1.0
            )
        )

    def ask(self, key: str, method: str, path: str, **more: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://kelt") as client:
                return await client.request(
                    method, path, auth=("api", key) if key else None, **more
                )

        return asyncio.run(ask())

    def get(self, key: str, path: str, **params: Any) -> httpx.Response:
        return self.ask(key, "GET", path, params=params or None)

    def graphql(self, key: str, query: str, **variables: Any) -> httpx.Response:
        return self.ask(key, "POST", "/graphql", json={"query": query, "variables": variables})

    def caller(self, key: str) -> Caller:
        found = self.file.accounts().caller(key)
        assert found is not None
        return found

    def push(self, stream: Stream, key: str) -> None:
        self.stand.push(stream.batches(), self.caller(key))


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with DoorStand.opened(tmp_path) as door:
        yield Web(door, tmp_path)


def run_of(number: int, entity: str, run_id: str = "run", **more: Any) -> Stream:
    stream = Stream(writer_id(number))
    stream.opened("proj", run_id, f"b{number}", started_at=float(number), entity=entity, **more)
    stream.row(0, {"loss": 1.0})
    return stream


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A run of ann, whose entity she does not name, one of the crew and one of bob.

    Tests add to it under names of their own.
    """
    folder = tmp_path_factory.mktemp("filled")
    with DoorStand.opened(folder) as door:
        web = Web(door, folder)
        web.push(run_of(1, ""), ANN)
        web.push(run_of(2, "crew"), ANN)
        web.push(run_of(3, "bob"), BOB)
        yield web


def test_a_run_that_names_no_entity_is_its_user_s(filled: Web) -> None:
    assert filled.get(ANN, "/api/v1/runs/-/proj/run").json()["entity"] == "ann"
    assert filled.get(BOB, "/api/v1/runs/-/proj/run").json()["immutable_id"] == "b3"
    assert filled.get(ANN, "/api/v1/info").json()["default_entity"] == "ann"
    assert filled.get("", "/api/v1/info").json()["auth_required"] is True


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/runs/bob/proj/run", "/api/v1/runs/bob/proj/run/history", "/bob/proj",
        "/api/v1/runs?entity=bob", "/api/v1/bands?entity=bob&project=proj&keys=loss",
        "/bob/proj/runs/run", "/api/v1/runs/bob/proj/run/keys",
    ],
)  # fmt: skip
def test_what_is_another_s_is_refused_by_name(filled: Web, path: str) -> None:
    refused = filled.get(ANN, path)
    assert refused.status_code == 403
    assert "it opens ann, crew" in refused.text  # a sentence, or a page that says it
    for key in (BOB, ROOT):
        assert filled.get(key, path).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/branches/b3",
        "/api/v1/runs/-/proj/b3",
        "/api/v1/bands?project=proj&run=b3&keys=loss",
    ],
)
def test_an_immutable_id_of_another_s_leads_nowhere(filled: Web, path: str) -> None:
    assert filled.get(ANN, path).status_code == 404
    assert filled.get(BOB, path).status_code == 200


def test_projects_and_pages_show_what_is_open(filled: Web) -> None:
    seen = filled.get(ANN, "/api/v1/projects").json()["projects"]
    assert [p["entity"] for p in seen] == ["ann", "crew"]
    home = filled.get(ANN, "/").text
    assert "crew/proj" in home
    assert "bob" not in home
    everything = filled.get(ROOT, "/api/v1/projects").json()["projects"]
    assert {p["entity"] for p in everything} == {"ann", "bob", "crew"}


@pytest.mark.parametrize("key", ["", "x" * 40])
def test_without_a_key_that_is_known_nobody_comes_in(filled: Web, key: str) -> None:
    for method, path in (("GET", "/"), ("GET", "/api/v1/projects"), ("POST", "/graphql")):
        refused = filled.ask(key, method, path)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic")
    post = filled.ask(key, "POST", "/files/ann/proj/run/file_stream", json={})
    assert post.status_code == 401
    assert filled.ask(key, "POST", "/sdk/otel/v1/logs").status_code == 404


# -- what is pushed -----------------------------------------------------------------------------


def test_a_writer_writes_where_its_caller_may(filled: Web) -> None:
    for stream in (run_of(4, "bob", "four"), run_of(4, "local", "four")):
        with pytest.raises(ForbiddenError):
            filled.push(stream, ANN)
    filled.push(run_of(4, "bob", "four"), ROOT)
    assert filled.get(BOB, "/api/v1/runs/-/proj/b4").json()["entity"] == "bob"


def test_a_writer_of_another_s_is_not_gone_on_with(filled: Web) -> None:
    stream = run_of(3, "bob")
    last = stream.row(1, {"loss": 2.0})
    with pytest.raises(ForbiddenError):
        filled.stand.push([stream.batch(last, last)], filled.caller(ANN))
    witness = Stream(writer_id(9))
    assertion = record_pb2.Assertion(
        writer_id=stream.writer_id, state=record_pb2.Assertion.CRASHED, at=1.0
    )
    witness.record(9, assertion)
    witness.loss(stream.writer_id, 5, 6)
    with pytest.raises(ForbiddenError):
        filled.push(witness, ANN)
    filled.push(witness, BOB)


@pytest.mark.parametrize("entity", ["", "ann", "bob"])
def test_a_fork_of_another_s_run_is_refused(filled: Web, entity: str) -> None:
    point = record_pb2.BranchPoint(
        entity=entity, project="proj", run_id="run", branch_id="b3", step=0
    )
    with pytest.raises(ForbiddenError):
        filled.push(run_of(5, "", "fork", forked=point), ANN)


def test_a_branch_of_another_s_is_not_taken_over(filled: Web) -> None:
    taking = Stream(writer_id(7))
    taking.opened("proj", "mine", "b3", started_at=0.1, created=record_pb2.Created())
    with pytest.raises(ForbiddenError, match="KELT_ENTITY"):
        filled.push(taking, ANN)
    moving = run_of(8, "", "moving")
    point = record_pb2.BranchPoint(project="proj", run_id="moving", branch_id="b8", step=0)
    moving.rewind("b3", at=9.0, point=point)
    with pytest.raises(ForbiddenError):
        filled.push(moving, ANN)


def test_one_refused_push_holds_up_no_other(filled: Web) -> None:
    from kelt_server.ingest.pushes import Push

    good, bad = run_of(10, "", "good"), run_of(11, "bob", "bad")
    ann = filled.caller(ANN)
    refused, taken = filled.stand.group.commit(
        [Push(bad.batches(), ann), Push(good.batches(), ann)]
    )
    assert isinstance(refused, ForbiddenError)
    assert isinstance(taken, list)
    assert filled.get(ROOT, "/api/v1/runs/bob/proj/bad").status_code == 404
    assert filled.get(ANN, "/api/v1/runs/-/proj/good").status_code == 200


def test_where_nobody_is_known_everything_is_taken(stand: Stand) -> None:
    stand.push(simple_run().batches(), Caller(entity="local", sees_all=True))
    assert stand.run("run")["rows"] == 3


# -- wandb's clients ----------------------------------------------------------------------------


def test_the_viewer_is_who_has_the_key(filled: Web) -> None:
    viewer = filled.graphql(ANN, SAID).json()["data"]["viewer"]
    teams = [edge["node"]["name"] for edge in viewer["teams"]["edges"]]
    assert (viewer["entity"], viewer["username"], teams) == ("ann", "ann", ["ann", "crew"])
    assert filled.graphql(ROOT, SAID).json()["data"]["viewer"]["admin"] is True


def test_a_wandb_run_is_the_user_s_or_a_team_s(web: Web) -> None:
    for entity in (None, "crew"):
        answer = web.graphql(ANN, UPSERT, entity=entity)
        bucket = answer.json()["data"]["upsertBucket"]["bucket"]
        assert bucket["project"]["entity"]["name"] == entity or "ann"
    refused = web.graphql(ANN, UPSERT, entity="bob")
    assert refused.status_code == 403
    assert "'bob'" in refused.json()["errors"][0]["message"]


def test_a_stream_of_another_s_run_is_refused_for_good(web: Web) -> None:
    web.graphql(BOB, UPSERT)
    body = {"files": {"wandb-history.jsonl": {"offset": 0, "content": []}}}
    assert web.ask(ANN, "POST", "/files/bob/proj/run/file_stream", json=body).status_code == 403
    assert web.ask(BOB, "POST", "/files/bob/proj/run/file_stream", json=body).status_code == 200


# -- the admin API ------------------------------------------------------------------------------


def test_an_admin_adds_users_and_teams(web: Web) -> None:
    made = web.ask(ROOT, "POST", "/api/v1/users", json={"name": "eve"})
    assert made.status_code == 201
    key = made.json()["key"]
    assert web.get(key, "/api/v1/viewer").json() == {
        "user": "eve", "entity": "eve", "teams": [], "is_admin": False,
    }  # fmt: skip
    assert web.ask(ROOT, "PUT", "/api/v1/teams/crew/members/eve").json()["members"] == [
        "ann",
        "eve",
    ]
    assert web.get(key, "/api/v1/viewer").json()["teams"] == ["crew"]
    assert web.ask(ROOT, "DELETE", "/api/v1/users/eve").status_code == 204
    assert web.get(key, "/api/v1/viewer").status_code == 401
    names = [user["name"] for user in web.get(ROOT, "/api/v1/users").json()["users"]]
    assert names == ["ann", "bob", "root"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/users"), ("DELETE", "/api/v1/users/bob"), ("POST", "/api/v1/teams"),
        ("PUT", "/api/v1/teams/crew/members/bob"), ("DELETE", "/api/v1/teams/crew"),
        ("DELETE", "/api/v1/teams/crew/members/ann"), ("POST", "/api/v1/users/bob/keys"),
    ],
)  # fmt: skip
def test_who_is_no_admin_changes_nobody_else(filled: Web, method: str, path: str) -> None:
    refused = filled.ask(ANN, method, path, json={"name": "x"} if path.endswith("s") else None)
    assert refused.status_code in (400, 403)
    assert filled.ask(ANN, method, path).status_code == 403


def test_users_change_their_own_keys(web: Web) -> None:
    made = web.ask(ANN, "POST", "/api/v1/users/ann/keys").json()
    assert web.get(made["key"], "/api/v1/viewer").json()["user"] == "ann"
    assert web.ask(ANN, "DELETE", f"/api/v1/users/ann/keys/{made['id']}").status_code == 204
    assert web.get(made["key"], "/api/v1/viewer").status_code == 401
    (seen,) = web.get(ANN, "/api/v1/users").json()["users"]
    assert [seen["name"], len(seen["keys"])] == ["ann", 1]


def test_the_first_user_is_not_made_from_outside(web: Web) -> None:
    web.file.path.unlink()
    refused = web.ask("", "POST", "/api/v1/users", json={"name": "eve", "is_admin": True})
    assert refused.status_code == 403
    assert "kelt server user add" in refused.json()["error"]


def test_a_page_of_another_site_changes_nothing(web: Web) -> None:
    for origin in ("http://evil", "null"):
        refused = web.ask(
            ROOT, "POST", "/api/v1/users", json={"name": "eve"}, headers={"origin": origin}
        )
        assert refused.status_code == 403
    own = web.ask(
        ROOT, "POST", "/api/v1/users", json={"name": "eve"}, headers={"origin": "http://kelt"}
    )
    assert own.status_code == 201


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"name": 1}', b'{"nonsense": 1}', b"x" * 70_000])
def test_bodies_that_are_none_are_refused_with_a_sentence(filled: Web, body: bytes) -> None:
    refused = filled.ask(ROOT, "POST", "/api/v1/users", content=body)
    assert refused.status_code == 400
    assert refused.json()["error"]
