"""The copy of a spool that lies apart: what is sealed, byte for byte, whatever fails in between."""

from __future__ import annotations

import errno
import os

import pytest

from kelt.journal.batches import BatchCutter, cut_live_spool, cut_spool
from kelt.journal.reader import read_spool_headers
from kelt.journal.sealing import Sealer
from kelt.journal.spool import InternedSchema, SpoolWriter
from kelt.journal.spool_copy import COPY_INTERVAL_S, RETRY_S, WRITE_BYTES_MAX, SpoolCopy
from kelt_proto.v1.rows import ColumnKind, Schema

SCHEMA = Schema(1, tuple(f"m{i}" for i in range(20)), (ColumnKind.FLOAT,) * 20)


class Copying:
    """A spool, its sealer and its copy."""

    def __init__(self, folder) -> None:
        self.place, self.folder = folder / "place", folder / "folder"
        self.place.mkdir()
        self.folder.mkdir()
        self.spool = SpoolWriter(folder=self.place, writer_id=b"w" * 16, quota_bytes=1 << 28)
        self.copy = SpoolCopy(folder=self.folder)
        self.sealer = Sealer(spool=self.spool, cutter=BatchCutter(), on_sealed=self.copy.sealed)
        self.schema, self.rows, self.now_s = InternedSchema(SCHEMA), 0, 0.0

    def log(self, rows: int) -> None:
        for _ in range(rows):
            self.spool.append_row(self.schema, 0, self.rows, 0.0, 0.0, (float(self.rows),) * 20)
            self.rows += 1
        list(self.sealer.batches())

    def write(self, *, is_last=False) -> None:
        self.now_s += COPY_INTERVAL_S
        self.copy.write(self.now_s, is_last=is_last)

    def copied(self) -> int:
        """The last record that another node can read, in order from the first."""
        cuts = list(cut_live_spool(self.folder))
        assert [cut.first_seq for cut in cuts] == [1, *(cut.last_seq + 1 for cut in cuts)][:-1]
        return cuts[-1].last_seq if cuts else 0


@pytest.fixture
def copying(tmp_path):
    made = Copying(tmp_path)
    yield made
    made.spool.close()


def test_what_is_sealed_is_copied_over_many_segments_and_looks_like_any_spool(copying) -> None:
    for _ in range(6):
        copying.log(3000)
        copying.write(is_last=True)
        assert copying.copied() == copying.rows
        assert copying.copy.is_whole
    assert len(copying.spool.segments) > 3
    for segment in copying.spool.segments:
        written = (copying.folder / segment.path.name).read_bytes()
        assert written[256:] == bytes(segment.map[256 : len(written)])
    cuts = list(cut_spool(copying.folder))
    assert b"".join(c.frames for c in cuts) == b"".join(c.frames for c in cut_spool(copying.place))


def test_a_row_that_is_not_sealed_is_not_copied(copying) -> None:
    copying.log(5)
    copying.spool.append_row(copying.schema, 0, 9, 0.0, 0.0, (1.0,) * 20)
    copying.write()
    assert copying.copied() == 5


def test_it_is_written_now_and_then_and_a_bounded_piece_at_a_time(copying) -> None:
    copying.log(10)
    copying.write()
    copying.log(10)
    copying.copy.write(copying.now_s + COPY_INTERVAL_S / 2, is_last=False)
    assert copying.copied() == 10
    copying.write()
    assert copying.copied() == 20
    size_bytes = len(copying.schema.schema.encode()) + 232 * 45_000
    assert size_bytes > 2 * WRITE_BYTES_MAX
    copying.log(45_000)
    copying.write()
    assert 0 < copying.copied() < copying.rows
    for _ in range(4):  # the rest is due at once
        copying.copy.write(copying.now_s, is_last=False)
    assert copying.copied() == copying.rows


@pytest.mark.parametrize("call", ["open", "pwrite", "fdatasync"])
def test_what_fails_is_written_again_later_and_a_failed_sync_is_not_trusted(
    copying, monkeypatch, call
) -> None:
    copying.log(2000)
    copying.write()
    copying.log(2000)
    real = getattr(os, call)

    def fails(*_args, **_kwargs):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, fails)
    copying.write()
    assert copying.copy.problem == "Input/output error"
    assert not copying.copy.is_whole
    monkeypatch.setattr(os, call, real)
    if call == "fdatasync":  # the kernel may have dropped what it could not write
        max(copying.folder.iterdir()).write_bytes(b"")
    copying.write()
    assert not copying.copy.is_whole  # not at once
    copying.now_s += RETRY_S
    copying.write(is_last=True)
    assert (copying.copied(), copying.copy.problem) == (4000, "")
    assert copying.copy.is_whole


def test_released_segments_go_from_the_copy_and_what_was_not_copied_of_them_is_passed_over(
    copying,
) -> None:
    copying.log(3000)
    copying.write(is_last=True)
    copying.log(6000)
    copying.spool.release(8000)
    first = copying.spool.segments[0].number
    assert first > 2
    copying.copy.release(first)
    copying.write(is_last=True)
    numbers = [header.number for header in read_spool_headers(copying.folder)]
    assert numbers == [segment.number for segment in copying.spool.segments]
    assert copying.copy.is_whole
    assert [cut.last_seq for cut in cut_spool(copying.folder, after_seq=8000)][-1] == 9000


def test_the_header_follows_the_beat_and_the_losses(copying) -> None:
    copying.log(10)
    copying.write()
    copying.spool.beat()
    copying.spool.count_lost(7)
    copying.write()
    assert read_spool_headers(copying.folder)[-1].lost_rows == 0
    copying.copy.refresh()
    copying.write()
    header = read_spool_headers(copying.folder)[-1]
    assert (header.beat, header.lost_rows, header.step_max) == (1, 7, 9)
    assert copying.copied() == 10


def test_a_link_in_the_way_is_not_written_through(copying, tmp_path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"mine")
    (copying.folder / "spool-000001.kelt").symlink_to(target)
    copying.log(10)
    copying.write()
    assert target.read_bytes() == b"mine"
    assert copying.copy.problem
