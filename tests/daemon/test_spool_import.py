"""What becomes of spools that are damaged, and of journals."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from harness.daemon_process import DaemonProcess, await_ready, daemon_of, eventually
from harness.memory_upstream import LOSS, MemoryUpstream
from kelt.journal.batches import BatchCutter, CutBatch
from kelt.journal.reader import read_journal, read_spool
from kelt.journal.sealing import Sealer
from kelt.journal.segments import segment_path
from kelt.journal.spool import InternedSchema, SpoolWriter
from kelt_daemon.spool_import import SpoolImport, UnknownLoss, read_range, untold_losses
from kelt_proto.v1.frames import FLAG_SEALED, Kind, crc_seed, frame_crc32, iter_frames
from kelt_proto.v1.record_pb2 import Loss
from kelt_proto.v1.rows import ColumnKind, Schema

WRITER = bytes(range(16))


def write_spool(folder: Path, rows: int, *, sealed: bool = True) -> None:
    spool = SpoolWriter(folder=folder, writer_id=WRITER, quota_bytes=1 << 28)
    schema = InternedSchema(Schema(1, ("value",), (ColumnKind.FLOAT,)))
    for i in range(1, rows + 1):
        spool.append_row(schema, 0, i, 0.0, 0.0, (float(i),))
    spool.close()
    if sealed:
        for path in folder.glob("spool-*"):
            seal(path)


def seal(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for frame in list(iter_frames(memoryview(bytes(data)), 256)):
        crc = frame_crc32(crc_seed(WRITER), frame.kind, frame.seq, bytes(frame.payload))
        data[frame.offset_bytes + 16 : frame.offset_bytes + 20] = crc.to_bytes(4, "little")
        data[frame.offset_bytes + 5] = FLAG_SEALED
    path.write_bytes(data)


def spoil(folder: Path, seqs: range) -> None:
    """Flips a byte in each of these records."""
    wanted = set(seqs)
    places = {}
    for path in sorted(folder.glob("spool-*")):
        for frame in iter_frames(memoryview(path.read_bytes()), 256):
            if frame.seq in wanted:
                places.setdefault(path, []).append(frame.offset_bytes + 40)
    for path, offsets in places.items():
        data = bytearray(path.read_bytes())
        for offset in offsets:
            data[offset] ^= 0xFF
        path.write_bytes(data)


def take_all(folder: Path, after_seq: int = 0) -> tuple[SpoolImport, list]:
    spool = SpoolImport(folder=folder, writer_id=WRITER, after_seq=after_seq)
    pieces = []
    while some := spool.take(bytes_max=4096):
        pieces += some
    return spool, pieces


def spans(pieces) -> list[tuple[int, int, bool]]:
    """(first, last, whether it is a loss)"""
    found = []
    for piece in pieces:
        kinds = [f.kind for f in iter_frames(memoryview(piece.frames)) if f.kind != Kind.SCHEMA]
        found.append((piece.first_seq, piece.last_seq, kinds == [Kind.LOSS]))
    return found


def test_a_whole_spool_becomes_batches_without_holes_and_is_deleted(tmp_path):
    write_spool(tmp_path, 9000)
    spool, pieces = take_all(tmp_path)
    through = 0
    for first, last, is_loss in spans(pieces):
        assert first == through + 1
        assert not is_loss
        through = last
    assert through == 9000
    spool.remove_files()
    assert list(tmp_path.iterdir()) == []


def test_what_the_journal_has_is_not_read_again(tmp_path):
    write_spool(tmp_path, 100)
    assert spans(take_all(tmp_path, after_seq=60)[1]) == [(61, 100, False)]
    assert take_all(tmp_path, after_seq=100)[1] == []


@pytest.mark.covers(phase="recovery", fault="bit flip")
def test_damaged_records_become_one_loss_in_the_writers_own_numbers(tmp_path):
    write_spool(tmp_path, 100)
    spoil(tmp_path, range(40, 45))
    spool, pieces = take_all(tmp_path)
    assert spans(pieces) == [(1, 39, False), (40, 44, True), (45, 100, False)]
    (frame,) = iter_frames(memoryview(pieces[1].frames))
    assert frame.seq == 44
    loss = Loss.FromString(bytes(frame.payload))
    assert (loss.writer_id, loss.first_seq, loss.last_seq, loss.rows) == (WRITER, 40, 44, 5)
    assert "spool-000001.kelt" in loss.reason
    spool.remove_files()
    assert [p.name for p in tmp_path.iterdir()] == ["spool-000001.kelt.damaged"]


@pytest.mark.covers(phase="recovery", fault="bit flip")
def test_a_missing_segment_becomes_a_loss(tmp_path):
    write_spool(tmp_path, 12_000)
    paths = sorted(tmp_path.glob("spool-*"))
    assert len(paths) >= 3
    first_left = min(f.seq for f in iter_frames(memoryview(paths[1].read_bytes()), 256) if f.seq)
    after = max(f.seq for f in iter_frames(memoryview(paths[1].read_bytes()), 256))
    paths[1].unlink()
    assert (first_left, after, True) in spans(take_all(tmp_path)[1])


@pytest.mark.covers(phase="recovery", fault="bit flip")
def test_damage_at_the_end_is_a_loss_of_unknown_extent(tmp_path):
    write_spool(tmp_path, 100)
    spoil(tmp_path, range(99, 101))
    pieces = take_all(tmp_path)[1]
    assert spans(p for p in pieces if isinstance(p, CutBatch)) == [(1, 98, False)]
    assert isinstance(pieces[-1], UnknownLoss)


def test_a_trainer_killed_in_the_middle_of_an_append_lost_nothing(tmp_path):
    write_spool(tmp_path, 100, sealed=False)
    (path,) = tmp_path.glob("spool-*")
    end = max(f.end_bytes for f in read_spool(tmp_path))
    with path.open("r+b") as file:  # payload and number are stored, the first word is not
        file.truncate(1 << 18)
        file.seek(end + 8)
        file.write((101).to_bytes(8, "little") + bytes(8) + b"\1" * 40)
    assert spans(take_all(tmp_path)[1]) == [(1, 100, False)]


def test_a_range_is_read_back_exactly(tmp_path):
    write_spool(tmp_path, 9000)
    cuts = read_range(tmp_path, 500, 7777)
    assert (cuts[0].first_seq, cuts[-1].last_seq) == (500, 7777)


@pytest.fixture
def daemon(tmp_path):
    with daemon_of(tmp_path / "state") as daemon:
        yield daemon


def flip_in_journal(folder: Path, seq: int) -> tuple[int, int]:
    """Flips a byte in the payload of the entry that holds a record; returns the entry's range."""
    (path,) = folder.glob("journal-*")
    for item in read_journal(folder):
        if item.first_seq <= seq <= item.last_seq:
            with path.open("r+b") as file:
                file.seek(item.end_bytes - 20)
                byte = os.pread(file.fileno(), 1, item.end_bytes - 20)
                file.write(bytes([byte[0] ^ 0xFF]))
            return item.first_seq, item.last_seq
    raise AssertionError(seq)


