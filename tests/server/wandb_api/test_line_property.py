"""Whatever is repeated, interrupted, restarted or failed: each row is there once."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server.wandb_api.doors import DONE, DoorStand, line

from harness.amounts import amount
from kelt_server.errors import StoreError

ROWS = 12
_NUMBERS = itertools.count()

actions = st.one_of(
    st.tuples(st.just("post"), st.integers(0, ROWS - 1), st.integers(1, 5)),
    st.tuples(st.just("fail"), st.sampled_from(["before", "after", "between"])),
    st.just(("restart",)),
    st.just(("begin",)),
    st.just(("config",)),
    st.just(("end",)),
)


def row(index: int) -> dict[str, Any]:
    return line(index, a=index)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoorStand]:
    with DoorStand.opened(tmp_path_factory.mktemp("door")) as opened:
        yield opened


@settings(max_examples=amount(8, long=100), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(actions, max_size=14))
def test_every_row_is_there_once(door: DoorStand, drawn: list[Any]) -> None:
    name = ("local", "proj", f"run {next(_NUMBERS)}")
    door.begin(name)
    sent = 0
    for number, action in enumerate(drawn):
        with contextlib.suppress(StoreError):
            sent = _act(door, name, action, sent, number)
    door.commits.failing.clear()
    last = door.lines(0, *(row(i) for i in range(ROWS)), **DONE)  # as a sync in the end
    door.post(last, name)
    run = door.run(name[2])
    assert door.values(name[2]) == [(i, {"a": i}) for i in range(ROWS)]
    assert (run["archived"], run["lost_rows"], run["state"]) == ([], 0, "finished")
    writers = {r["writer_id"] for r in door.stand.rows(name[2])}
    assert sum(s["rows"] for s in run["sessions"]) == ROWS
    assert len(writers) <= len(run["sessions"])


def _act(door: DoorStand, name: tuple[str, str, str], action: Any, sent: int, number: int) -> int:
    if action[0] == "post":
        start = min(action[1], sent)  # a client leaves out no line
        stop = min(start + action[2], ROWS)
        door.post(door.lines(start, *(row(i) for i in range(start, stop))), name)
        return max(sent, stop)
    if action[0] == "fail":
        door.commits.failing.append(action[1])
    elif action[0] == "restart":
        door.restart()
    elif action[0] == "begin" and sent:
        door.begin(name)
        sent = 0  # by this one, which leaves out no line either
        with contextlib.suppress(StoreError):
            door.post(door.lines(0, row(0)), name)
            sent = 1
    elif action[0] == "config":
        door.upsert(name, config={"n": {"value": number}})
    elif action[0] == "end" and sent:
        door.post({**DONE}, name)
    return sent
