"""From what was printed to records: how often, in which order, and what is said of losses."""

from __future__ import annotations

import threading

import pytest

from kelt import console_log, printed_text
from kelt.console_log import GAP_S, PACE_S, ConsoleLog
from kelt.printed_text import BURST, RATE
from kelt_proto.v1.record_pb2 import Console, ConsoleLine

LINE = "x" * 99 + "\n"


class Records:
    """Takes records, or has no room for them."""

    def __init__(self) -> None:
        self.taken: list[Console] = []
        self.has_room = True
        self.last: list[Console] = []
        self.log = ConsoleLog(
            append=self.append,
            append_last=lambda payload: self.last.append(Console.FromString(payload)),
            wall_s=lambda: 1000.0,
        )

    def append(self, payload: bytes) -> bool:
        if self.has_room:
            self.taken.append(Console.FromString(payload))
        return self.has_room

    def print(self, text: str, *, is_error: bool = False) -> None:
        self.log.printed.take(text, is_error)

    @property
    def lines(self) -> list[str]:
        """As a server has them."""
        found = {line.number: line.text for said in self.taken for line in said.lines}
        assert sorted(found) == list(range(len(found)))
        return [found[number] for number in range(len(found))]


@pytest.fixture
def records() -> Records:
    return Records()


def test_a_line_is_told_at_once_and_the_next_within_the_pace(records: Records) -> None:
    records.print("first\n")
    records.log.write(10.0)
    assert records.lines == ["first"]
    records.print("second\n")
    records.log.write(10.1)
    assert len(records.taken) == 1
    records.log.write(10.0 + PACE_S)
    assert records.lines == ["first", "second"]
    (line,) = records.taken[1].lines
    assert (line.stream, line.at) == (ConsoleLine.STDOUT, 1000.0)


def test_a_progress_bar_is_one_line_told_as_it_stands_when_a_record_is_due(
    records: Records,
) -> None:
    for tick in range(100):
        records.print(f"\r{tick} %", is_error=True)
        records.log.write(10 + tick / 100)
    records.log.end(11.0)
    assert records.lines == ["99 %"]
    assert [said.lines[0].text for said in records.taken] == ["0 %", "50 %", "99 %"]
    assert {line.stream for said in records.taken for line in said.lines} == {ConsoleLine.STDERR}


def test_an_unended_line_is_written_at_the_end_and_nothing_after_it(records: Records) -> None:
    records.print("whole\nhalf")
    records.log.end(10.0)
    records.print("too late")
    records.log.write(20.0)
    records.log.end(20.0)
    assert records.lines == ["whole", "half"]


def test_another_branch_begins_with_an_empty_console(records: Records) -> None:
    records.print("before\n")
    with records.log.between_branches(10.0):
        assert records.lines == ["before"]
        records.taken.clear()
        records.print("after\n")
    records.log.end(11.0)
    assert records.lines == ["after"]


def test_a_flood_is_held_to_its_rate_and_what_is_missing_is_told_where_it_is(
    records: Records,
) -> None:
    seconds = 5
    for tenth in range(10 * seconds):
        for _ in range(500):
            records.print(LINE)
        records.log.write(10 + tenth / 10)
    records.log.end(10.0 + seconds)
    size = sum(said.ByteSize() for said in records.taken)
    assert size < BURST + seconds * RATE
    (gap,) = (line for line in records.lines if line.startswith("kelt: "))
    kept = records.lines.count(LINE.strip())
    assert f"kelt: {500 * 10 * seconds - kept:,} lines" in gap
    assert len(records.lines) == kept + 1


def test_another_flood_later_is_told_by_another_line(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(printed_text, "_END", 100)
    for at in (10.0, 11.0, 11.0 + 2 * GAP_S):
        records.print("y" * BURST + "\n")
        records.print("small\n")
        records.log.write(at)
    records.log.end(50.0)
    gaps = [line for line in records.lines if line.startswith("kelt: ")]
    assert ["2 lines (" in gaps[0], "1 line (" in gaps[1], len(gaps)] == [True, True, 2]


def test_lines_that_find_no_room_are_counted_and_told_once_there_is_some(
    records: Records,
) -> None:
    records.has_room = False
    records.print("a\nb\n")
    records.log.write(10.0)
    records.has_room = True
    records.print("c\n")
    records.log.end(20.0)
    said = {line.number: line.text for record in records.taken for line in record.lines}
    assert said[2].startswith("kelt: 2 lines (2 characters) are missing here")
    assert said[3] == "c"


def test_a_loss_is_told_at_the_end_though_there_is_no_room_for_anything_else(
    records: Records,
) -> None:
    records.has_room = False
    records.print("a\nb\n")
    records.log.write(10.0)
    records.print("c\n")
    records.log.write(20.0)
    records.log.end(30.0)
    ((line,),) = (said.lines for said in records.last)
    assert line.text.startswith("kelt: 3 lines (3 characters) are missing here")


def test_what_waits_is_bounded_however_slowly_it_is_written(records: Records) -> None:
    wide = "\N{SNOWMAN}" * 99 + "\n"  # three bytes a character
    longest = 0
    for tenth in range(150):
        for _ in range(100):
            records.print(wide)
        records.log.write(10 + tenth / 10)
        longest = max(longest, records.log._waiting_characters)
    assert longest < console_log.WAITING_CHARACTERS_MAX + BURST
    size = sum(said.ByteSize() for said in records.taken)
    assert size < 3 * (15 * RATE + BURST)


def test_bytes_that_are_no_text_are_written_all_the_same(records: Records) -> None:
    records.print("name: \udcff\n")
    records.log.end(10.0)
    assert records.lines == ["name: ?"]


def test_the_end_waits_for_nobody_for_long(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_log, "_WAIT_S", 0.05)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with records.log._lock:
            held.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    records.print("lost\n")
    records.log.end(10.0)
    done.set()
    holder.join()
    assert records.taken == []
