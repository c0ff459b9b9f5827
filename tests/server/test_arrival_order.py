"""Whatever the order in which records of different writers arrive, the answers are the same."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server.model.naive import World
from server.model.worlds import NAMES, arrivals, worlds
from server.stand import Stand

from harness.amounts import amount


def written_out(value: Any) -> Any:
    """As the read API writes values; told here again."""
    if isinstance(value, float) and not math.isfinite(value):
        name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return {"$float": name}
    return [written_out(item) for item in value] if isinstance(value, list) else value


def typed(value: Any) -> Any:
    """Tells 1, 1.0 and True apart."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return type(value).__name__, value


def told(value: Any) -> tuple[str, Any]:
    """Tells 1 from 1.0, and 0.0 not from -0.0: neither is the least or the greatest of the two."""
    return str(value + 0.0 if isinstance(value, float) else value), value


def check_branch(stand: Stand, world: World, branch_id: str) -> None:
    expected = world.history(branch_id)
    for limits in ({}, {"limit": 2}):
        rows = stand.rows(branch_id, **limits)
        assert [row["step"] for row in rows] == [row["step"] for row in expected]
        assert [typed(row["values"]) for row in rows] == [
            typed({key: written_out(v) for key, v in row["values"].items()}) for row in expected
        ]
    run = stand.run(branch_id)
    assert run["config"] == world.config(branch_id)
    summary = {key: value for key, value in run["summary"].items() if key[0] != "_"}
    wanted = {key: written_out(value) for key, value in world.summary(branch_id).items()}
    assert {key: told(v) for key, v in summary.items()} == {
        key: told(v) for key, v in wanted.items()
    }
    assert run["rows"] == len(expected)
    assert run["last_step"] == max((row["step"] for row in expected), default=-1)
    assert [a["immutable_id"] for a in run["lineage"]] == [
        own for own, _ in world.chain(branch_id)[-2::-1]
    ]


@settings(max_examples=amount(8, long=60), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_interleaving_gives_what_the_naive_model_says(data: st.DataObject) -> None:
    world, streams = data.draw(worlds())
    batches = data.draw(arrivals(streams))
    with tempfile.TemporaryDirectory() as folder, Stand.opened(Path(folder)) as stand:
        while batches:
            size = data.draw(st.integers(1, len(batches)))
            acks = stand.push(batches[:size])
            assert not any(ack.gap for ack in acks)
            batches = batches[size:]
            if data.draw(st.integers(0, 3)) == 0:
                stand.stores.metrics.pack(data.draw(st.integers(1, 20)))
            if data.draw(st.integers(0, 5)) == 0 and world.branches:
                stand.reader.runs("-", "proj")  # answers in between spoil no later one
        for branch_id in world.branches:
            check_branch(stand, world, branch_id)
        for name in NAMES:
            holder = world.holder(name)
            if holder is not None:
                assert stand.run(name)["immutable_id"] == holder
