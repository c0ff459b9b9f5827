"""Several runs in one chart, compared with the same computed the slow way."""

from __future__ import annotations

import json
import math
import statistics
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from server.stand import Stand
from server.streams import Stream, writer_id
from server.test_read_api import Client, client

from kelt_proto.v1 import record_pb2
from kelt_server import bands

__all__ = ["client"]

BANDS = "/api/v1/bands"
RUNS = 6


def curve(run: int, step: int) -> float:
    return math.sin(run + step / 7) * (run + 1)


@pytest.fixture
def filled(stand: Stand) -> Stand:
    """Runs of different lengths; the last is a fork of the first."""
    streams = []
    for number in range(RUNS):
        stream = Stream(writer_id(number + 1))
        how: dict[str, Any] = {"created": record_pb2.Created()}
        if number == RUNS - 1:
            point = record_pb2.BranchPoint(project="proj", run_id="r0", branch_id="b0", step=9)
            how = {"forked": point}
        stream.opened("proj", f"r{number}", f"b{number}", started_at=float(number), **how)
        stream.config(1.0, lr=0.1 if number % 2 else 0.2, model={"depth": number % 3})
        first = 10 if number == RUNS - 1 else 0
        for step in range(first, 40 + 10 * number):
            stream.row(step, {"loss": curve(number, step), "text": "x"})
        streams.append(stream)
    for start in range(0, 100, 20):  # side by side
        stand.push(
            [s.batch(start + 1, min(start + 20, s.last_seq)) for s in streams if s.last_seq > start]
        )
        stand.stores.metrics.pack(40)
    return stand


def values(run: int) -> dict[int, float]:
    own = {step: curve(run, step) for step in range(40 + 10 * run)}
    if run == RUNS - 1:
        own |= {step: curve(0, step) for step in range(10)}
    return own


def naive(runs: list[int], first: int, last: int, width: int) -> list[dict[str, Any]]:
    found = []
    for begin in range(first, last + 1, width):
        end = min(begin + width - 1, last)
        inside = {r: [v for s, v in values(r).items() if begin <= s <= end] for r in runs}
        inside = {r: numbers for r, numbers in inside.items() if numbers}
        if not inside:
            continue
        means = [statistics.fmean(numbers) for numbers in inside.values()]
        every = [v for numbers in inside.values() for v in numbers]
        found.append(
            {
                "from": begin, "to": end, "runs": len(means), "count": len(every), "nan": 0,
                "min": min(every), "max": max(every), "mean": statistics.fmean(means),
                "std": statistics.stdev(means) if len(means) > 1 else None,
                "quantiles": [float(np.quantile(means, q)) for q in (0.25, 0.5, 0.75)],
            }
        )  # fmt: skip
    return found


def assert_same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name] == (pytest.approx(other[name]) if other[name] is not None else None), (
                name
            )


def test_the_band_of_all_runs_is_that_of_their_means(client: Client, filled: Stand) -> None:
    found = client.get(BANDS, params={"project": "proj", "key": "loss", "buckets": 9}).json()
    assert (found["min_step"], found["max_step"], found["width"]) == (0, 89, 10)
    (group,) = found["groups"]
    assert group["by"] == {}
    assert sorted(group["runs"]) == [f"b{n}" for n in range(RUNS)]
    assert_same(group["keys"]["loss"], naive(list(range(RUNS)), 0, 89, 10))


def test_named_runs_within_a_range_of_steps(client: Client, filled: Stand) -> None:
    query = {"project": "proj", "run": ["r1", "b5"], "key": "loss", "buckets": 4}
    found = client.get(BANDS, params={**query, "min_step": 5, "max_step": 44}).json()
    (group,) = found["groups"]
    assert group["runs"] == ["b1", "b5"]
    assert_same(group["keys"]["loss"], naive([1, 5], 5, 44, 10))


