from __future__ import annotations

import json
from typing import Any

import pytest

from kelt_server.errors import BadRequestError
from kelt_server.filters import parse_filter, parse_order

RUN = {
    "state": "finished",
    "name": "brave-fox-3",
    "run_id": "r1",
    "tags": ["base", "v2"],
    "created_at": 5.0,
    "config": {"lr": 0.1, "opt": {"name": "sgd"}, "none": None, "on": True},
    "summary": {"val.acc": 0.9, "loss": {"$float": "NaN"}, "n": 3},
}


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ({}, True),
        ({"state": "finished"}, True),
        ({"state": {"$ne": "finished"}}, False),
        ({"display_name": {"$regex": "^brave"}}, True),
        ({"config.lr": {"$gt": 0.05, "$lt": 0.1}}, False),
        ({"config.lr.value": {"$gte": 0.1}}, True),
        ({"config.opt.name": {"$in": ["adam", "sgd"]}}, True),
        ({"config.opt.name": {"$nin": ["adam", "sgd"]}}, False),
        ({"config.none": None}, True),
        ({"config.absent": None}, True),
        ({"config.absent": {"$exists": False}}, True),
        ({"config.none": {"$exists": True}}, True),
        ({"config.on": 1}, False),
        ({"config.on": True}, True),
        ({"summary_metrics.val.acc": {"$gt": 0.5}}, True),
        ({"summary.loss": {"$lt": 5}}, False),
        ({"summary.loss": {"$not": {"$lt": 5}}}, True),
        ({"summary.n": 3.0}, True),
        ({"id": {"$in": ["r1", "brave"]}}, True),
        ({"tags": "v2"}, True),
        ({"tags": {"$in": ["v3"]}}, False),
        ({"$or": [{"state": "failed"}, {"tags": "base"}]}, True),
        ({"$nor": [{"state": "failed"}, {"tags": "base"}]}, False),
        ({"$and": [{"$not": {"state": "failed"}}, {"created_at": {"$lte": 5}}]}, True),
        ({"name": {"$gt": 3}}, False),
    ],
)
def test_a_filter_says_what_mongodb_would(query: Any, matches: bool) -> None:
    assert parse_filter(json.dumps(query))(RUN) is matches


@pytest.mark.parametrize(
    "query",
    ['{"$and": 1}', "[]", '{"colour": 1}', '{"config": 1}', '{"name": {"$regex": "("}}', "nope"]
    + ['{"$not": ' * 100 + "{}" + "}" * 100]
    + ['{"name": {"$regex": "(?=a)"}}', json.dumps({"name": {"$in": ["x" * 70_000]}})],
)
def test_a_bad_filter_is_refused(query: str) -> None:
    with pytest.raises(BadRequestError):
        parse_filter(query)


def test_no_pattern_takes_longer_than_its_text() -> None:
    for pattern in ("(a+)+$", "(a|a)*b", "(.*)*x", "a" * 1000, "[\ud800b]x"):
        test = parse_filter(json.dumps({"notes": {"$regex": pattern}}))
        assert not test({"notes": "a" * 999 + "\ud801!"})
    assert parse_filter('{"tags": {"$regex": "b$"}}')({"tags": [1, "a", "ab"]})
    assert not parse_filter('{"tags": {"$regex": ""}}')({"tags": []})


def test_runs_without_a_value_come_last_either_way() -> None:
    runs = [{"run_id": n, "config": c} for n, c in enumerate([{}, {"x": 2}, {"x": 1}, {"x": None}])]
    assert [run["run_id"] for run in parse_order("config.x")(runs)] == [2, 1, 0, 3]
    assert [run["run_id"] for run in parse_order("-config.x,-run_id")(runs)] == [1, 2, 3, 0]
