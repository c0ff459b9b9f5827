from __future__ import annotations

import json
import math
import sys

import pandas as pd
import pytest

from kelt.api_client import Ancestor, Bucket, Loss
from kelt.errors import RunNotFoundError, UsageError

RUN_PATH = "/api/v1/runs/-/demo/base"
HISTORY = "/api/v1/runs/me/demo/i1/history"


@pytest.fixture
def run(wire, api, run_json):
    wire.says(RUN_PATH, run_json)
    return api.run("demo/base")


def same(left, right):
    """Equal, and of the same types; NaN equals NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right or (left != left and right != right)  # noqa: PLR0124


def test_a_run_tells_what_the_server_said_of_it(run):
    assert (run.id, run.immutable_id, run.entity, run.project) == ("base", "i1", "me", "demo")
    assert (run.name, run.notes, run.group, run.job_type) == ("brave-otter-1", "", "", "train")
    assert (run.state, run.state_reason) == ("failed", "ValueError: nan")
    assert run.tags == ["a", "b"]
    assert run.path == ["me", "demo", "base"]
    assert (run.rows, run.last_step, run.lastHistoryStep) == (3, 2, 2)
    assert run.created_at == "2023-11-14T22:13:20.000Z"
    assert run.heartbeat_at == "2023-11-14T22:15:00.250Z"
    assert run.lineage == [
        Ancestor("i0", "me", "demo", "root", 200, "forked", is_known=True, is_deleted=False)
    ]
    assert run.losses == [Loss("00ff", 4, 6, 2, "disk")]
    assert run.lost_rows == 2
    assert run.problems == ["the parent has not arrived"]
    assert not run.is_archived


def test_config_and_summary_keep_types_and_floats_that_json_lacks(run):
    config = {
        "lr": 1.0,
        "epochs": 1,
        "huge": 123456789012345678901234567890,
        "limits": [-math.inf, math.inf, 1],
        "nothing": None,
    }
    assert same(run.config, config)
    assert same(run.summary, {"loss": math.nan, "_step": 2, "ok": True})


def test_changing_the_config_read_does_not_change_the_run(run):
    run.config["lr"] = 5
    assert run.config["lr"] == 1.0


def test_scanning_gives_every_row_of_every_page_with_exact_types(run, wire):
    pages = {
        "": """{"rows": [
            {"step": 0, "timestamp": 1.5, "runtime": 0.5, "flags": [], "immutable_id": "i0",
             "writer_id": "w", "values": {"loss": 1.0, "n": 1, "ok": false}},
            {"step": 1, "timestamp": 2.5, "runtime": 1.5, "flags": ["partial"],
             "immutable_id": "i1", "writer_id": "w",
             "values": {"loss": {"$float": "NaN"}, "n": 9007199254740993, "none": null}}],
            "next": "t/1+x"}""",
        "t/1+x": """{"rows": [
            {"step": 2, "timestamp": 3.5, "runtime": 2.5, "flags": [], "immutable_id": "i1",
             "writer_id": "w",
             "values": {"text": "\\ud800 \\u00e9", "list": [1, 1.0, {"$float": "Infinity"}]}}],
            "next": null}""",
    }
    wire.decides(HISTORY, lambda query: (200, pages[query.get("after", [""])[0]].encode()))

    rows = list(run.scan_history(page_size=2))

    assert same(
        rows,
        [
            {"_step": 0, "_timestamp": 1.5, "_runtime": 0.5, "loss": 1.0, "n": 1, "ok": False},
            {
                "_step": 1,
                "_timestamp": 2.5,
                "_runtime": 1.5,
                "loss": math.nan,
                "n": 9007199254740993,
                "none": None,
            },
            {
                "_step": 2,
                "_timestamp": 3.5,
                "_runtime": 2.5,
                "text": "\ud800 é",
                "list": [1, 1.0, math.inf],
            },
        ],
    )
    assert wire.asked_for(HISTORY) == [{"limit": ["2"]}, {"limit": ["2"], "after": ["t/1+x"]}]


def test_scanning_asks_nothing_before_the_first_row_is_wanted(run, wire):
    run.scan_history()
    assert wire.asked_for(HISTORY) == []


def test_keys_are_sent_one_by_one_and_rows_hold_these_alone(run, wire):
    wire.says(
        HISTORY,
        """{"rows": [{"step": 7, "timestamp": 1.0, "runtime": 0.0, "flags": [],
        "immutable_id": "i1", "writer_id": "w", "values": {"a,b": 1, "c": 2.0}}], "next": null}""",
    )
    rows = list(run.scan_history(["c", "_step", "a,b"], min_step=3, max_step=9))
    assert [list(row.items()) for row in rows] == [[("c", 2.0), ("_step", 7), ("a,b", 1)]]
    assert wire.asked_for(HISTORY) == [
        {"key": ["c", "a,b"], "limit": ["1000"], "min_step": ["3"], "max_step": ["9"]}
    ]


def test_sampled_history_is_a_frame_with_the_step_and_one_request(run, wire):
    wire.says(
        HISTORY,
        """{"rows": [
        {"step": 0, "timestamp": 1.0, "runtime": 0.0, "flags": [], "immutable_id": "i1",
         "writer_id": "w", "values": {"loss": 0.5}},
        {"step": 9, "timestamp": 2.0, "runtime": 1.0, "flags": [], "immutable_id": "i1",
         "writer_id": "w", "values": {"loss": {"$float": "NaN"}}}], "next": null}""",
    )
    frame = run.history(["loss"], samples=2)
    assert isinstance(frame, pd.DataFrame)
    assert frame["_step"].tolist() == [0, 9]
    assert frame["loss"][0] == 0.5
    assert math.isnan(frame["loss"][1])
    assert wire.asked_for(HISTORY) == [{"key": ["loss"], "samples": ["2"]}]


def test_a_frame_takes_keys_and_texts_that_no_encoding_can(run, wire):
    wire.says(
        HISTORY,
        r"""{"rows": [
        {"step": 0, "timestamp": 1.0, "runtime": 0.0, "flags": [], "immutable_id": "i1",
         "writer_id": "w", "values": {"a\ud800": 0.5, "t": "\ud800x"}},
        {"step": 9, "timestamp": 2.0, "runtime": 1.0, "flags": [], "immutable_id": "i1",
         "writer_id": "w", "values": {"t": "ok"}}], "next": null}""",
    )
    frame = run.history()
    assert frame["_step"].tolist() == [0, 9]
    assert frame["a\ud800"][0] == 0.5
    assert frame["t"].tolist() == ["\ud800x", "ok"]


@pytest.mark.parametrize("is_installed", [True, False])
def test_history_without_pandas_is_a_list_of_dicts(run, wire, monkeypatch, is_installed):
    wire.says(HISTORY, '{"rows": [], "next": null}')
    if is_installed:
        assert run.history(pandas=False) == []
    else:
        monkeypatch.setitem(sys.modules, "pandas", None)
        assert run.history() == []


def test_buckets_carry_the_extremes_of_each_range(run, wire):
    wire.says(
        "/api/v1/runs/me/demo/i1/buckets",
        """{"min_step": 0, "max_step": 9, "width": 5, "keys": {"loss": [
        {"from": 0, "to": 4, "count": 5, "nan": 0, "min": 0.5, "max": 2.5, "mean": 1.0},
        {"from": 5, "to": 9, "count": 0, "nan": 5, "min": null, "max": null, "mean": null}],
        "odd,name": []}}""",
    )
    found = run.buckets(["loss", "odd,name"], buckets=2, max_step=9)
    assert found == {
        "loss": [Bucket(0, 4, 5, 0, 0.5, 2.5, 1.0), Bucket(5, 9, 0, 5, None, None, None)],
        "odd,name": [],
    }
    assert wire.asked_for("/api/v1/runs/me/demo/i1/buckets") == [
        {"key": ["loss", "odd,name"], "buckets": ["2"], "max_step": ["9"]}
    ]


def test_archived_branches_are_runs_that_can_be_read(run, wire, run_json):
    old = json.loads(run_json) | {"immutable_id": "i9", "is_archived": True, "archived": ["i9"]}
    wire.says("/api/v1/runs/me/demo/base/archived", json.dumps({"runs": [old]}))
    wire.says("/api/v1/runs/me/demo/i9/history", '{"rows": [], "next": null}')
    [archived] = run.archived
    assert (archived.id, archived.immutable_id, archived.is_archived) == ("base", "i9", True)
    assert list(archived.scan_history()) == []


def test_load_looks_at_the_same_branch_again_even_when_its_name_has_moved(run, wire, run_json):
    changed = json.loads(run_json) | {"rows": 9, "is_archived": True}
    wire.says("/api/v1/runs/me/demo/i1", json.dumps(changed))
    assert run.load() is run
    assert (run.rows, run.is_archived) == (9, True)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("demo/base", "/api/v1/runs/-/demo/base"),
        ("me/demo/base", "/api/v1/runs/me/demo/base"),
        ("me/demo/runs/base", "/api/v1/runs/me/demo/base"),
        ("http://host:1/me/demo/runs/base", "/api/v1/runs/me/demo/base"),
        ("i1", "/api/v1/branches/i1"),
        ("my project/ä b", "/api/v1/runs/-/my%20project/%C3%A4%20b"),
    ],
)
def test_a_run_is_found_by_each_way_of_naming_it(wire, api, run_json, path, route):
    wire.says(route, run_json)
    assert api.run(path).immutable_id == "i1"
    assert wire.asked[-1].path == route


@pytest.mark.parametrize("path", ["", "a//b", "a/b/c/d/e", "/"])
def test_a_path_that_names_no_run_is_refused_before_anything_is_asked(wire, api, path):
    with pytest.raises(UsageError, match=r"does not name a run. Write \[entity/\]project/run"):
        api.run(path)
    assert wire.asked == []


def test_an_unknown_run_is_named_with_what_would_help(api):
    with pytest.raises(RunNotFoundError, match=r"knows no run 'demo/nope'. `kelt runs ls --all`"):
        api.run("demo/nope")
    with pytest.raises(RunNotFoundError, match=r"knows no run 'nope'. A run id wants its project"):
        api.run("nope")


@pytest.mark.parametrize(
    "ask",
    [
        lambda run: run.scan_history("loss"),
        lambda run: run.history(500),
        lambda run: run.scan_history(page_size=0),
        lambda run: run.history(samples=0),
        lambda run: run.scan_history(page_size=10_001),
    ],
)
def test_arguments_that_do_not_fit_are_refused_at_once(run, wire, ask):
    before = len(wire.asked)
    with pytest.raises(UsageError):
        ask(run)
    assert len(wire.asked) == before
