"""What clients are told of a history: its metrics (`run.history_keys`), and rows by keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from server.wandb_api.doors import NAME, DoorStand, line

from kelt_server.wandb_api.histories import HistoryAnswers
from kelt_server.wandb_api.run_answers import history_keys


def test_every_metric_has_the_types_of_its_values(tmp_path: Path) -> None:
    with DoorStand.opened(tmp_path) as door:
        door.begin()
        first = line(0, x=0, t="a", list=[1], yes=True, none=None, map={}, big=10**30)
        door.post(door.lines(0, first, line(1, x=1.5, t=3)))
        found = history_keys(door.stand.reader.rows.kinds(*NAME), door.run())
    types = {
        key: {count["type"]: count["count"] for count in said["typeCounts"]}
        for key, said in found["keys"].items()
    }
    assert types == {
        "x": {"number": 2}, "t": {"string": 1, "number": 1}, "list": {"list": 1},
        "yes": {"boolean": 1}, "none": {"nil": 1}, "map": {"map": 1}, "big": {"number": 1},
        "_step": {"number": 2}, "_timestamp": {"number": 2}, "_runtime": {"number": 2},
    }  # fmt: skip
    assert found["lastStep"] == 1


#: As clients up to 0.23 ask for five rows, and as those from 0.28 on do.
OLDER = [
    {"keys": ["x"], "minStep": a, "maxStep": b, "samples": 2} for a, b in ((0, 2), (2, 4), (4, 5))
]
NEWER = [
    {"keys": ["_step", "x", "_step"], "minStep": a, "maxStep": b, "samples": b - a + 1}
    for a, b in ((0, 1), (2, 3), (4, 4))
]


@pytest.mark.parametrize("specs", [OLDER, NEWER])
def test_pages_of_rows_by_keys_leave_no_row_out_and_have_none_twice(
    tmp_path: Path, specs: list[dict[str, Any]]
) -> None:
    with DoorStand.opened(tmp_path) as door:
        door.begin()
        door.post(door.lines(0, *(line(step, x=step) for step in range(5))))
        rows = HistoryAnswers(door.stand.reader, NAME)
        pages = [[row["x"] for row in rows.sampled(spec)] for spec in specs]
    assert pages == [[0, 1], [2, 3], [4]]
