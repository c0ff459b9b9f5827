from __future__ import annotations

import json

import pytest
from api_client.wire_server import RUN, served_wire

from kelt.api_client import Api, UnreachableError
from kelt.cli.runs_tail import OUTAGE_S_MAX, Tail

NAME = "/api/v1/runs/-/demo/base"


class Story:
    """A run on a real HTTP server; each wait of the tail turns one page of what happens to it."""

    def __init__(self, wire, chapters):
        self.wire = wire
        self.chapters = list(chapters)
        self.run = json.loads(RUN) | {"state": "running", "lineage": [], "archived": []}
        self.rows: dict[str, list[tuple[int, dict]]] = {"i1": []}
        wire.decides(NAME, lambda _: (200, json.dumps(self.run).encode()))
        for branch in ("i1", "i2"):
            wire.decides(
                f"/api/v1/runs/me/demo/{branch}/history",
                lambda query, branch=branch: (200, self.page(branch, query)),
            )
        self.waited = 0

    def page(self, branch, query):
        low = int(query.get("min_step", ["0"])[0])
        rows = [
            {
                "step": step,
                "timestamp": 1.0,
                "runtime": 1.0,
                "flags": [],
                "immutable_id": branch,
                "writer_id": "w",
                "values": values,
            }
            for step, values in sorted(self.rows[branch], key=lambda row: row[0])
            if step >= low
        ]
        return json.dumps({"rows": rows, "next": None}).encode()

    def log(self, *rows, branch="i1"):
        self.rows.setdefault(branch, []).extend(rows)
        self.run |= {
            "rows": len(self.rows[branch]),
            "last_step": max(s for s, _ in self.rows[branch]),
        }

    def sleep(self, _):
        self.waited += 1
        if self.chapters:
            self.chapters.pop(0)(self)
        else:
            self.run["state"] = "finished"


@pytest.fixture
def wire():
    with served_wire() as server:
        yield server


def tailed(wire, monkeypatch, tmp_path, chapters, *, before=(), last=10, follow=True, keys=()):
    monkeypatch.setenv("KELT_CONFIG", "/dev/null")
    story = Story(wire, chapters)
    story.run["last_step"] = -1
    if before:
        story.log(*before)
    with Api(wire.address, timeout_s=5) as api:
        tail = Tail(api=api, path="demo/base", keys=keys, interval_s=1.0, sleep=story.sleep)
        rows = list(tail.rows(last=last, follow=follow))
    return [(row["_step"], {k: v for k, v in row.items() if k[0] != "_"}) for row in rows], story


def a(step, **values):
    return step, values or {"x": step}


@pytest.fixture
def tell(wire, monkeypatch, tmp_path):
    return lambda *chapters, **more: tailed(wire, monkeypatch, tmp_path, chapters, **more)


def test_rows_that_come_are_shown_once_each_and_the_end_ends_it(tell):
    shown, story = tell(
        lambda s: s.log(a(0), a(1)), lambda _: None, lambda s: s.log(a(2)), before=()
    )
    assert shown == [a(0), a(1), a(2)]
    assert story.waited == 4


def test_rows_of_the_last_moment_before_the_end_are_not_missed(tell):
    def last_words(story):
        story.log(a(6))
        story.run["state"] = "failed"

    assert tell(last_words, before=[a(5)])[0] == [a(5), a(6)]


def test_only_the_last_rows_are_shown_of_what_is_there(tell):
    shown, _ = tell(before=[a(i * 1000) for i in range(20)], last=3, follow=False)
    assert shown == [a(17000), a(18000), a(19000)]


def test_none_of_what_is_there_is_shown_when_none_is_asked_for(tell):
    assert tell(lambda s: s.log(a(6)), before=[a(5)], last=0)[0] == [a(6)]


def test_a_row_that_grows_is_shown_again_and_one_that_does_not_is_not(tell):
    def grow(story):
        story.rows["i1"][-1] = a(5, x=5, y=1)

    shown, _ = tell(lambda _: None, grow, lambda _: None, before=[a(5)])
    assert shown == [a(5), a(5, x=5, y=1)]


def test_after_a_rewind_the_new_branch_is_followed_from_its_fork_step(tell, capsys):
    def rewind(story):
        parent = json.loads(RUN)["lineage"][0] | {"fork_step": 5, "immutable_id": "i1"}
        story.log(*[a(i) for i in range(6)], a(6, x="again"), branch="i2")
        story.run |= {"immutable_id": "i2", "lineage": [parent | {"kind": "rewound"}]}

    shown, _ = tell(rewind, before=[a(i) for i in range(9)], last=2)
    assert shown == [a(7), a(8), a(6, x="again")]
    assert "goes on from step 5 on a new branch, i2" in capsys.readouterr().err


def test_rows_below_what_was_shown_are_announced(tell, capsys):
    def go_down(story):
        story.log(a(2))
        story.run |= {"rows_step_went_down": 1, "last_step": 9}

    assert tell(go_down, before=[a(9)])[0] == [a(9)]
    assert "1 row came with a step below" in capsys.readouterr().err


def test_an_outage_is_told_once_and_waited_out(tell, wire, capsys):
    def break_off(_):
        wire.cut_off = 6  # each request is made twice

    shown, _ = tell(break_off, lambda _: None, lambda _: None, lambda s: s.log(a(1)), before=[a(0)])
    assert shown == [a(0), a(1)]
    assert capsys.readouterr().err.count("cannot be reached") == 1


def test_an_outage_that_does_not_end_is_given_up(tell, wire):
    def break_off(_):
        wire.cut_off = 10**9

    with pytest.raises(UnreachableError):
        tell(break_off, *[lambda _: None] * int(OUTAGE_S_MAX), before=[a(0)])


def test_chosen_keys_are_asked_for_without_the_step_that_comes_anyway(tell, wire):
    tell(before=[a(0)], keys=["x"])
    assert all(
        asked.query["key"] == ["x"] for asked in wire.asked if asked.path.endswith("/history")
    )
