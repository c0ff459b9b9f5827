"""The daemon's note, as a writer without a stream believes it."""

from __future__ import annotations

import json
import os

import pytest

from kelt.daemon_note import LOOK_INTERVAL_S, DaemonNote, Note, read_note
from kelt_daemon.cursors import Cursors, read_cursors, write_cursors

WRITER, OTHER = b"w" * 16, b"o" * 16


@pytest.fixture
def note(tmp_path):
    write_cursors(tmp_path, Cursors(durable={WRITER: 70, OTHER: 900}, committed={WRITER: 800}))
    return tmp_path / "cursors.json"


def test_it_says_how_far_the_journal_has_this_writer(note) -> None:
    assert read_note(note, WRITER).durable_through == 70
    assert read_note(note, OTHER).durable_through == 900
    assert read_note(note, b"n" * 16).durable_through == 0


def test_damage_anywhere_in_it_makes_it_say_nothing_or_the_truth(note) -> None:
    whole = note.read_bytes()
    for at in range(len(whole)):
        note.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        assert read_note(note, WRITER).durable_through in {0, 70}
        note.write_bytes(whole[:at])
        assert read_note(note, WRITER).durable_through in {0, 70}


@pytest.mark.parametrize("said", [-1, True, 1e9, "70", None, [70]])
def test_a_number_that_is_none_says_nothing(note, said) -> None:
    data = json.loads(note.read_text())
    data["durable"][WRITER.hex()] = said
    note.write_text(json.dumps(data))
    assert read_note(note, WRITER).durable_through == 0


def test_a_note_without_a_checksum_a_link_or_a_pipe_says_nothing(note) -> None:
    data = json.loads(note.read_text())
    del data["crc32"]
    note.write_text(json.dumps(data))
    assert read_note(note, WRITER).durable_through == 0
    write_cursors(note.parent, Cursors(durable={WRITER: 70}))
    link = note.with_name("link")
    link.symlink_to(note)
    assert read_note(link, WRITER).durable_through == 0
    note.unlink()
    assert read_note(note, WRITER).durable_through == 0
    os.mkfifo(note)
    assert read_note(note, WRITER).durable_through == 0


def test_the_disk_is_asked_once_in_a_while(note) -> None:
    told = DaemonNote(folder=note.parent, writer_id=WRITER)
    assert told.read(100.0) == Note(70, must_stop=False)
    write_cursors(note.parent, Cursors(durable={WRITER: 80}, must_stop=True))
    assert told.read(100.0 + LOOK_INTERVAL_S / 2) == Note(70, must_stop=False)
    assert told.read(100.0 + LOOK_INTERVAL_S) == Note(80, must_stop=True)
    assert read_cursors(note.parent).must_stop
