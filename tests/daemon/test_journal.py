"""The journal on a real disk that fails as it is told to."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.faulty_filesystem import FaultyFilesystem
from kelt.journal.reader import Damage, read_journal
from kelt_daemon.errors import JournalBrokenError, JournalFullError
from kelt_daemon.filesystem import RealFilesystem
from kelt_daemon.journal import Journal, new_journal_id
from kelt_daemon.journal_reader import Position, extents, read_entries, recover, start_position
from kelt_daemon.journal_segments import NewEntry

WRITER = bytes(range(16))
WITNESS = bytes(range(16, 32))


def entry(first: int, last: int, size: int = 100, writer: bytes = WRITER) -> NewEntry:
    return NewEntry(writer, first, last, bytes([first % 251]) * size)


def open_journal(folder, filesystem=None, *, first=4096, largest=16384) -> Journal:
    found = recover(folder, writer_id=WRITER)
    return Journal(
        folder=folder,
        filesystem=filesystem or RealFilesystem(),
        first_segment_bytes=first,
        segment_bytes_max=largest,
        journal_id=new_journal_id(folder),
        segments=found.segments,
    )


def commit_all(journal: Journal, entries: list[NewEntry]) -> None:
    done = 0
    while done < len(entries):
        done += journal.commit(entries[done:])


def seqs(folder) -> list[tuple[int, int]]:
    return [(i.first_seq, i.last_seq) for i in read_journal(folder) if not isinstance(i, Damage)]


def test_entries_are_read_back_over_segments_and_restarts(tmp_path):
    journal = open_journal(tmp_path)
    commit_all(journal, [entry(i, i, 1000) for i in range(1, 31)])
    journal.close()
    journal = open_journal(tmp_path)
    commit_all(journal, [entry(31, 40)])
    journal.close()
    assert seqs(tmp_path) == [(i, i) for i in range(1, 31)] + [(31, 40)]
    found = recover(tmp_path, writer_id=WRITER)
    assert found.durable == {WRITER: 40}
    assert found.damages == []
    assert len(found.segments) > 3


def test_after_a_start_nothing_is_written_behind_what_was_there(tmp_path):
    journal = open_journal(tmp_path)
    journal.commit([entry(1, 1)])
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    journal = open_journal(tmp_path)  # as after a SIGKILL: the first was never closed
    journal.commit([entry(2, 2)])
    assert {n: (tmp_path / n).read_bytes() for n in before} == before
    assert seqs(tmp_path) == [(1, 1), (2, 2)]


@pytest.mark.covers(phase="recovery", fault="bit flip")
def test_a_torn_tail_is_cut_and_what_came_before_stays(tmp_path):
    journal = open_journal(tmp_path)
    commit_all(journal, [entry(1, 5), entry(6, 9)])
    journal.close()
    (path,) = tmp_path.iterdir()
    end = recover(tmp_path, writer_id=WRITER).segments[0].end_bytes
    os.truncate(path, end - 40)
    assert recover(tmp_path, writer_id=WRITER).durable == {WRITER: 5}
    journal = open_journal(tmp_path)
    journal.commit([entry(6, 9)])
    assert seqs(tmp_path) == [(1, 5), (6, 9)]


@pytest.mark.covers(phase="recovery", fault="bit flip")
def test_a_flipped_byte_costs_its_entry_alone(tmp_path):
    journal = open_journal(tmp_path)
    commit_all(journal, [entry(1, 5), entry(6, 9), entry(10, 12)])
    ends = [item.end_bytes for item in read_journal(tmp_path)]
    journal.close()
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[ends[0] + 60] ^= 1
    path.write_bytes(data)
    found = recover(tmp_path, writer_id=WRITER)
    assert seqs(tmp_path) == [(1, 5), (10, 12)]
    assert found.durable == {WRITER: 12}
    assert len(found.damages) == 1


@pytest.mark.covers(phase="recovery", fault="bit flip")
def test_a_damaged_header_costs_its_segment_alone(tmp_path):
    journal = open_journal(tmp_path, first=4096, largest=4096)
    commit_all(journal, [entry(i, i, 1500) for i in range(1, 7)])
    journal.close()
    paths = sorted(tmp_path.iterdir())
    with paths[1].open("r+b") as file:
        file.write(b"XXXX")
    left = seqs(tmp_path)
    assert left[0] == (1, 1)
    assert left[-1] == (6, 6)
    assert recover(tmp_path, writer_id=WRITER).durable == {WRITER: 6}
    journal = open_journal(tmp_path)
    journal.commit([entry(7, 7)])
    assert seqs(tmp_path) == [*left, (7, 7)]


@pytest.mark.covers(phase="fdatasync", fault="EIO")
def test_a_failed_sync_is_not_repeated_and_its_entries_go_into_a_new_segment(tmp_path):
    disk = FaultyFilesystem()
    journal = open_journal(tmp_path, disk)
    journal.commit([entry(1, 3)])
    disk.fail("sync", 1)
    assert journal.commit([entry(4, 6)]) == 1
    disk.lose_power()
    assert seqs(tmp_path) == [(1, 3), (4, 6)]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.covers(phase="fdatasync", fault="EIO")
def test_a_second_failure_is_reported_and_a_later_try_works(tmp_path):
    disk = FaultyFilesystem()
    journal = open_journal(tmp_path, disk)
    journal.commit([entry(1, 3)])
    disk.fail("sync", 1)
    disk.fail("sync", 2)
    with pytest.raises(JournalBrokenError, match="Check the disk"):
        journal.commit([entry(4, 6)])
    assert journal.commit([entry(4, 6)]) == 1
    disk.lose_power()
    assert seqs(tmp_path) == [(1, 3), (4, 6)]


@pytest.mark.covers(phase="journal_append", fault="ENOSPC")
def test_a_full_disk_acknowledges_nothing_and_goes_on_when_there_is_room(tmp_path):
    disk = FaultyFilesystem()
    journal = open_journal(tmp_path, disk)
    journal.commit([entry(1, 3)])
    disk.is_full = True
    with pytest.raises(JournalFullError, match="Free some space"):
        commit_all(journal, [entry(4, 6, 4000)])
    assert recover(tmp_path, writer_id=WRITER).durable == {WRITER: 3}
    disk.is_full = False
    commit_all(journal, [entry(4, 6, 4000)])
    assert seqs(tmp_path) == [(1, 3), (4, 6)]


@pytest.mark.covers(phase="journal_append", fault="ENOSPC")
def test_a_write_without_room_leaves_the_place_for_the_next_try(tmp_path):
    disk = FaultyFilesystem()
    journal = open_journal(tmp_path, disk)
    for first in (1, 2):  # in a new segment, and in one that is in use
        disk.fail("write", 2 if first == 1 else 1, errno.ENOSPC)
        with pytest.raises(JournalFullError):
            journal.commit([entry(first, first)])
        assert journal.commit([entry(first, first)]) == 1
    assert seqs(tmp_path) == [(1, 1), (2, 2)]
    assert [s.number for s in journal.segments] == [1]


@pytest.mark.covers(phase="segment_rotate", fault="ENOSPC")
def test_where_a_large_segment_has_no_room_a_small_one_is_made(tmp_path):
    disk = FaultyFilesystem()
    journal = open_journal(tmp_path, disk, first=1 << 20)
    disk.fail("create", 1, errno.ENOSPC)
    journal.commit([entry(1, 1)])
    assert (tmp_path / "journal-000002.kelt").stat().st_size == 4096


def test_a_reader_starts_at_the_cursor_and_sees_only_what_is_synced(tmp_path):
    journal = open_journal(tmp_path, first=4096, largest=4096)
    commit_all(journal, [entry(i, i, 1500) for i in range(1, 7)])
    assert start_position(journal.segments, {WRITER: 4}) == Position(3)
    at_end = start_position(journal.segments, {WRITER: 6})
    assert at_end == Position(3, journal.segments[-1].end_bytes)
    parts = extents(journal.segments)
    commit_all(journal, [entry(7, 7)])
    entries, _ = read_entries(extents(journal.segments), at_end, bytes_max=2000)
    assert [e.first_seq for e in entries] == [7]
    position, found = Position(), []
    while True:
        entries, position = read_entries(parts, position, bytes_max=2000)
        if not entries:
            break
        found += [e.first_seq for e in entries]
    assert found == [1, 2, 3, 4, 5, 6]
    entries, _ = read_entries(extents(journal.segments), position, bytes_max=2000)
    assert [e.first_seq for e in entries] == [7]


class CountingDisk(RealFilesystem):
    def __init__(self) -> None:
        self.read_bytes = 0

    def read(self, path, offset_bytes=0, bytes_max=-1):
        raw = super().read(path, offset_bytes, bytes_max)
        self.read_bytes += len(raw)
        return raw


def read_all(parts, *, bytes_max: int, files) -> list[int]:
    position, found = Position(), []
    while True:
        entries, position = read_entries(parts, position, bytes_max=bytes_max, files=files)
        if not entries:
            return found
        found += [e.first_seq for e in entries]


def test_reading_a_large_segment_in_pieces_reads_it_about_once(tmp_path):
    journal = open_journal(tmp_path, first=32 << 20, largest=32 << 20)
    commit_all(journal, [entry(i, i, 250_000) for i in range(1, 101)])
    disk = CountingDisk()
    found = read_all(extents(journal.segments), bytes_max=4 << 20, files=disk)
    assert found == list(range(1, 101))
    assert disk.read_bytes < 2 * journal.used_bytes


@pytest.mark.parametrize("damaged", [0, 3, 11])
def test_damage_and_entries_larger_than_a_piece_hide_nothing_behind_them(tmp_path, damaged):
    journal = open_journal(tmp_path, first=64 << 20, largest=64 << 20)
    sizes = [200_000, 3_000_000, 200_000, 8_000_000, *[1_000_000] * 8]
    commit_all(journal, [entry(i, i, size) for i, size in enumerate(sizes)])
    parts = extents(journal.segments)
    (path,) = tmp_path.iterdir()
    with path.open("r+b") as file:
        file.seek(parts[0].end_bytes - sum(sizes[damaged:]) + sizes[damaged] // 2)
        file.write(b"\xff" * 16)
    found = read_all(parts, bytes_max=100_000, files=RealFilesystem())
    assert found == [n for n in range(len(sizes)) if n != damaged]


FAULTS = st.lists(
    st.tuples(
        st.sampled_from(["sync", "write", "create", "sync_folder"]),
        st.integers(1, 12),
        st.sampled_from([errno.EIO, errno.ENOSPC]),
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(faults=FAULTS, sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=12))
def test_what_was_acknowledged_survives_power_loss_whatever_fails(tmp_path_factory, faults, sizes):
    folder = tmp_path_factory.mktemp("journal")
    disk = FaultyFilesystem()
    journal = open_journal(folder, disk)
    for call, nth, error in faults:
        disk.fail(call, nth, error)
    entries = [entry(i, i, size) for i, size in enumerate(sizes, 1)]
    acknowledged = 0
    for _ in range(2):  # what failed is tried once more
        try:
            while acknowledged < len(entries):
                acknowledged += journal.commit(entries[acknowledged : acknowledged + 3])
        except (JournalFullError, JournalBrokenError):
            continue
    disk.lose_power()
    held = {
        item.first_seq: item.payload
        for item in read_journal(folder)
        if not isinstance(item, Damage)
    }
    for acked in entries[:acknowledged]:
        assert held[acked.first_seq] == acked.payload


@pytest.mark.parametrize("is_gone", [True, False])
def test_what_cannot_be_read_any_more_at_the_end_is_passed_over_and_later_entries_are_not(
    tmp_path, is_gone
):
    journal = open_journal(tmp_path)
    commit_all(journal, [entry(1, 5), entry(6, 9)])
    parts = extents(journal.segments)
    (path,) = tmp_path.iterdir()
    if is_gone:
        path.unlink()
    else:
        contents = bytearray(path.read_bytes())
        contents[parts[0].end_bytes - 8] ^= 0xFF
        path.write_bytes(contents)
    entries, position = read_entries(parts, Position(), bytes_max=1 << 20)
    assert [e.last_seq for e in entries] == ([] if is_gone else [5])
    assert position == Position(parts[0].number, parts[0].end_bytes)
    commit_all(journal, [entry(10, 12, 5000)])  # into the next segment
    entries, _ = read_entries(extents(journal.segments), position, bytes_max=1 << 20)
    # What vanished while it was open is written again.
    assert [e.last_seq for e in entries] == ([5, 9, 12] if is_gone else [12])


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced", "cut short"])
def test_an_open_segment_that_vanished_is_noticed_and_what_it_held_is_written_again(tmp_path, how):
    journal = open_journal(tmp_path)
    commit_all(journal, [entry(1, 5), entry(6, 9)])
    (path,) = tmp_path.glob("journal-*")
    if how == "deleted":
        path.unlink()
    elif how == "moved":
        path.rename(tmp_path / "elsewhere")
    elif how == "replaced":
        path.with_name("new").write_bytes(path.read_bytes()[:100])
        path.with_name("new").replace(path)
    else:
        os.truncate(path, journal.segments[0].end_bytes - 40)
    assert journal.commit([entry(10, 12)]) == 1
    assert journal.segments_rescued == 1
    left = [(5, 1), (9, 6), (12, 10)]
    if how == "cut short":  # the file had it no more; the gap in the numbers tells
        left.remove((9, 6))
    found = {last: first for first, last in seqs(tmp_path)}
    assert [(last, found.get(last)) for last, _ in left] == left
    assert recover(tmp_path, writer_id=WRITER).durable == {WRITER: 12}
    assert journal.usage.used_bytes == journal.used_bytes


def test_after_a_start_what_cannot_be_synced_is_written_again_elsewhere(tmp_path):
    journal = open_journal(tmp_path)
    commit_all(journal, [entry(1, 5), entry(6, 9)])
    disk = FaultyFilesystem()
    disk.sync_file = failing
    again = open_journal(tmp_path, disk)
    again.make_sure()
    assert seqs(tmp_path) == [(1, 5), (6, 9)]
    assert [p.name for p in tmp_path.iterdir()] == ["journal-000002.kelt"]


def failing(*_):
    raise OSError(errno.EIO, "bad disk")
