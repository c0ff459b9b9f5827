from __future__ import annotations

import itertools

import pytest

from kelt.cli.log_lines import follow_lines, last_lines, readable


@pytest.fixture
def log(tmp_path):
    return tmp_path / "daemon.log"


def test_the_last_lines_are_found_in_a_file_of_many_chunks(log):
    log.write_text("".join(f"line {i} {'x' * 500}\n" for i in range(1000)))
    lines, end = last_lines(log, 300)
    assert [line.split()[1] for line in lines] == [str(i) for i in range(700, 1000)]
    assert end == log.stat().st_size


def test_a_line_that_is_still_being_written_is_left_for_later(log):
    log.write_text("one\ntwo\nthr")
    lines, end = last_lines(log, 10)
    assert lines == ["one", "two"]
    following = follow_lines(log, from_bytes=end, sleep=lambda _: None)
    with log.open("a") as file:
        file.write("ee\n")
    assert next(following) == "three"


@pytest.mark.parametrize("lines_max", [0, 1])
def test_no_more_lines_are_given_than_asked_for(log, lines_max):
    log.write_text("one\ntwo\n")
    assert len(last_lines(log, lines_max)[0]) == lines_max


def test_a_missing_log_is_an_empty_one_until_it_appears(log):
    assert last_lines(log, 5) == ([], 0)
    following = follow_lines(log, from_bytes=0, sleep=lambda _: log.write_text("first\n"))
    assert next(following) == "first"


def test_following_goes_on_in_the_new_file_after_rotation(log):
    log.write_text("old\n")
    following = follow_lines(log, from_bytes=4, sleep=lambda _: rotate())

    def rotate():
        log.rename(log.with_suffix(".1"))
        log.write_text("new 1\nnew 2\n")

    assert list(itertools.islice(following, 2)) == ["new 1", "new 2"]


def test_a_json_line_is_made_readable_and_others_stay():
    line = '{"event": "pushed", "level": "info", "timestamp": "T", "rows": 5, "who": "a\\u001bb"}'
    assert readable(line) == "T  info  pushed  rows=5  who=a\\x1bb"
    assert readable("Traceback (most recent call last):") == "Traceback (most recent call last):"
    assert readable("[1]") == "[1]"
