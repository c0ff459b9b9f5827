"""What is kept of what is printed, and that the rest is counted."""

from __future__ import annotations

import threading
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from kelt import printed_text
from kelt.printed_text import BURST, RATE, PrintedText

LINE = "x" * 99 + "\n"


def text_of(pieces, *, is_error: bool = False) -> str:
    return "".join(text for kind, text in pieces if kind == is_error)


def printed(text: PrintedText, *pieces: str, is_error: bool = False) -> None:
    for piece in pieces:
        text.take(piece, is_error)


def test_pieces_of_one_stream_that_follow_each_other_are_joined() -> None:
    text = PrintedText()
    printed(text, "a", "", "b\n")
    printed(text, "c", is_error=True)
    printed(text, "d")
    pieces, lost = text.drain(0.1, is_last=False)
    assert pieces == [(False, "ab\n"), (True, "c"), (False, "d")]
    assert not lost
    assert text.drain(0.1, is_last=True)[0] == []


def test_of_a_flood_the_beginning_a_part_of_each_moment_and_the_end_are_kept() -> None:
    text = PrintedText()
    numbers = [f"{n:099}\n" for n in range(50_000)]
    printed(text, *numbers[:30_000])
    first, lost = text.drain(0.1, is_last=False)
    assert text_of(first) == "".join(numbers[: len(text_of(first)) // 100])
    assert BURST * 0.6 < len(text_of(first)) <= BURST
    assert lost.characters
    printed(text, *numbers[30_000:])
    last, more = text.drain(0.1, is_last=True)
    assert 0 < len(text_of(last)) < RATE
    assert text_of(last).startswith(numbers[30_000])
    assert text_of(last).endswith("".join(numbers[-100:]))
    kept = text_of(first) + text_of(last)
    assert len(kept) + lost.characters + more.characters == 100 * len(numbers)
    assert kept.count("\n") + lost.lines + more.lines == len(numbers)


def test_of_a_long_piece_whole_lines_are_kept() -> None:
    text = PrintedText()
    printed(text, LINE * 20_000)
    pieces, lost = text.drain(60, is_last=False)
    printed(text, "after\n")
    after, more = text.drain(60, is_last=True)
    assert len(text_of(pieces)) % len(LINE) == 0
    assert text_of(after) == "after\n"
    kept = len(text_of(pieces))
    assert kept + lost.characters + more.characters == 20_000 * len(LINE)
    assert kept // len(LINE) + lost.lines + more.lines == 20_000


def test_what_follows_a_gap_begins_on_its_own_line_and_no_half_line_is_taken_for_one() -> None:
    text = PrintedText()
    printed(text, "begun, ", "y" * BURST, "and ended\n", LINE * 200)
    pieces, lost = text.drain(0, is_last=True)
    assert text_of(pieces) == "begun, \n" + LINE * 200
    assert (lost.lines, lost.characters) == (1, BURST + len("and ended\n"))


def test_a_flood_of_nothing_but_line_ends_is_bounded_too() -> None:
    text = PrintedText()
    for _ in range(100_000):
        text.take("\n", False)
    assert len(text._pieces) + len(text._end) < 50_000
    text = PrintedText()
    text.take("\n" * 10_000_000, False)
    pieces, lost = text.drain(0, is_last=False)
    assert text_of(pieces).count("\n") < BURST / 32
    assert text_of(pieces).count("\n") + lost.lines > 9_900_000


def test_after_an_end_that_was_kept_it_goes_on_as_before() -> None:
    text = PrintedText()
    printed(text, "y" * BURST + "\n", LINE)
    text.drain(60, is_last=True)
    printed(text, LINE)
    assert text.drain(60, is_last=False) == ([(False, LINE)], printed_text.Lost())


def test_threads_lose_nothing_uncounted() -> None:
    text = PrintedText()
    threads = [threading.Thread(target=printed, args=(text, *[LINE] * 5_000)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pieces, lost = text.drain(0, is_last=True)
    assert text_of(pieces).count(LINE) + lost.lines == 20_000


PIECES = st.tuples(st.sampled_from(["a", "b\n", "\n", "c" * 70, "d\ne", "f\n" * 40]), st.booleans())


@given(st.lists(st.one_of(PIECES, st.floats(0, 0.01)), max_size=60), st.integers(0, 300))
def test_every_character_is_kept_or_counted_and_whole_lines_stay_whole(steps, room) -> None:
    text = PrintedText()
    text._room = room
    with mock.patch.object(printed_text, "_END", 60):
        check_kept_and_counted(text, steps)


def check_kept_and_counted(text: PrintedText, steps) -> None:
    said = {False: "", True: ""}
    kept = {False: "", True: ""}
    lost = 0
    for step in [*steps, None]:
        if isinstance(step, tuple):
            text.take(*step)
            said[step[1]] += step[0]
            continue
        pieces, gone = text.drain(step or 0.0, is_last=step is None)
        lost += gone.characters
        for is_error, piece in pieces:
            kept[is_error] += piece
    for is_error, all_of_it in said.items():
        lines = iter(all_of_it.split("\n"))
        for line in kept[is_error].split("\n"):
            # In order, each as it was printed, or its beginning where the rest went.
            assert not line or any(whole.startswith(line) for whole in lines)
    added = sum(map(len, kept.values())) + lost - sum(map(len, said.values()))
    assert 0 <= added <= len(steps)  # the line ends before what follows a gap
