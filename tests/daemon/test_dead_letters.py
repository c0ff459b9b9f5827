"""What a server refused for good, on this host's disk."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest

from kelt_daemon.dead_letters import (
    DEAD_LETTERS_NAME,
    DeadLetter,
    append_dead_letter,
    read_dead_letters,
)

LETTER = DeadLetter(
    writer_id=b"w" * 16, first_seq=5, last_seq=5, server_id="s", reason="no \u2603", at=1.5,
    frames=b"\x00\xffframes",
)  # fmt: skip


def test_what_was_kept_is_read_back_and_is_nobody_elses(tmp_path):
    other = replace(LETTER, first_seq=9, last_seq=12, server_id="t")
    append_dead_letter(tmp_path, LETTER)
    append_dead_letter(tmp_path, other)
    assert read_dead_letters(tmp_path) == [LETTER, other]
    assert stat.S_IMODE((tmp_path / DEAD_LETTERS_NAME).stat().st_mode) == 0o600


def test_a_line_that_a_crash_cut_short_costs_itself(tmp_path):
    append_dead_letter(tmp_path, LETTER)
    path = tmp_path / DEAD_LETTERS_NAME
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    append_dead_letter(tmp_path, replace(LETTER, first_seq=6, last_seq=6))
    assert [letter.first_seq for letter in read_dead_letters(tmp_path)] == [5, 6]


def test_what_was_taken_back_is_offered_again(tmp_path):
    append_dead_letter(tmp_path, LETTER)
    append_dead_letter(tmp_path, replace(LETTER, taken_back=True))
    assert read_dead_letters(tmp_path) == []
    append_dead_letter(tmp_path, LETTER)
    assert read_dead_letters(tmp_path) == [LETTER]


def test_a_link_in_its_place_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / DEAD_LETTERS_NAME).symlink_to(target)
    with pytest.raises(OSError):
        append_dead_letter(tmp_path, LETTER)
    assert target.read_text() == "precious"


def test_there_is_a_largest_size(tmp_path, monkeypatch):
    monkeypatch.setattr("kelt_daemon.dead_letters.FILE_BYTES_MAX", 100)
    append_dead_letter(tmp_path, LETTER)
    with pytest.raises(OSError, match="largest size"):
        append_dead_letter(tmp_path, LETTER)
