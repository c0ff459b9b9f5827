"""Forks, rewinds and where a run came from: on the pages of both, and in the read API."""

from __future__ import annotations

from typing import Any

import pytest
from server.stand import Stand, gate_of
from server.streams import Stream, simple_run, writer_id
from server.test_read_api import Client, api_of

from kelt_proto.v1 import record_pb2
from kelt_server.access.callers import Caller
from kelt_server.api.app import build_app
from kelt_server.pages import run_page
from kelt_server.pages.pages import Pages


@pytest.fixture
def client(stand: Stand) -> Client:
    pages = Pages(stand.reader).routes()
    return Client(build_app(api_routes=api_of(stand).routes(), page_routes=pages, gate=gate_of()))


def point(run_id: str, step: int, branch_id: str = "", **named: Any) -> record_pb2.BranchPoint:
    said = {"project": "proj", **named}
    return record_pb2.BranchPoint(run_id=run_id, branch_id=branch_id, step=step, **said)


def forked(number: int, run_id: str, of: record_pb2.BranchPoint, **said: Any) -> Stream:
    """With ten rows of its own."""
    stream = Stream(writer_id(number))
    branch = f"b-{run_id}"
    stream.opened("proj", run_id, branch, started_at=float(number), forked=of, **said)
    for step in range(of.step + 1, of.step + 11):
        stream.row(step, {"loss": 1.0})
    return stream


def family(stand: Stand) -> None:
    """`run` was forked thrice, once by its name alone; `early` was rewound and forked itself."""
    stand.push(simple_run(1, row_count=30).batches())
    early = forked(2, "early", point("run", 4, "b"))
    early.rewind("b-early-2", at=9.0, point=point("early", 6, "b-early"))
    early.row(7, {"loss": 2.0})
    stand.push(early.batches())
    stand.push(forked(3, "late", point("run", 20)).batches())
    stand.push(forked(4, "grandchild", point("early", 5, "b-early")).batches())
    elsewhere = {"project": "proj", "entity": "local"}
    stand.push(forked(5, "theirs", point("run", 8, "b", **elsewhere), entity="else").batches())


def names(answer: Any) -> list[str]:
    return [run["run_id"] for run in answer.json()["runs"]]


def test_the_forks_of_a_run_are_answered_newest_first_with_the_branch_that_their_name_has_now(
    client: Client, stand: Stand
) -> None:
    family(stand)
    forks = "/api/v1/runs/-/proj/run/forks"
    found = client.get(forks)
    assert (names(found), found.json()["total"]) == (["theirs", "late", "early"], 3)
    assert found.json()["runs"][2]["immutable_id"] == "b-early-2"
    assert names(client.get(forks, {"offset": 1, "limit": 1})) == ["late"]
    assert names(client.get("/api/v1/runs/-/proj/early/forks")) == ["grandchild"]
    assert names(client.get("/api/v1/runs/-/proj/b-early-2/forks")) == ["grandchild"]
    assert names(client.get("/api/v1/runs/-/proj/b-early/forks")) == ["grandchild"]
    assert names(client.get("/api/v1/runs/-/proj/late/forks")) == []
    # The name `early` is given to another run: what was forked is shown, not that one.
    stand.push(simple_run(20, run_id="early", branch_id="b-other").batches())
    of_run = client.get(forks).json()["runs"]
    assert [run["immutable_id"] for run in of_run] == ["b-theirs", "b-late", "b-early"]


def test_what_was_forked_by_others_is_shown_to_those_alone_who_may_see_it(stand: Stand) -> None:
    family(stand)
    seen = stand.reader.seen_by(Caller(entity="local", user="ann"))
    found = seen.forks("local", "proj", "run", offset=0, limit=10)
    assert [view.line.branch.run_id for view in found.views] == ["late", "early"]
    assert found.total == 2
    theirs = stand.reader.seen_by(Caller(entity="else", user="bob"))
    assert theirs.around("else", "proj", "theirs", limit=10).ancestors == ()


def test_pages_lead_from_a_run_to_its_forks_and_back(client: Client, stand: Stand) -> None:
    family(stand)
    parent = client.get("/local/proj/runs/run").text
    for link in ("/local/proj/runs/early", "/local/proj/runs/late", "/else/proj/runs/theirs"):
        assert f'href="{link}"' in parent
    assert "grandchild" not in parent
    assert "forked at step 4, rewound to 6 since" in parent
    child = client.get("/local/proj/runs/early").text
    assert "rewound at 6, forked from" in child
    for link in ("b", "b-early", "grandchild"):
        assert f'href="/local/proj/runs/{link}"' in child
    archived = client.get("/local/proj/runs/b-early").text
    assert "This branch is archived" in archived
    assert 'href="/local/proj/runs/early"' in archived
    listed = client.get("/local/proj").text
    assert 'forked from <a href="/local/proj/runs/b-early">early</a> at 5' in listed
    assert "Lineage" not in client.get("/local/proj/runs/none").text


def test_many_forks_are_shown_a_part_at_a_time(
    client: Client, stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_page, "FORKS_SHOWN", 2)
    stand.push(simple_run(1, row_count=3).batches())
    for number in range(3):
        stand.push(forked(number + 2, f"f{number}", point("run", 1, "b")).batches())
    page = client.get("/local/proj/runs/run").text
    assert "1 to 2 of 3 forks" in page
    assert 'href="/local/proj/runs/f2"' in page
    assert 'href="?forks_from=2#forks"' in page
    rest = client.get("/local/proj/runs/run", {"forks_from": "2"}).text
    assert 'href="/local/proj/runs/f0"' in rest
    assert "3 to 3 of 3 forks" in rest
