from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server.wandb_api.doors import DONE, NAME, DoorStand, line

from kelt_server.errors import StoreError
from kelt_server.metrics.store import PageRequest
from kelt_server.wandb_api.batches import BatchBuilder
from kelt_server.wandb_api.output_lines import (
    HELD_CHARACTERS_MAX,
    Output,
    add_output,
    held,
    hold,
    read_output,
)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[DoorStand]:
    with DoorStand.opened(tmp_path) as opened:
        yield opened


def output(offset: int, *lines: str, events: tuple[int, list[Any]] = (0, [])) -> dict[str, Any]:
    files: dict[str, Any] = {}
    if lines:
        files["output.log"] = {"offset": offset, "content": list(lines)}
    if events[1]:
        content = [json.dumps(event) for event in events[1]]
        files["wandb-events.jsonl"] = {"offset": events[0], "content": content}
    return {"files": files}


def event(at: float, **values: Any) -> dict[str, Any]:
    named = {f"system.{name}": value for name, value in values.items()}
    return {"_timestamp": at, "_runtime": at - 100, "_wandb": True, **named}


def console(door: DoorStand, run: str = "run") -> list[tuple[int, str]]:
    page = door.stand.reader.consoles.page(("local", "proj", run), limit=1000, after=None)
    return [(found.line.number, found.line.text) for found in page.lines]


def system(door: DoorStand, run: str = "run") -> list[tuple[float, Any]]:
    request = PageRequest(spans=(), ranks={})
    page, _ = door.stand.reader.rows.system_page(("local", "proj", run), request)
    return [(row["timestamp"], len(row["cells"])) for row in page.table.to_pylist()]


def with_rows(post: dict[str, Any], door: DoorStand, *rows: dict[str, Any]) -> dict[str, Any]:
    return {"files": post["files"] | door.lines(0, *rows)["files"]}


def test_lines_and_samples_are_taken_once_and_may_be_written_over(door: DoorStand) -> None:
    door.begin()
    post = output(0, "one\n", "10 %\r\n", events=(0, [event(101, cpu=1), event(102, cpu=2)]))
    door.post(post)
    door.post(post)
    door.post(output(1, "100 %", "done", events=(1, [event(102, cpu=2), event(103.5, gpu=1.5)])))
    assert console(door) == [(0, "one"), (1, "100 %"), (2, "done")]
    assert system(door) == [(101.0, 1), (102.0, 1), (103.5, 1)]
    assert door.stand.counters.wandb_lines_dropped == 0
    assert (door.run()["rows"], door.run()["losses"]) == (0, [])


@pytest.mark.parametrize("how", ["before", "after", "between"])
def test_output_is_there_once_however_its_commit_failed(door: DoorStand, how: str) -> None:
    door.begin()
    door.commits.failing = [how]
    post = output(0, "one", events=(0, [event(101, cpu=1)]))
    with pytest.raises(StoreError):
        door.post(post)
    door.restart()
    door.post(post)
    assert (console(door), system(door)) == ([(0, "one")], [(101.0, 1)])


def test_both_forms_of_a_line_are_read(door: DoorStand) -> None:
    door.begin()
    structured = {"ts": "2026-01-02T03:04:05.5", "content": "b", "level": "error", "label": "r1"}
    door.post(
        output(
            0,
            "2026-01-02T03:04:05.250000 a",
            json.dumps(structured),
            "ERROR 2026-01-02T03:04:06 c",
            "no time",
            '{"a": "JSON that the user printed"}',
            "2026-01-02T03:04:05.250000 ",
        )
    )
    lines = door.stand.reader.consoles.tail(NAME, last=10).lines
    noon = 1767323045.0
    assert [(f.line.text, f.line.stream, f.line.at, f.label) for f in lines] == [
        ("a", 0, noon + 0.25, ""),
        ("b", 1, noon + 0.5, "r1"),
        ("c", 1, noon + 1, ""),
        ("no time", 0, 0.0, ""),
        ('{"a": "JSON that the user printed"}', 0, 0.0, ""),
        ("", 0, noon + 0.25, ""),
    ]


