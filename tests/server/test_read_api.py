"""The read API through its own application, on real stores."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import anyio
import httpx
import pyarrow as pa
import pyarrow.ipc
import pytest
from server.stand import NOW, Stand, gate_of
from server.streams import Stream, simple_run, writer_id
from starlette.applications import Starlette

from kelt_proto.v1 import record_pb2, rows
from kelt_proto.v1.frames import Kind
from kelt_server.access.account_file import AccountFile
from kelt_server.api.actions import ActionApi
from kelt_server.api.admin import AdminApi
from kelt_server.api.app import build_app
from kelt_server.api.artifact_changes import ArtifactChangesApi
from kelt_server.api.files import FileApi
from kelt_server.api.openapi import document
from kelt_server.api.routes import ReadApi, ServerFacts
from kelt_server.pages import pages
from kelt_server.pages.pages import Pages
from kelt_server.run_actions import RunActions

HISTORY = "/api/v1/runs/-/proj/run/history"
RUNS = "/api/v1/runs"


@dataclass
class Client:
    """Asks the application itself, without a socket."""

    app: Starlette

    def get(
        self, path: str, params: dict[str, Any] | None = None, *, host: str = "kelt"
    ) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
                return await client.get(path, params=params)

        return anyio.run(ask)


def api_of(stand: Stand) -> ReadApi:
    about = ServerFacts(
        server_id="id",
        grpc_port=1,
        default_entity="local",
        damaged_files=(),
    )
    return ReadApi(reader=stand.reader, about=about, counters=stand.counters, gate=gate_of())


@pytest.fixture
def client(stand: Stand) -> Client:
    app = build_app(
        api_routes=api_of(stand).routes(), page_routes=Pages(stand.reader).routes(), gate=gate_of()
    )
    return Client(app)


@pytest.mark.parametrize(("api_key", "is_local"), [("", True), ("k" * 40, True), ("", False)])
def test_a_server_of_this_machine_alone_that_wants_no_key_answers_to_its_own_names(
    stand: Stand, api_key: str, is_local: bool
) -> None:
    gate = gate_of(api_key)
    app = Client(
        build_app(api_routes=api_of(stand).routes(), page_routes=[], gate=gate, is_local=is_local)
    )
    for host in ("localhost:8470", "127.0.0.1:8470", "[::1]:1", "Kelt", "host.docker.internal"):
        assert app.get(RUNS, host=host).status_code == (401 if api_key else 200)
    for host in ("evil.example", "127.0.0.1.evil.example:8470", "localhost.evil.example."):
        answer = app.get(RUNS, host=host)
        assert answer.status_code == (401 if api_key else 403 if is_local else 200)
        assert is_local or "error" not in answer.json()


def typed_run() -> Stream:
    stream = Stream(writer_id(1))
    stream.opened(
        "proj",
        "run",
        "b",
        started_at=10.0,
        created=record_pb2.Created(),
        info=record_pb2.RunInfo(name="<b>bold</b>", tags=record_pb2.Tags(values=["x", "y"])),
    )
    stream.row(0, {"f": 1.0, "i": 1, "b": True, "n": None, "t": "é", "j": [1, 2.0]})
    stream.row(1, {"f": float("nan"), "i": 2**60 + 1, "big": 2**70})
    stream.row(2, {"f": float("inf")}, flags=rows.FLAG_PARTIAL)
    stream.row(1, {"late": 5}, flags=rows.FLAG_STEP_WENT_DOWN)
    return stream


def typed(values: dict[str, Any]) -> dict[str, Any]:
    return {key: (type(value), value) for key, value in values.items()}


def test_every_route_is_described_and_nothing_else(stand: Stand, tmp_path: Path) -> None:
    parts: Any = {"files": None, "library": None}
    files = FileApi(reader=stand.reader, **parts)
    artifacts = ArtifactChangesApi(library=parts["library"])
    actions = ActionApi(actions=cast("RunActions", None), reader=stand.reader)
    admin = AdminApi(accounts=AccountFile(tmp_path), clock=lambda: NOW)
    apis = (api_of(stand), files, artifacts, actions, admin)
    routes = [route for api in apis for route in api.routes()]
    served = {
        (m.lower(), route.path.replace(":path", ""))
        for route in routes
        for m in route.methods or ()
        if m != "HEAD"
    }
    described = {
        (method, path): operation
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    }
    assert served == set(described)
    for (_, path), operation in described.items():
        named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}


@pytest.mark.parametrize("path", [RUNS, HISTORY, "/api/v1/runs/-/proj/run/buckets"])
def test_described_parameters_are_those_that_are_taken(
    client: Client, stand: Stand, path: str
) -> None:
    stand.push(simple_run().batches())
    described = document()["paths"][path.replace("/-/proj/run", "/{entity}/{project}/{run}")]
    names = sorted(p["name"] for p in described["get"]["parameters"] if p["in"] == "query")
    refused = client.get(path, params={"nonsense": "1"})
    assert refused.status_code == 400
    assert refused.json()["error"].endswith(", ".join(names))


def test_types_survive_json(client: Client, stand: Stand) -> None:
    stand.push(typed_run().batches())
    found = json.loads(client.get(HISTORY).text)
    assert found["next"] is None
    first, second, third = found["rows"]
    assert typed(first["values"]) == typed(
        {"f": 1.0, "i": 1, "b": True, "n": None, "t": "é", "j": [1, 2.0]}
    )
    assert typed(second["values"]) == typed(
        {"f": {"$float": "NaN"}, "i": 2**60 + 1, "big": 2**70, "late": 5}
    )
    assert second["flags"] == ["step_went_down"]
    assert third["values"] == {"f": {"$float": "Infinity"}}
    assert third["flags"] == ["partial"]
    assert (first["immutable_id"], first["writer_id"]) == ("b", writer_id(1).hex())


def test_types_survive_arrow(client: Client, stand: Stand) -> None:
    stand.push(typed_run().batches())
    table = pa.ipc.open_stream(client.get(HISTORY, params={"format": "arrow"}).content).read_all()
    about = json.loads(table.schema.metadata[b"kelt"])
    found = [
        {about["keys"][c["key"]]: arrow_value(c) for c in row["cells"]} for row in table.to_pylist()
    ]
    assert typed(found[0]) == typed(
        {"f": 1.0, "i": 1, "b": True, "n": None, "t": "é", "j": [1, 2.0]}
    )
    assert repr(found[1]["f"]) == "nan"
    assert (found[1]["i"], found[1]["big"], found[1]["late"]) == (2**60 + 1, 2**70, 5)
    assert table["flags"].to_pylist() == [0, 2, 4]


def arrow_value(cell: dict[str, Any]) -> Any:
    """As the API's page tells a client to read a cell."""
    kind, value, text = cell["kind"], cell["value"], cell["text"]
    if kind == 1:
        return value
    if kind == 2:
        return int(text) if text is not None else int(value)
    if kind == 3:
        return bool(value)
    if kind == 4:
        return None
    return text if kind == 5 else json.loads(text)