async def stopped_with_backlog(daemon: DaemonProcess, upstream: MemoryUpstream) -> None:
    """A run whose records are durable in entries of their own, and a daemon that is dead."""
    daemon.start()
    trainer = daemon.train("r1", upstream.url, 60, "wait", stream=True, options=("--row-s", "0.02"))
    await eventually(lambda: await_ready(trainer) is None, "rows logged")
    await eventually(lambda: daemon.run_status("r1").durable_records == 61, "durable")
    daemon.kill()
    trainer.kill()
    trainer.wait()


@pytest.mark.asyncio
@pytest.mark.covers(phase="batch_build", fault="bit flip")
async def test_damage_in_the_journal_is_mended_from_the_spool_while_that_is_there(daemon):
    upstream = MemoryUpstream()
    async with upstream:
        pass
    await stopped_with_backlog(daemon, upstream)
    flip_in_journal(daemon.state_dir.runs / "r1", 20)
    writer_id = daemon.writer_id("r1")
    async with upstream:
        daemon.start()
        await eventually(lambda: upstream.cursors[writer_id] == 61, "arrived")
    assert upstream.violations == []
    assert upstream.losses(writer_id) == []
    assert upstream.row_values(writer_id) == [float(i) for i in range(60)]


@pytest.mark.asyncio
@pytest.mark.covers(phase="batch_build", fault="bit flip")
async def test_damage_in_the_journal_costs_its_entry_and_is_said(daemon):
    upstream = MemoryUpstream()
    async with upstream:
        pass
    await stopped_with_backlog(daemon, upstream)
    folder = daemon.state_dir.runs / "r1"
    for path in folder.glob("spool-*"):
        path.unlink()
    first, last = flip_in_journal(folder, 20)
    writer_id = daemon.writer_id("r1")
    async with upstream:
        daemon.start()
        await eventually(lambda: upstream.cursors[writer_id] == 61, "arrived")
    assert upstream.violations == []
    (loss,) = upstream.losses(writer_id)
    assert (loss.first_seq, loss.last_seq, loss.rows) == (first, last, last - first + 1)
    lost = [s for s, r in upstream.records[writer_id].items() if r.kind == LOSS]
    assert lost == [last]
    assert len(upstream.records[writer_id]) == 61 - (last - first)


