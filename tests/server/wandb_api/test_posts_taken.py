from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from server.wandb_api.doors import DONE, DoorStand, line, summary

from kelt_server.errors import BusyError, StoreError


@pytest.fixture
def door(tmp_path: Path) -> Iterator[DoorStand]:
    with DoorStand.opened(tmp_path) as opened:
        yield opened


def test_a_post_that_is_repeated_changes_nothing(door: DoorStand) -> None:
    door.begin()
    post = door.lines(0, line(0, a=1), line(1, a=2))
    door.post(post)
    door.post(post)
    door.post(door.lines(1, line(1, a=2), line(2, a=3)))
    assert door.values() == [(0, {"a": 1}), (1, {"a": 2}), (2, {"a": 3})]
    assert door.run()["losses"] == []


@pytest.mark.parametrize("how", ["before", "after", "between"])
def test_a_commit_that_failed_is_sent_again_as_it_was(door: DoorStand, how: str) -> None:
    door.begin()
    door.commits.failing = [how]
    post = door.lines(0, line(0, a=1), {"b": 2, "_step": 1})
    with pytest.raises(StoreError):
        door.post(post)
    door.restart()
    door.post(post)
    door.post(door.lines(2, line(2, a=3)))
    assert door.values() == [(0, {"a": 1}), (1, {"b": 2}), (2, {"a": 3})]
    assert (door.run()["lost_rows"], len(door.run()["sessions"])) == (0, 1)


@pytest.mark.parametrize("how", ["before", "after", "between"])
def test_a_beginning_that_nobody_heard_of_is_one_session(door: DoorStand, how: str) -> None:
    door.commits.failing = [how]
    with pytest.raises(StoreError):
        door.begin(config={"a": 1})
    door.begin(config={"a": 1})
    door.post(door.lines(0, line(0, a=1)))
    run = door.run()
    assert (run["archived"], len(run["sessions"]), run["config"]) == ([], 1, {"a": 1})


def test_the_end_is_heard_once(door: DoorStand) -> None:
    door.begin()
    last = door.lines(0, line(0, a=1), **DONE)
    door.post(last)
    door.post(last)
    run = door.run()
    assert (run["state"], run["rows"], len(run["sessions"])) == ("finished", 1, 1)


def test_what_comes_after_the_end_is_another_session(door: DoorStand) -> None:
    door.begin()
    door.post(door.lines(0, line(0, a=1), **DONE))
    door.post(door.lines(1, line(1, a=2)))
    run = door.run()
    assert (run["state"], run["rows"], len(run["sessions"])) == ("running", 2, 2)


def test_a_file_synced_again_adds_only_what_is_new(door: DoorStand) -> None:
    door.begin(config={"c": 1})
    door.post(door.lines(0, line(0, a=1), line(1, a=2)))
    door.restart()
    assert door.begin(config={"c": 1}) == 0
    door.post(door.lines(0, line(0, a=1)))
    assert len(door.run()["sessions"]) == 1
    door.post(door.lines(1, line(1, a=2), line(2, a=3), **DONE))
    run = door.run()
    assert door.values() == [(0, {"a": 1}), (1, {"a": 2}), (2, {"a": 3})]
    assert (run["state"], run["archived"], run["config"]) == ("finished", [], {"c": 1})


def test_a_whole_file_synced_again_changes_nothing(door: DoorStand) -> None:
    door.begin(config={"c": 1})
    door.post(door.lines(0, line(0, a=1)))
    door.post({**summary(a=1, best=2), **DONE})
    before = door.run()
    door.begin(config={"c": 1})
    door.post(door.lines(0, line(0, a=1)))
    door.post({**summary(a=1, best=2), **DONE})
    assert door.run() == before


def test_the_same_name_with_other_rows_is_another_branch(door: DoorStand) -> None:
    door.begin()
    door.post(door.lines(0, line(0, a=1), **DONE))
    door.begin()
    door.post(door.lines(0, line(0, at=5.0, a=9)))
    assert door.values() == [(0, {"a": 9})]
    assert len(door.run()["archived"]) == 1


def test_two_processes_of_one_name_keep_all_their_rows(door: DoorStand) -> None:
    door.begin()
    door.post(door.lines(0, line(0, a=1), line(1, a=1)))
    start = door.begin(id="x")
    door.post(door.lines(start, line(2, at=7.0, b=1)))
    door.post(door.lines(2, line(2, at=8.0, a=1), line(3, at=9.0, a=1)))
    steps = [step for step, _ in door.values()]
    assert sorted(set(steps)) == [0, 1, 2, 3]
    assert {"a", "b"} <= {key for _, values in door.values() for key in values}


def test_an_empty_post_is_a_sign_of_life(door: DoorStand) -> None:
    door.begin()
    door.post({})
    assert len(door.commits.beats) == 1


def test_an_empty_post_opens_what_was_announced(door: DoorStand) -> None:
    door.begin()
    door.post(door.lines(0, line(0, a=1), **DONE))
    door.begin()
    assert door.run()["state"] == "finished"
    door.post({})
    assert (door.run()["state"], door.run()["rows"]) == ("running", 0)