def test_pages_join_to_the_whole_history(client: Client, stand: Stand) -> None:
    stand.push(simple_run(row_count=50).batches())
    whole = client.get(HISTORY, params={"limit": 100}).json()["rows"]
    joined, after = [], ""
    while after is not None:
        page = client.get(HISTORY, params={"limit": 7, "after": after}).json()
        joined += page["rows"]
        after = page["next"]
    assert joined == whole
    assert [row["step"] for row in whole] == list(range(50))


def test_keys_keep_the_rows_that_have_all_of_them(client: Client, stand: Stand) -> None:
    stream = simple_run(row_count=0)
    for step in range(10):
        stream.row(step, {"a": step, "z": 0} if step % 2 else {"a": step, "b,c": 1.0})
    stand.push(stream.batches())
    found = client.get(HISTORY, params={"key": ["a", "b,c"]}).json()["rows"]
    assert [row["step"] for row in found] == [0, 2, 4, 6, 8]
    assert set(found[0]["values"]) == {"a", "b,c"}
    assert client.get(HISTORY, params={"keys": "a,absent"}).json()["rows"] == []
    found = client.get(HISTORY, params={"keys": "a,_step", "min_step": 3, "max_step": 5}).json()
    assert [row["values"] for row in found["rows"]] == [{"a": 3}, {"a": 4}, {"a": 5}]