def test_groups_by_config_and_by_run(client: Client, filled: Stand) -> None:
    query = {
        "project": "proj",
        "key": "loss",
        "buckets": 3,
        "group_by": "config.lr,config.model.depth",
    }
    found = client.get(BANDS, params=query).json()
    wanted = {
        json.dumps({"config.lr": lr, "config.model.depth": depth}): [
            n for n in range(RUNS) if (n % 2, n % 3) == (int(lr == 0.1), depth)
        ]
        for lr in (0.1, 0.2)
        for depth in range(3)
    }
    assert {json.dumps(group["by"]): sorted(group["runs"]) for group in found["groups"]} == {
        by: [f"b{n}" for n in runs] for by, runs in wanted.items()
    }
    for group in found["groups"]:
        assert_same(group["keys"]["loss"], naive(wanted[json.dumps(group["by"])], 0, 89, 30))
    single = client.get(BANDS, params={**query, "group_by": "run_id"}).json()
    assert [(g["by"]["run_id"], len(g["runs"])) for g in single["groups"]] == [
        (f"r{n}", 1) for n in range(RUNS)
    ]


def test_filters_choose_the_runs_and_arrow_says_the_same(client: Client, filled: Stand) -> None:
    query = {"project": "proj", "key": "loss", "filters": '{"config.lr": 0.2}', "quantiles": "0.5"}
    told = client.get(BANDS, params=query).json()
    answer = client.get(BANDS, params={**query, "format": "arrow"})
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.column_names == [
        "group", "key", "from", "to", "runs", "count", "nan", "min", "max", "mean", "std", "quantiles",
    ]  # fmt: skip
    rows = [
        {k: v for k, v in row.items() if k not in ("group", "key")} for row in table.to_pylist()
    ]
    assert rows == told["groups"][0]["keys"]["loss"]
    about = json.loads(table.schema.metadata[b"kelt"])
    assert about["groups"][0]["runs"] == told["groups"][0]["runs"]
    assert sorted(about["groups"][0]["runs"]) == ["b0", "b2", "b4"]


def test_what_is_not_finite_spoils_no_answer(client: Client, stand: Stand) -> None:
    for number, logged in enumerate((float("inf"), float("nan"), 1e300, 2.0)):
        stream = Stream(writer_id(number + 1))
        stream.opened(
            "proj", f"r{number}", f"b{number}", started_at=1.0, created=record_pb2.Created()
        )
        stream.row(0, {"loss": logged})
        stand.push(stream.batches())
    found = client.get(BANDS, params={"project": "proj", "key": "loss"}).json()
    (bucket,) = found["groups"][0]["keys"]["loss"]
    assert (bucket["runs"], bucket["count"], bucket["nan"]) == (3, 3, 1)
    assert (bucket["std"], bucket["min"]) == (None, 2.0)
    assert bucket["mean"] == {"$float": "Infinity"}


@pytest.mark.parametrize(
    ("params", "status", "said"),
    [
        ({"project": "proj"}, 400, "no key"),
        ({"key": "loss"}, 400, "no project"),
        ({"project": "proj", "key": "loss", "run": "nobody"}, 404, "no run 'nobody'"),
        ({"project": "proj", "key": "loss", "quantiles": "2"}, 400, "from 0 to 1"),
        ({"project": "proj", "key": "loss", "quantiles": "half"}, 400, "from 0 to 1"),
        ({"project": "proj", "key": "loss", "group_by": "config"}, 400, "names no value"),
        ({"project": "proj", "key": "loss", "rnu": "r1"}, 400, "rnu"),
    ],
)
def test_wrong_questions_get_a_sentence(
    client: Client, filled: Stand, params: dict[str, Any], status: int, said: str
) -> None:
    answer = client.get(BANDS, params=params)
    assert answer.status_code == status
    assert said in answer.json()["error"]


def test_too_many_runs_are_refused_not_left_out(
    client: Client, filled: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bands, "RUNS_MAX", RUNS - 1)
    answer = client.get(BANDS, params={"project": "proj", "key": "loss"})
    assert answer.status_code == 400
    assert "6 runs are too many" in answer.json()["error"]


def test_a_project_without_rows_or_runs_has_empty_bands(client: Client, stand: Stand) -> None:
    found = client.get(BANDS, params={"project": "proj", "key": "loss"}).json()
    assert found["groups"] == []