def test_what_cannot_be_kept_is_counted_and_shown(door: DoorStand) -> None:
    door.begin()
    long = "k" * 2000
    bad = ["no json", "[1]", '{"_step": "x"}', '{"_step": -1}', '{"a": ' + "9" * 5000 + "}"]
    post = door.lines(0, *bad, line(0, **{"": 1, long: 2, "ok": 3}), '{"_step": 1, "n": NaN}')
    door.post(post)
    door.post(post)
    run = door.run()
    assert [values for _, values in door.values()] == [{"ok": 3}, {"n": {"$float": "NaN"}}]
    assert run["lost_rows"] == len(bad) + 2
    assert any("the empty string" in loss["reason"] for loss in run["losses"])


def test_a_row_that_is_too_large_is_lost_and_said(door: DoorStand) -> None:
    door.begin()
    door.post(door.lines(0, line(0, a="x" * (9 * 2**20)), line(1, a=1)))
    run = door.run()
    assert (run["rows"], run["lost_rows"]) == (1, 1)
    assert "8 MiB" in run["losses"][0]["reason"]


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"\xff", b'{"files": 3}', b'{"files": {"wandb-history.jsonl": 4}}', b'{"files": {"wandb-summary.json": {"content": ["x"]}}}', b'{"complete": true, "exitcode": "x"}', b"[" * 100_000])  # fmt: skip
def test_no_post_is_refused(door: DoorStand, body: bytes) -> None:
    door.begin()
    door.post(body)
    door.post(door.lines(0, line(0, a=1)))
    assert door.run()["rows"] == 1


def test_lines_that_never_came_are_told(door: DoorStand) -> None:
    door.begin()
    door.post(door.lines(0, line(0, a=1)))
    door.post(door.lines(3, line(3, a=1)))
    assert door.run()["lost_rows"] == 2


def test_a_summary_keeps_by_hand_only_what_differs(door: DoorStand) -> None:
    door.begin()
    door.post({"files": {**door.lines(0, line(0, a=1))["files"], **summary(a=5, b=2)["files"]}})
    assert {k: v for k, v in door.run()["summary"].items() if k[0] != "_"} == {"a": 1, "b": 2}
    door.restart()
    door.post({**summary(a=5, b=3), **DONE})
    assert {k: v for k, v in door.run()["summary"].items() if k[0] != "_"} == {"a": 5, "b": 3}


def test_a_summary_that_is_ahead_of_its_rows_keeps_none_of_their_values(door: DoorStand) -> None:
    door.begin()
    door.post(summary(a=1, _timestamp=100.0))
    door.post(door.lines(0, line(0, a=1), line(1, a=2)))
    assert door.run()["summary"]["a"] == 2
    door.post(summary(a=2, best=7, _timestamp=101.0))
    assert (door.run()["summary"]["a"], door.run()["summary"]["best"]) == (2, 7)


def test_config_values_are_taken_back(door: DoorStand) -> None:
    door.begin(config={"a": 1, "b": 2})
    door.upsert(config={"a": {"value": 3}})
    assert door.run()["config"] == {"a": 3}


def test_definitions_and_texts(door: DoorStand) -> None:
    door.begin(m=[{"1": "a", "7": [1], "5": 2}, {"1": "ep"}], displayName="n", tags=["x"])
    door.post(door.lines(0, line(0, a=2), line(1, a=1), line(2, a=3)))
    run = door.run()
    assert (run["name"], run["tags"], run["summary"]["a"]) == ("n", ["x"], 1)
    assert run["definitions"][0]["step_metric"] == "ep"


def test_a_fork_of_an_unknown_run_finds_it_later(door: DoorStand) -> None:
    fork = ("local", "proj", "fork")
    door.begin(fork, point=("run", 1))
    door.post(door.lines(0, line(2, a=9)), fork)
    door.begin()
    door.post(door.lines(0, line(0, a=0), line(1, a=1), line(2, a=2)))
    assert [step for step, _ in door.values("fork")] == [0, 1, 2]
    assert door.values("fork")[2] == (2, {"a": 9})


def test_a_rewind_synced_twice_is_one_branch(door: DoorStand) -> None:
    door.begin()
    door.post(door.lines(0, line(0, a=0), line(1, a=1), line(2, a=2)))
    for _ in range(2):
        start = door.begin(point=("run", 0), id="x")
        door.post(door.lines(start, line(1, at=50.0, a=7), **DONE))
    assert door.values() == [(0, {"a": 0}), (1, {"a": 7})]
    assert len(door.run()["archived"]) == 1


def test_an_unknown_session_goes_on(door: DoorStand) -> None:
    door.post(door.lines(40, line(40, a=1)))
    assert (door.run()["rows"], door.run()["lost_rows"]) == (1, 0)


def test_lines_of_files_that_are_not_known_are_counted(door: DoorStand) -> None:
    door.begin()
    door.post({"files": {"upstream.log": {"offset": 0, "content": ["a", "b"]}}})
    assert door.stand.counters.wandb_lines_dropped == 2


def test_a_session_outlives_a_damaged_store(tmp_path: Path) -> None:
    with DoorStand.opened(tmp_path) as door:
        door.begin()
        door.post(door.lines(0, line(0, a=0), line(1, a=1)))
        door.post(door.lines(2, line(2, a=2)))
    (tmp_path / "metrics.duckdb").unlink()
    with DoorStand.opened(tmp_path) as door:
        post = door.lines(3, line(3, a=3))
        with pytest.raises(BusyError):
            door.post(post)
        door.post(post)
        assert door.values() == [(3, {"a": 3})]
        run = door.run()
        assert (run["lost_rows"], run["archived"]) == (3, [])