def test_samples_are_even_and_keep_both_ends(client: Client, stand: Stand) -> None:
    stand.push(simple_run(row_count=101).batches())
    found = client.get(HISTORY, params={"samples": 5}).json()
    assert [row["step"] for row in found["rows"]] == [0, 25, 50, 75, 100]
    assert found["next"] is None


def test_buckets_hold_every_number_once(client: Client, stand: Stand) -> None:
    stream = simple_run(row_count=0)
    for step in range(10):
        stream.row(step, {"x": float("nan") if step == 4 else float(step), "t": "text"})
    stand.push(stream.batches())
    path = "/api/v1/runs/-/proj/run/buckets"
    found = client.get(path, params={"key": ["x", "t"], "buckets": 3}).json()
    assert (found["min_step"], found["max_step"], found["width"]) == (0, 9, 4)
    assert found["keys"]["t"] == []
    assert found["keys"]["x"] == [
        {"from": 0, "to": 3, "count": 4, "nan": 0, "min": 0.0, "max": 3.0, "mean": 1.5},
        {"from": 4, "to": 7, "count": 3, "nan": 1, "min": 5.0, "max": 7.0, "mean": 6.0},
        {"from": 8, "to": 9, "count": 2, "nan": 0, "min": 8.0, "max": 9.0, "mean": 8.5},
    ]
    arrow = client.get(path, params={"key": "x", "buckets": 3, "format": "arrow"})
    table = pa.ipc.open_stream(arrow.content).read_all()
    assert table["mean"].to_pylist() == [1.5, 6.0, 8.5]


def test_buckets_reach_through_a_fork(client: Client, stand: Stand) -> None:
    parent = simple_run(1, row_count=10)
    child = Stream(writer_id(2))
    point = record_pb2.BranchPoint(project="proj", run_id="run", branch_id="b", step=4)
    child.opened("proj", "child", "c", started_at=2.0, forked=point)
    child.row(5, {"loss": 100.0})
    stand.push([*child.batches(), *parent.batches()])
    found = client.get(
        "/api/v1/runs/-/proj/child/buckets", params={"key": "loss", "buckets": 6}
    ).json()
    assert [b["max"] for b in found["keys"]["loss"]] == [0.5, 1.5, 2.5, 3.5, 4.5, 100.0]


def test_runs_are_filtered_ordered_and_paged(client: Client, stand: Stand) -> None:
    for n in range(1, 6):
        stream = simple_run(n, run_id=f"r{n}", branch_id=f"b{n}", row_count=n)
        stream.config(float(n), lr=n / 10)
        if n % 2:
            stream.exit(0, at=50.0)
        stand.push(stream.batches())
    every = client.get(RUNS, params={"project": "proj"}).json()
    assert [run["run_id"] for run in every["runs"]] == ["r5", "r4", "r3", "r2", "r1"]
    query = json.dumps({"config.lr": {"$gt": 0.15}, "state": "finished"})
    found = client.get(RUNS, params={"filters": query, "order": "+summary.loss"}).json()
    assert [run["run_id"] for run in found["runs"]] == ["r3", "r5"]
    page = client.get(RUNS, params={"order": "config.lr", "offset": 1, "limit": 2}).json()
    assert ([run["run_id"] for run in page["runs"]], page["total"]) == (["r2", "r3"], 5)


@pytest.mark.parametrize(
    ("path", "params", "word"),
    [
        (RUNS, {"filters": "{"}, "JSON"),
        (RUNS, {"filters": '{"$what": []}'}, "$what"),
        (RUNS, {"filters": '{"state": {"$like": 1}}'}, "$like"),
        (RUNS, {"order": "colour"}, "colour"),
        (RUNS, {"limit": "many"}, "limit"),
        (RUNS, {"limit": "100000"}, "limit"),
        (HISTORY, {"after": "nonsense"}, "after"),
        (HISTORY, {"format": "csv"}, "csv"),
        ("/api/v1/runs/-/proj/run/buckets", {}, "key"),
    ],
)
def test_a_bad_argument_gets_a_sentence_that_names_it(
    client: Client, stand: Stand, path: str, params: dict[str, str], word: str
) -> None:
    stand.push(simple_run().batches())
    refused = client.get(path, params=params)
    assert refused.status_code == 400
    assert word in refused.json()["error"]