def test_a_file_synced_again_repeats_no_output(door: DoorStand) -> None:
    door.begin()
    first = output(0, "one", "two", events=(0, [event(101, cpu=1)]))
    door.post(with_rows(first, door, line(0, a=1)))
    door.post(DONE)
    door.begin()
    door.post(output(0, "one", events=(0, [event(101, cpu=1)])))  # before its first row
    door.post(with_rows(output(1, "two"), door, line(0, a=1)))
    door.post(DONE)
    run = door.run()
    assert (len(run["sessions"]), run["archived"]) == (1, [])
    assert (console(door), system(door)) == ([(0, "one"), (1, "two")], [(101.0, 1)])
    door.begin()
    more = output(1, "two", "three", events=(0, [event(101, cpu=1), event(120, cpu=1)]))
    door.post(with_rows(more, door, line(0, a=1)))
    door.post(output(3, "four") | DONE)
    assert [text for _, text in console(door)] == ["one", "two", "three", "four"]
    assert [at for at, _ in system(door)] == [101.0, 120.0]
    assert door.run()["rows"] == 1


def test_output_before_the_first_row_of_a_new_run_of_the_name_is_that_runs(
    door: DoorStand,
) -> None:
    door.begin()
    door.post(with_rows(output(0, "old"), door, line(0, a=1)))
    door.post(DONE)
    door.begin()
    door.post(output(0, "new", events=(0, [event(300, cpu=1)])))
    assert console(door) == [(0, "old")]
    door.restart()
    door.post(door.lines(0, line(0, at=500.0, a=2)))
    assert (console(door), system(door)) == ([(0, "new")], [(300.0, 1)])
    assert console(door, door.run()["archived"][0]) == [(0, "old")]


def test_what_waits_for_the_first_row_is_bounded_and_the_rest_is_counted(door: DoorStand) -> None:
    door.begin()
    door.post(with_rows(output(0, "old"), door, line(0, a=1)))
    door.post(DONE)
    door.begin()
    long = "x" * (HELD_CHARACTERS_MAX // 2)
    door.post(output(0, long, long, "last"))
    door.post(door.lines(0, line(0, at=500.0, a=2)))
    assert [number for number, _ in console(door)] == [0]
    assert door.stand.counters.wandb_lines_dropped == 2


def test_a_fork_and_a_rewind_begin_without_output_and_a_resumed_run_goes_on(
    door: DoorStand,
) -> None:
    door.begin()
    both = output(0, "one", events=(0, [event(101, cpu=1)]))
    door.post(with_rows(both, door, line(0, a=1), line(1, a=2)))
    door.post(DONE)
    door.begin(("local", "proj", "fork"), point=("run", 0))
    door.post(door.lines(1, line(1, a=3)), ("local", "proj", "fork"))
    assert (console(door, "fork"), system(door, "fork")) == ([], [])
    door.begin(id="x")
    door.post(output(1, "two"))
    door.post(door.lines(2, line(2, a=3)))
    assert [text for _, text in console(door)] == ["one", "two"]
    door.post(DONE)
    door.begin(point=("run", 0))
    door.post(output(0, "again"))
    door.post(door.lines(1, line(1, at=700.0, a=9)))
    assert console(door) == [(0, "again")]
    assert [text for _, text in console(door, door.run()["archived"][0])] == ["one", "two"]


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=9)
VALUES = st.floats() | st.integers() | st.just(10**400) | ANY_TEXT | st.lists(st.none())
SAMPLES = st.builds(
    lambda values, at, runtime: json.dumps(values | {"_timestamp": at, "_runtime": runtime}),
    st.dictionaries(ANY_TEXT, VALUES, max_size=3),
    st.floats(0.001, 1000) | VALUES,
    VALUES,
)


@settings(deadline=None)
@given(
    st.integers(max_value=2**60),
    st.lists(ANY_TEXT | st.none() | st.integers(), max_size=5),
    st.lists(ANY_TEXT | SAMPLES, max_size=5),
)
def test_whatever_is_posted_becomes_records_or_is_counted(
    offset: int, lines: list[Any], events: list[Any]
) -> None:
    found = read_output((offset, lines), (offset, events))
    assert len(found.lines) + len(found.samples) + found.unread == len(lines) + len(events)
    kept, left_out = hold(Output(), found)
    assert not left_out
    again = held(json.loads(json.dumps(kept)))
    builder = BatchBuilder(writer_id=bytes(16), last_seq=0)
    add_output(builder, again)
    assert builder.last_seq == bool(found.lines) + bool(found.samples)
