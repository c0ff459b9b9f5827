"""Copies of run folders, in whatever order and however much of each file has come so far."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kelt.journal.batches import BatchCutter
from kelt.journal.sealing import Sealer
from kelt.journal.spool import InternedSchema, SpoolWriter
from kelt_daemon.filesystem import REAL
from kelt_daemon.journal import Journal
from kelt_daemon.journal_segments import NewEntry
from kelt_daemon.replay import Copy
from kelt_proto.v1.frames import Kind, iter_frames
from kelt_proto.v1.rows import ColumnKind, Schema

WRITER, WITNESS = bytes(range(16)), bytes(range(16, 32))
NAMES = tuple(f"m{i}" for i in range(250))
ROWS = 400


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder whose first part is in the journal, and whose second part is in three segments."""
    folder = tmp_path_factory.mktemp("original")
    spool = SpoolWriter(folder=folder, writer_id=WRITER, quota_bytes=1 << 28)
    schema = InternedSchema(Schema(1, NAMES, (ColumnKind.FLOAT,) * len(NAMES)))
    for i in range(1, ROWS + 1):
        spool.append_row(schema, 0, i, 0.0, 0.0, (float(i),) * len(NAMES))
        spool.prepare()
    assert list(Sealer(spool=spool, cutter=BatchCutter()).batches())
    spool.close()
    # What a daemon there has taken into its journal, of which the first spool segment is gone.
    taken = list(Copy(folder, WRITER, {}, {}).entries())[:2]
    journal = Journal(
        folder=folder,
        filesystem=REAL,
        first_segment_bytes=1 << 20,
        segment_bytes_max=1 << 20,
        journal_id=bytes(16),
        segments=[],
    )
    journal.commit([*taken, NewEntry(WITNESS, 1, 1, b"")])
    journal.close()
    return folder


def rows_in(entries):
    """(number, bytes) of each row; batches may overlap, and then say the same."""
    found = {}
    for entry in entries:
        if entry.writer_id == WRITER:
            for frame in iter_frames(memoryview(entry.payload)):
                if frame.kind == Kind.ROW:
                    assert found.setdefault(frame.seq, bytes(frame.payload)) == frame.payload
    return list(found.items())


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_part_of_each_file_has_come_only_a_gapless_beginning_is_taken_and_all_in_the_end(
    original, tmp_path_factory, data
):
    whole = files_of(original)
    folder = tmp_path_factory.mktemp("copy")
    copy = Copy(folder, WRITER, {}, {})
    taken: list[NewEntry] = []
    for _ in range(data.draw(st.integers(0, 4))):
        for name, raw in whole.items():
            length = data.draw(st.one_of(st.none(), st.integers(0, len(raw)), st.just(len(raw))))
            there = (folder / name).stat().st_size if (folder / name).exists() else 0
            if length is not None and length > there:
                (folder / name).write_bytes(raw[:length])
        taken += copy.entries()
        seqs = [seq for seq, _ in rows_in(taken)]
        assert seqs == list(range(1, len(seqs) + 1))
    for name, raw in whole.items():
        (folder / name).write_bytes(raw)
    taken += copy.entries()
    everything = rows_in(Copy(original, WRITER, {}, {}).entries())
    assert len(everything) == ROWS
    assert rows_in(taken) == everything
    assert copy.holes == {}
    assert [e.last_seq for e in taken if e.writer_id == WITNESS] == [1]
    shutil.rmtree(folder)


def test_a_file_that_is_missing_is_a_hole_and_damage_within_one_is_told_apart(original, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(original, folder)
    (folder / "journal-000001.kelt").unlink()
    numbers = sorted(folder.glob("spool-*"))
    raw = bytearray(numbers[1].read_bytes())
    raw[5000] ^= 0xFF
    numbers[1].write_bytes(raw)
    missing = numbers[0].read_bytes()
    numbers[0].unlink()

    copy = Copy(folder, WRITER, {}, {})
    assert rows_in(copy.entries()) == []
    (hole,) = copy.holes.values()
    assert (hole.first_seq, hole.damage) == (1, "")

    numbers[0].write_bytes(missing)
    before = rows_in(copy.entries())
    (hole,) = copy.holes.values()
    assert hole.first_seq == len(before) + 1
    assert "spool-" in hole.damage

    copy.taken[WRITER] = hole.last_seq  # given up
    after = rows_in(copy.entries())
    assert [seq for seq, _ in before + after] == [
        seq for seq in range(1, ROWS + 1) if not hole.first_seq <= seq <= hole.last_seq
    ]


def test_what_its_own_daemon_had_committed_and_deleted_is_no_hole(original, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(original, folder)
    for path in (folder / "journal-000001.kelt", min(folder.glob("spool-*"))):
        path.unlink()
    first = min(e.first_seq for e in _entries_after_a_gap(folder))
    copy = Copy(folder, WRITER, {}, {WRITER: first - 1})
    seqs = [seq for seq, _ in rows_in(copy.entries())]
    assert seqs == list(range(first, ROWS + 1))
    assert copy.holes == {}


def _entries_after_a_gap(folder: Path) -> list[NewEntry]:
    copy = Copy(folder, WRITER, {}, {})
    assert list(copy.entries()) == []
    (hole,) = copy.holes.values()
    copy.taken[WRITER] = hole.last_seq
    return list(copy.entries())


def test_nothing_is_written_into_a_copy(original, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(original, folder)
    before = files_of(folder)
    list(Copy(folder, WRITER, {}, {}).entries())
    assert files_of(folder) == before