@pytest.mark.parametrize(
    "path", ["/api/v1/runs/-/proj/nobody", "/api/v1/branches/nobody", "/nowhere/at/all"]
)
def test_what_is_not_there_gets_a_sentence(client: Client, path: str) -> None:
    refused = client.get(path)
    assert refused.status_code == 404
    assert refused.json()["error"]


def test_an_immutable_id_stands_for_a_run_id(client: Client, stand: Stand) -> None:
    stream = simple_run(row_count=4)
    point = record_pb2.BranchPoint(project="proj", run_id="run", branch_id="b", step=1)
    stream.rewind("b2", at=20.0, point=point)
    stream.row(2, {"loss": 9.0})
    stand.push(stream.batches())
    new = client.get("/api/v1/runs/-/proj/run").json()
    old = client.get("/api/v1/runs/-/proj/b").json()
    assert (new["immutable_id"], new["rows"], new["summary"]["loss"]) == ("b2", 3, 9.0)
    assert (old["immutable_id"], old["rows"], old["summary"]["loss"]) == ("b", 4, 3.5)
    assert (new["archived"], old["is_archived"], old["held_by"]) == (["b"], True, "b2")
    assert new["lineage"][0]["kind"] == "rewound"
    assert client.get("/api/v1/branches/b").json() == old
    archived = client.get("/api/v1/runs/-/proj/run/archived").json()["runs"]
    assert [run["immutable_id"] for run in archived] == ["b"]
    assert client.get("/api/v1/runs/-/proj/run/keys").json() == {"keys": ["loss"]}
    assert client.get("/api/v1/projects").json()["projects"][0]["runs"] == 1


def test_a_run_that_leaves_a_parent_that_is_not_there_says_so(client: Client, stand: Stand) -> None:
    child = Stream(writer_id(2))
    point = record_pb2.BranchPoint(project="proj", run_id="run", branch_id="b", step=40)
    child.opened("proj", "child", "c", started_at=2.0, forked=point)
    child.row(41, {"loss": 1.0})
    stand.push(child.batches())
    run = client.get("/api/v1/runs/-/proj/child").json()
    assert run["lineage"][0]["known"] is False
    assert "has not arrived" in run["problems"][0]
    stand.push(simple_run(1, row_count=3).batches())
    run = client.get("/api/v1/runs/-/proj/child").json()
    assert "ends at step 2" in run["problems"][0]
    assert run["rows"] == 4


def test_pages_escape_what_users_wrote(client: Client, stand: Stand) -> None:
    stream = typed_run()
    stream.config(1.0, **{"<script>": "</td><script>alert(1)</script>"})
    stream.exit(1, at=30.0, reason="<img src=x>")
    line = record_pb2.ConsoleLine(
        number=0, text="</pre><script>\x1b]0;a title\x07\x1b[31mred\x07 tab\t"
    )
    stream.record(Kind.CONSOLE, record_pb2.Console(lines=[line]))
    stand.push(stream.batches())
    for path in ("/", "/local/proj", "/local/proj/runs/run"):
        page = client.get(path)
        assert page.status_code == 200
        assert page.headers["x-content-type-options"] == "nosniff"
        assert "&lt;b&gt;bold" in page.text
        assert "failed" in page.text
        for bad in ("<script", "<img", "<b>bold"):
            assert bad not in page.text
    page = client.get("/local/proj/runs/run")
    assert "&lt;script&gt;" in page.text
    assert ">&lt;/pre&gt;&lt;script&gt;red tab\t\n<" in page.text  # the console


def test_a_page_says_what_it_does_not_know_exactly(client: Client, stand: Stand) -> None:
    stand.push(simple_run(row_count=400).batches())
    page = client.get("/local/proj/runs/run").text
    assert "≈ " in page.partition("</figure>")[0]  # a mean of the last few
    assert "No run of this project is here." in client.get("/local/none").text
    assert "No run has arrived yet" not in client.get("/").text
    missing = client.get("/local/proj/runs/none")
    assert (missing.status_code, missing.headers["content-type"][:9]) == (404, "text/html")
    assert "there is no run &#x27;none&#x27;" in missing.text


