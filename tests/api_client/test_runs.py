from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from kelt.api_client import Project
from kelt.errors import UsageError

RUNS = "/api/v1/runs"


@pytest.fixture
def project(wire, run_json):
    """A project of seven runs, r0 … r6, paged as the route pages."""
    everything = [
        json.loads(run_json) | {"run_id": f"r{i}", "immutable_id": f"i{i}"} for i in range(7)
    ]

    def answer(query):
        offset, limit = int(query["offset"][0]), int(query["limit"][0])
        page = {"runs": everything[offset : offset + limit], "total": len(everything)}
        return 200, json.dumps(page).encode()

    wire.decides(RUNS, answer)
    return everything


def test_nothing_is_asked_before_something_is_wanted(project, wire, api):
    api.runs("demo")
    assert wire.asked == []


def test_iterating_fetches_each_page_once(project, wire, api):
    runs = api.runs("demo", per_page=3)
    assert [run.id for run in runs] == [f"r{i}" for i in range(7)]
    assert [run.id for run in runs] == [f"r{i}" for i in range(7)]
    assert [query["offset"] for query in wire.asked_for(RUNS)] == [["0"], ["3"], ["6"]]


def test_an_index_fetches_its_page_alone(project, wire, api):
    runs = api.runs("demo", per_page=3)
    assert len(runs) == 7
    assert (runs[6].id, runs[-2].id) == ("r6", "r5")
    assert [query["offset"] for query in wire.asked_for(RUNS)] == [["0"], ["6"], ["3"]]


def test_slices_are_those_of_a_list(project, api):
    runs = api.runs("demo", per_page=2)
    names = [f"r{i}" for i in range(7)]
    for part in (slice(2, 5), slice(None, None, -2), slice(-3, None), slice(5, 99)):
        assert [run.id for run in runs[part]] == names[part]


@pytest.mark.parametrize("index", [7, -8])
def test_an_index_past_the_ends_is_an_index_error(project, api, index):
    with pytest.raises(IndexError):
        api.runs("demo")[index]


def test_entity_project_filters_and_order_reach_the_server(project, wire, api):
    len(api.runs("me/demo", {"state": "failed", "config.lr": {"$gt": 0.1}}, "+summary.loss"))
    [query] = wire.asked_for(RUNS)
    assert json.loads(query.pop("filters")[0]) == {"state": "failed", "config.lr": {"$gt": 0.1}}
    assert query == {
        "entity": ["me"],
        "project": ["demo"],
        "order": ["+summary.loss"],
        "offset": ["0"],
        "limit": ["50"],
    }


def test_times_in_filters_are_sent_as_unix_seconds(project, wire, api):
    moment = datetime(2023, 11, 14, 22, 13, 20, tzinfo=timezone.utc)
    conditions = {
        "$and": [
            {"created_at": {"$gte": "2023-11-14T22:13:20Z"}},
            {"heartbeat_at": {"$in": [moment]}},
            {"config.created_at": "2023-11-14"},
        ]
    }
    len(api.runs("demo", conditions))
    [query] = wire.asked_for(RUNS)
    assert json.loads(query["filters"][0]) == {
        "$and": [
            {"created_at": {"$gte": 1700000000.0}},
            {"heartbeat_at": {"$in": [1700000000.0]}},
            {"config.created_at": "2023-11-14"},
        ]
    }


@pytest.mark.parametrize(
    "ask",
    [
        lambda api: api.runs("a/b/c"),
        lambda api: api.runs("/a//b/"),
        lambda api: api.runs("demo", per_page=0),
        lambda api: api.runs("demo", {"created_at": "yesterday"}),
        lambda api: api.runs("demo", 5),
        lambda api: api.runs("demo", [{"state": "failed"}]),
    ],
)
def test_arguments_that_do_not_fit_are_refused_at_once(wire, api, ask):
    with pytest.raises(UsageError):
        ask(api)
    assert wire.asked == []


def test_projects_are_listed(wire, api):
    wire.says(
        "/api/v1/projects",
        """{"projects": [{"entity": "me", "project": "demo", "runs": 2,
        "last_started_at": 1700000000.0},
        {"entity": "me", "project": "x", "runs": 0, "last_started_at": null}]}""",
    )
    assert api.projects() == [
        Project("me", "demo", 2, "2023-11-14T22:13:20.000Z"),
        Project("me", "x", 0, None),
    ]
