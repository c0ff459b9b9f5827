"""The server's folder on a disk without room: it answers "not now", and goes on when there is."""

from __future__ import annotations

import pytest
from server.stand import Stand
from server.streams import Stream, simple_run

from harness.tiny_disk import fill, remount, tiny_disk
from kelt_server.errors import StoreError


def rows_of(stand: Stand) -> list[int]:
    return [row["step"] for row in stand.rows("run")]


def push_rest(stand: Stand, stream: Stream) -> None:
    for first in range(1002, stream.last_seq, 2000):
        stand.push([stream.batch(first, min(first + 1999, stream.last_seq))])


@pytest.mark.covers(phase="committed_ack_lost", fault="ENOSPC")
def test_on_a_full_disk_a_push_is_refused_for_now_and_taken_when_there_is_room(tmp_path):
    stream = simple_run(row_count=40_000)
    with tiny_disk(tmp_path / "disk", size="24m") as disk:
        with Stand.opened(disk) as stand:
            stand.push([stream.batch(1, 1001)])
            fill(disk)
            with pytest.raises(StoreError):
                push_rest(stand, stream)
            (ack,) = stand.group.committed_through([stream.writer_id])
            acknowledged = ack.committed_through
            assert 1001 <= acknowledged < stream.last_seq
        # A start on the full disk works, or says what to do; it sets nothing aside.
        with Stand.opened(disk) as stand:
            assert stand.stores.damaged == ()
            assert rows_of(stand)[:1000] == list(range(1000))
        (disk / "filler").unlink()
        remount(disk, "size=256m")
        with Stand.opened(disk) as stand:
            (ack,) = stand.group.committed_through([stream.writer_id])
            assert ack.committed_through >= acknowledged
            stand.push([stream.batch(ack.committed_through + 1, stream.last_seq)])
            assert rows_of(stand) == list(range(40_000))
        assert not list(disk.glob("*.damaged-*"))


def test_a_server_that_lives_through_a_full_disk_goes_on_without_a_restart(tmp_path):
    stream = simple_run(row_count=40_000)
    with tiny_disk(tmp_path / "disk", size="24m") as disk, Stand.opened(disk) as stand:
        stand.push([stream.batch(1, 1001)])
        fill(disk)
        with pytest.raises(StoreError):
            push_rest(stand, stream)
        (disk / "filler").unlink()
        remount(disk, "size=256m")
        (ack,) = stand.group.committed_through([stream.writer_id])
        stand.push([stream.batch(ack.committed_through + 1, stream.last_seq)])
        assert rows_of(stand) == list(range(40_000))