def test_a_living_spool_is_read_to_its_last_sealed_record_and_nothing_in_it_is_taken_for_damage(
    tmp_path,
):
    spool = SpoolWriter(folder=tmp_path, writer_id=WRITER, quota_bytes=1 << 26)
    schema = InternedSchema(Schema(1, ("value",), (ColumnKind.FLOAT,)))

    def log(count):
        for i in range(count):
            assert spool.append_row(schema, 0, i, 0.0, 0.0, (float(i),))

    log(6000)  # more than a segment
    list(Sealer(spool=spool, cutter=BatchCutter()).batches())
    log(10)  # not sealed yet
    # What a copy made in the middle of a write looks like: a later record, and zeros before it.
    second = segment_path(tmp_path, "spool", 2)
    raw = bytearray(second.read_bytes())
    hole = 256 + 4096 - 4096 % 8
    torn = tmp_path / "torn"
    torn.mkdir()
    for number in (1, 2):
        segment_path(torn, "spool", number).write_bytes(
            segment_path(tmp_path, "spool", number).read_bytes()
        )
    raw[hole : hole + 256] = bytes(256)
    segment_path(torn, "spool", 2).write_bytes(raw)

    def read(folder, **options):
        found = SpoolImport(folder=folder, writer_id=WRITER, after_seq=5, **options)
        return found.take(bytes_max=1 << 30)

    live = read(tmp_path, is_live=True)
    assert (live[0].first_seq, live[-1].last_seq) == (6, 6000)
    assert read(tmp_path)[-1].last_seq == 6010
    partly = read(torn, is_live=True)
    assert partly[-1].last_seq < 6000
    assert all(b.first_seq == a.last_seq + 1 for a, b in itertools.pairwise(partly))
    assert all(Kind.LOSS not in kinds_of(batch) for batch in partly)
    assert any(Kind.LOSS in kinds_of(batch) for batch in read(torn))
    spool.close()


def kinds_of(batch):
    return {frame.kind for frame in iter_frames(memoryview(batch.frames))}


def test_what_a_dead_writer_counted_as_lost_and_did_not_tell_is_known(tmp_path):
    spool = SpoolWriter(folder=tmp_path, writer_id=WRITER, quota_bytes=1 << 26)
    assert untold_losses(tmp_path) == 0
    spool.count_lost(7)
    assert untold_losses(tmp_path) == 7
    spool.append_loss(b"loss", rows=5, is_last=False)
    assert untold_losses(tmp_path) == 2
    spool.close()
    assert untold_losses(tmp_path) == 2


@pytest.mark.parametrize("offset", [8, 11])
def test_a_flipped_number_that_no_checksum_covers_costs_one_record_and_not_a_billion(
    tmp_path, offset
):
    write_spool(tmp_path, 50, sealed=False)
    path = segment_path(tmp_path, "spool", 1)
    data = bytearray(path.read_bytes())
    (frame,) = [f for f in iter_frames(memoryview(bytes(data)), 256) if f.seq == 20]
    data[frame.offset_bytes + offset] ^= 0xFF
    path.write_bytes(data)
    _, pieces = take_all(tmp_path)
    assert spans(pieces) == [(1, 19, False), (20, 20, True), (21, 50, False)]
