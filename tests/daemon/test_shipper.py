"""What the way upstream makes of answers that are no answers, and of disks that cannot be read."""

from __future__ import annotations

import errno
import os

import anyio
import grpc
import pytest

from harness.in_process import daemon_parts, make_folder, offer_all
from harness.memory_upstream import MemoryUpstream
from kelt.checked_json import decode_checked, encode_checked
from kelt.journal.files import Disk
from kelt.journal.spool import InternedSchema, SpoolWriter
from kelt_daemon import cursor_saving
from kelt_daemon.cursors import read_cursors
from kelt_daemon.liveness import Phase
from kelt_daemon.spool_import import read_range
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.record_pb2 import Exit
from kelt_proto.v1.rows import ColumnKind, Schema

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


def make_rows(spool: SpoolWriter, count: int) -> int:
    schema = InternedSchema(Schema(1, ("value",), (ColumnKind.FLOAT,)))
    for _ in range(count):
        assert spool.append_row(schema, 0, spool.step_max + 1, 0.0, 0.0, (0.5,))
    return count


class Held(MemoryUpstream):
    """Answers a push once it may, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = anyio.Event()
        self.under_way = self.most = 0
        self.asked: list[list[tuple[bytes, int, int]]] = []

    async def Push(self, request, context):  # noqa: N802 # the name in upstream.proto
        self.asked.append([(b.writer_id, b.first_seq, b.last_seq) for b in request.batches])
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.may_answer.wait()
        self.under_way -= 1
        return await super().Push(request, context)


async def test_what_waits_for_a_slot_is_not_read_yet_and_takes_along_what_comes_meanwhile(tmp_path):
    runs = tmp_path / "runs"
    async with Held() as upstream, daemon_parts(runs, pushes_per_upstream_max=1) as parts:
        spools = {n: make_folder(runs / n, upstream.url, 5, ended=False) for n in ("a", "b")}
        for name, spool in spools.items():
            folder = await parts.adopt(runs / name)
            folder.cursor(folder.writer_id).streams += 1
            offer_all(folder, spool)
            parts.committer.submit(folder)
            await parts.until(lambda f=folder: f.durable_records >= 5, "durable")
            await parts.until(lambda: upstream.asked, "the first is on its way")
        waiting = parts.registry.folders[(runs / "b").resolve()]
        later = make_rows(spools["b"], 5)
        offer_all(waiting, spools["b"])
        parts.committer.submit(waiting)
        await parts.until(lambda: waiting.durable_records >= 5 + later, "more is durable")
        assert upstream.most == 1
        upstream.may_answer.set()
        await parts.until(lambda: waiting.committed_records >= 5 + later, "all committed")
        of_b = [push for push in upstream.asked if push[0][0] == waiting.writer_id]
        assert len(of_b) == 1
        for spool in spools.values():
            spool.close()


async def test_what_little_a_living_run_logs_travels_together_until_it_says_goodbye(tmp_path):
    runs, interval_s = tmp_path / "runs", 0.5
    async with Held() as upstream, daemon_parts(runs, push_interval_s=interval_s) as parts:
        upstream.may_answer.set()
        spool = make_folder(runs / "r", upstream.url, 1, ended=False)
        folder = await parts.adopt(runs / "r")
        folder.cursor(folder.writer_id).streams += 1
        began_s = anyio.current_time()
        for _ in range(30):
            make_rows(spool, 1)
            offer_all(folder, spool)
            parts.committer.submit(folder)
            await anyio.sleep(0.03)
        await parts.until(lambda: folder.committed_records == 31, "all committed")
        assert len(upstream.asked) <= (anyio.current_time() - began_s) / interval_s + 2
        spool.append_control(Kind.EXIT, Exit(at=1.0).SerializeToString())
        offer_all(folder, spool)
        parts.committer.submit(folder)
        asked_s = anyio.current_time()
        await parts.until(lambda: len(upstream.asked[-1]) and folder.committed_records >= 32, "end")
        assert folder.goodbye is not None
        assert anyio.current_time() - asked_s < 20
        spool.close()


async def test_a_run_in_which_nothing_is_left_to_do_is_not_minded_after_a_new_start(tmp_path):
    runs = tmp_path / "runs"
    async with MemoryUpstream() as upstream:
        make_folder(runs / "r", upstream.url, 9, pid=0, pid_start_ticks=1).close()
        async with daemon_parts(runs) as parts:
            folder = await parts.adopt(runs / "r")
            await parts.until(lambda: folder in {*parts.registry.settled()}, "all done")
            assert folder.is_committed
        # Without the note of how it ended, its goodbye in the journal tells.
        cursors = runs / "r" / "cursors.json"
        noted = decode_checked(cursors.read_bytes(), is_required=False)
        assert noted.pop("ended") is not None
        cursors.write_bytes(encode_checked(noted | {"ended": None}))
        async with daemon_parts(runs) as parts:
            folder = await parts.adopt(runs / "r")
            assert [*parts.registry.settled()] == [folder]
            assert folder.life.phase is Phase.FINISHED
            assert folder.is_over
            # Asked for again, it is looked after again.
            parts.registry.release(folder)
            assert [*parts.registry.settled()] == []
            await parts.until(lambda: not folder.is_unconfirmed, "confirmed")


async def test_how_far_a_living_run_is_committed_is_written_now_and_then_and_once_it_is_quiet(
    tmp_path, monkeypatch
):
    written = []
    write = cursor_saving.write_cursors
    monkeypatch.setattr(
        cursor_saving, "write_cursors", lambda *a, **k: (written.append(1), write(*a, **k))
    )
    bounds = {"cursors_save_interval_s": 1.0, "push_interval_s": 0.0}
    async with MemoryUpstream() as upstream, daemon_parts(tmp_path / "runs", **bounds) as parts:
        spool = make_folder(tmp_path / "runs" / "r", upstream.url, 0, ended=False)
        folder = await parts.adopt(tmp_path / "runs" / "r")
        schema = InternedSchema(Schema(1, ("value",), (ColumnKind.FLOAT,)))
        for i in range(30):
            spool.append_row(schema, 0, i, 0.0, 0.0, (0.5,))
            offer_all(folder, spool)
            parts.committer.submit(folder)
            seq = i + 1
            await parts.until(lambda seq=seq: folder.committed_records == seq, "committed")
        while_busy = len(written)
        assert while_busy < 15
        await parts.until(
            lambda: read_cursors(folder.home).committed[folder.writer_id] == 30, "written"
        )
        assert len(written) <= while_busy + 1
        spool.close()
