from __future__ import annotations

import json

import pytest
from api_client.wire_server import RUN, served_wire

from kelt.api_client import Api
from kelt.cli.runs_logs import ConsoleTail, log_line


class Story:
    """A console on a real HTTP server; each wait turns one page of what happens to it."""

    def __init__(self, wire, chapters):
        self.chapters = list(chapters)
        self.run = json.loads(RUN) | {"state": "running", "lineage": [], "archived": []}
        self.lines = {"i1": [], "i2": []}
        wire.decides("/api/v1/runs/-/demo/base", lambda _: (200, json.dumps(self.run).encode()))
        for branch in self.lines:
            wire.decides(
                f"/api/v1/runs/me/demo/{branch}/console",
                lambda query, branch=branch: (200, self.page(branch, query)),
            )

    def page(self, branch, query):
        lines = list(enumerate(self.lines[branch]))
        if "last" in query:
            lines = lines[-int(query["last"][0]) :]
        else:
            lines = lines[int(query.get("begin", ["0"])[0]) :]
        page, more = lines[:3], lines[3:]
        place = str(page[-1][0]) if page else None
        said = [
            {"number": n, "stream": "stdout", "at": None, "text": text, "label": ""}
            for n, text in page
        ]
        about = {"next": place if more else None, "last": place, "total": 9, "dropped": 4}
        return json.dumps({"lines": said} | about).encode()

    def sleep(self, _):
        if self.chapters:
            self.chapters.pop(0)(self)
        else:
            self.run["state"] = "finished"


@pytest.fixture
def tell(monkeypatch):
    monkeypatch.setenv("KELT_CONFIG", "/dev/null")

    def told(*chapters, before=(), last=None, follow=True):
        with served_wire() as wire:
            story = Story(wire, chapters)
            story.lines["i1"] += before
            with Api(wire.address, timeout_s=5) as api:
                tail = ConsoleTail(
                    api=api, path="demo/base", label="", sleep=story.sleep, interval_s=1.0
                )
                shown = [line.content for line in tail.lines(last=last, follow=follow)]
        assert tail.dropped == 4
        return shown

    return told


def test_lines_are_shown_once_each_page_by_page_and_as_they_come(tell):
    def more(story):
        story.lines["i1"] += ["f", "g", "h", "i"]

    shown = tell(lambda _: None, more, before="abcde")
    assert shown == list("abcdefghi")


def test_a_line_that_is_written_over_is_shown_again(tell):
    def go_on(story):
        story.lines["i1"][-1] = "20 %"

    def end(story):
        story.lines["i1"][-1:] = ["100 %", "done"]

    assert tell(go_on, lambda _: None, end, before=["a", "10 %"]) == [
        "a", "10 %", "20 %", "100 %", "done",
    ]  # fmt: skip


def test_only_the_last_lines_are_shown_and_then_what_comes(tell):
    assert tell(lambda s: s.lines["i1"].append("f"), before="abcde", last=2) == list("def")
    assert tell(before="abcde", last=2, follow=False) == list("de")


def test_it_goes_on_where_the_name_moves(tell):
    def rewind(story):
        story.run["immutable_id"] = "i2"
        story.lines["i2"] += ["b"]

    assert tell(rewind, before="a") == ["a", "b"]


def test_a_line_keeps_its_colours_on_a_terminal_and_steers_nothing():
    text = "\x1b[31mred\x1b[0m \x1b[2J\x07"
    assert log_line(text, has_colours=True) == "\x1b[31mred\x1b[0m \\x1b[2J\\x07"
    assert log_line(text, has_colours=False) == "red \\x1b[2J\\x07"
