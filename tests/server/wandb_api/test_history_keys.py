"""What clients are told of a history: its metrics (`run.history_keys`), and rows by keys."""

from __future__ import annotations

from pathlib import Path

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


def test_pages_of_rows_that_have_some_keys_join_without_a_row_twice(tmp_path: Path) -> None:
    with DoorStand.opened(tmp_path) as door:
        door.begin()
        door.post(door.lines(0, *(line(step, x=step) for step in range(5))))
        rows = HistoryAnswers(door.stand.reader, NAME)
        pages = [
            rows.sampled({"keys": ["x"], "minStep": first, "maxStep": end, "samples": 2})
            for first, end in ((0, 2), (2, 4), (4, 5))
        ]
    assert pages == [[{"x": 0}, {"x": 1}], [{"x": 2}, {"x": 3}], [{"x": 4}]]