def test_a_page_counts_what_is_no_number_and_shows_no_end_that_is_not_the_last(
    client: Client, stand: Stand
) -> None:
    stream = simple_run(row_count=0)
    for step in range(9):
        stream.row(step, {"half": float(step) if step < 4 else float("nan"), "never": float("nan")})
    stand.push(stream.batches())
    page = client.get("/local/proj/runs/run").text
    half, never = page.split("</figure>")[:2]
    assert "0 … 3, NaN: 5" in half
    assert ">NaN</span>" in half  # not 3, which was the last number
    assert "no finite value" in never
    assert "NaN: 9" in never


def test_of_many_metrics_and_runs_a_part_is_shown_and_others_are_found(
    client: Client, stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "RUNS_SHOWN", 2)
    monkeypatch.setattr(pages, "_RUNS_OF_EACH", 1)
    stream = simple_run(row_count=0)
    stream.row(0, {f"layer{number:03}": number for number in range(100)})
    stand.push(stream.batches())
    run = "/local/proj/runs/run"
    first = client.get(run).text
    assert (first.count("<figure"), "1 to 36 of 100 metrics" in first) == (36, True)
    assert "50 more" in first  # of the summary
    assert "action" not in first
    last = client.get(run, {"metrics_from": "72"}).text
    assert last.count("<figure") == 28
    found = client.get(run, {"metrics": "LAYER09"}).text
    assert found.count("<figure") == 10
    assert "No metric contains" in client.get(run, {"metrics": "x"}).text
    for odd in ("-1", "x", "9" * 5000):
        assert client.get(run, {"metrics_from": odd}).status_code == 200
    for name in ("r1", "r2"):
        stand.push(simple_run(int(name[1]) + 1, run_id=name, branch_id=name).batches())
    listed = client.get("/local/proj", {"runs_from": "2"}).text
    assert "3 to 3 of 3 runs" in listed
    assert 'href="/local/proj/runs/run"' in listed
    found = client.get("/local/proj", {"runs": "R1"}).text
    assert ('runs/r1"' in found, 'runs/r2"' in found) == (True, False)
    assert "2 more runs" in client.get("/").text


def test_an_empty_server_says_how_runs_come_and_a_project_is_where_w_b_has_it(
    client: Client,
) -> None:
    assert "WANDB_BASE_URL=http://kelt" in client.get("/").text
    moved = client.get("/local/a%20b/workspace")
    assert (moved.status_code, moved.headers["location"]) == (307, "/local/a%20b")


def test_runs_of_every_entity_are_answered_at_once(client: Client, stand: Stand) -> None:
    stand.push(simple_run(1).batches())
    stream = Stream(writer_id(2))
    stream.opened(
        "proj", "other", "b2", started_at=3.0, created=record_pb2.Created(), entity="crew"
    )
    stand.push(stream.batches())
    found = client.get(RUNS, params={"entity": "*", "project": "proj"}).json()
    assert [(r["entity"], r["run_id"]) for r in found["runs"]] == [
        ("crew", "other"), ("local", "run"),
    ]  # fmt: skip
    assert client.get(RUNS, params={"entity": "*", "project": "none"}).json()["total"] == 0


def test_columns_leave_of_each_run_what_was_asked_for(client: Client, stand: Stand) -> None:
    stream = simple_run(row_count=2)
    stream.config(1.0, lr=0.5, model={"depth": 3, "a.b": float("nan")})
    stand.push(stream.batches())
    params = {
        "project": "proj",
        "columns": "state,config.lr,summary.loss,config.absent",
        "column": ["config.model.depth", "config.model.a.b", "last_step"],
    }
    (run,) = client.get(RUNS, params=params).json()["runs"]
    assert run == {
        "entity": "local", "project": "proj", "run_id": "run", "immutable_id": "b", "name": "run",
        "state": "running", "last_step": 1, "summary": {"loss": 1.5},
        "config": {"lr": 0.5, "model.depth": 3, "model.a.b": {"$float": "NaN"}},
    }  # fmt: skip
    refused = client.get(RUNS, params={"columns": "nothing"})
    assert refused.status_code == 400
    assert "nothing" in refused.json()["error"]
