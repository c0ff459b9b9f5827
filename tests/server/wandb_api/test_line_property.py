"""Whatever is repeated, interrupted, restarted or failed: each row is there once."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server.wandb_api.doors import DONE, DoorStand, line

from kelt_server.errors import StoreError

ROWS = 12

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


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(actions, max_size=14))
def test_every_row_is_there_once(drawn: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder, DoorStand.opened(Path(folder)) as door:
        door.begin()
        sent = 0
        for number, action in enumerate(drawn):
            with contextlib.suppress(StoreError):
                sent = _act(door, action, sent, number)
        door.commits.failing = []
        door.post(door.lines(0, *(row(i) for i in range(ROWS)), **DONE))  # as a sync in the end
        run = door.run()
        assert door.values() == [(i, {"a": i}) for i in range(ROWS)]
        assert (run["archived"], run["lost_rows"], run["state"]) == ([], 0, "finished")
        writers = {r["writer_id"] for r in door.stand.rows("run")}
        assert sum(s["rows"] for s in run["sessions"]) == ROWS
        assert len(writers) <= len(run["sessions"])


def _act(door: DoorStand, action: Any, sent: int, number: int) -> int:
    if action[0] == "post":
        start = min(action[1], sent)  # a client leaves out no line
        stop = min(start + action[2], ROWS)
        door.post(door.lines(start, *(row(i) for i in range(start, stop))))
        return max(sent, stop)
    if action[0] == "fail":
        door.commits.failing.append(action[1])
    elif action[0] == "restart":
        door.restart()
    elif action[0] == "begin" and sent:
        door.begin()
        door.post(door.lines(0, row(0)))
    elif action[0] == "config":
        door.upsert(config={"n": {"value": number}})
    elif action[0] == "end" and sent:
        door.post({**DONE})
    return sent
