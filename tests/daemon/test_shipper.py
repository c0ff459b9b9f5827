"""What the way upstream makes of answers that are no answers, and of disks that cannot be read."""

from __future__ import annotations

import errno
import os

import grpc
import pytest

from harness.in_process import daemon_parts, make_folder
from harness.memory_upstream import MemoryUpstream
from kelt.journal.files import Disk
from kelt_daemon.spool_import import read_range

pytestmark = pytest.mark.asyncio


async def test_an_upstream_that_refuses_to_say_where_it_stands_parks_the_run_and_takes_no_record(
    tmp_path,
):
    class Refusing(MemoryUpstream):
        asked = 0

        async def Cursors(self, _request, context):  # noqa: N802 # the name in upstream.proto
            self.asked += 1
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such question")

    async with Refusing() as upstream, daemon_parts(tmp_path / "runs") as parts:
        make_folder(tmp_path / "runs" / "r", upstream.url, 1, pid=0, pid_start_ticks=1).close()
        folder = await parts.adopt(tmp_path / "runs" / "r")
        await parts.until(lambda: folder.problem, "parked")
        assert "no such question" in folder.problem
        assert upstream.asked == 1
        assert folder.refused_records == 0


async def test_a_server_without_a_name_is_asked_once_and_not_for_ever(tmp_path):
    class Nameless(MemoryUpstream):
        asked = 0

        async def Cursors(self, request, context):  # noqa: N802 # the name in upstream.proto
            self.asked += 1
            return await super().Cursors(request, context)

    async with Nameless(server_id="") as upstream, daemon_parts(tmp_path / "runs") as parts:
        make_folder(tmp_path / "runs" / "r", upstream.url, 9, pid=0, pid_start_ticks=1).close()
        folder = await parts.adopt(tmp_path / "runs" / "r")
        await parts.until(lambda: folder.committed_records == 10, "committed")
        parts.registry.release(folder)
        await parts.until(lambda: not folder.is_unconfirmed, "confirmed")
        assert upstream.asked < 5


@pytest.mark.covers(phase="batch_build", fault="EMFILE/OOM")
async def test_a_spool_that_cannot_be_read_now_is_not_taken_for_lost(tmp_path, monkeypatch):
    make_folder(tmp_path / "r", "http://127.0.0.1:9", 50).close()
    read = Disk.read

    def failing(number):
        def fail(self, path, offset_bytes=0, bytes_max=-1):
            if offset_bytes == 0 and bytes_max == -1:
                raise OSError(number, os.strerror(number))
            return read(self, path, offset_bytes, bytes_max)

        return fail

    assert [(b.first_seq, b.last_seq) for b in read_range(tmp_path / "r", 3, 9)] == [(3, 9)]
    monkeypatch.setattr(Disk, "read", failing(errno.EIO))
    assert read_range(tmp_path / "r", 3, 9) == []
    monkeypatch.setattr(Disk, "read", failing(errno.EMFILE))
    with pytest.raises(OSError, match="Too many open files"):
        read_range(tmp_path / "r", 3, 9)
