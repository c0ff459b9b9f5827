"""Writers that share a stream: each is opened, told, held and ended by itself."""

from __future__ import annotations

import contextlib
import zlib

import anyio
import anyio.lowlevel
import pytest

from harness.in_process import daemon_parts, make_folder
from kelt.journal.batches import BatchCutter
from kelt.journal.sealing import Sealer
from kelt.journal.spool import InternedSchema
from kelt_daemon.errors import CallRefusedError, Refusal
from kelt_proto.v1 import sidecar_pb2
from kelt_proto.v1.record_pb2 import Batch
from kelt_proto.v1.rows import ColumnKind, Schema

NOWHERE = "http://127.0.0.1:9"

pytestmark = pytest.mark.asyncio


class Caller:
    """The other end of a stream, with what it was told of each writer."""

    def __init__(self) -> None:
        self.said: dict[bytes, sidecar_pb2.AppendReply] = {}
        self.fault: CallRefusedError | None = None
        self.is_reading = True
        self._say, self._hear = anyio.create_memory_object_stream(64)

    async def serve(self, ingest) -> None:
        try:
            with self._hear:
                await ingest.append(self._hear, self._write)
        except CallRefusedError as error:
            self.fault = error

    async def _write(self, reply) -> None:
        if not self.is_reading and self.fault is None:
            await anyio.sleep(0.2)
        self.said[reply.writer_id] = reply

    def open(self, spool, *, is_shared: bool = True) -> None:
        opening = sidecar_pb2.OpenWriter(
            writer_id=spool.writer_id, run_folder=str(spool.folder), is_shared=is_shared
        )
        self._say.send_nowait(sidecar_pb2.AppendRequest(open=opening))

    def send(self, spool, *, is_changed: bool = False) -> None:
        for cut in Sealer(spool=spool, cutter=BatchCutter()).batches():
            batch = Batch(
                writer_id=spool.writer_id, first_seq=cut.first_seq, last_seq=cut.last_seq,
                crc32=zlib.crc32(cut.frames) ^ is_changed, frames=cut.frames,
            )  # fmt: skip
            self._say.send_nowait(sidecar_pb2.AppendRequest(batch=batch))

    def close(self, spool) -> None:
        leave = sidecar_pb2.CloseWriter(writer_id=spool.writer_id)
        self._say.send_nowait(sidecar_pb2.AppendRequest(close=leave))

    def end(self) -> None:
        self._say.close()

    def durable(self, spool) -> int:
        return self.said[spool.writer_id].durable_through if spool.writer_id in self.said else -1

    def end_of(self, spool) -> sidecar_pb2.WriterEnd | None:
        said = self.said.get(spool.writer_id)
        return said.end if said is not None and said.HasField("end") else None


@contextlib.asynccontextmanager
async def stream(tmp_path, names, **config):
    """A daemon's parts, spools of ten rows, and a stream to it."""
    runs = tmp_path / "runs"
    async with daemon_parts(runs, **config) as parts, anyio.create_task_group() as group:
        spools = [make_folder(runs / name, NOWHERE, 10, ended=False) for name in names]
        caller = Caller()
        group.start_soon(caller.serve, parts.ingest)
        yield parts, caller, spools
        caller.end()
        for spool in spools:
            spool.close()


async def test_each_writer_is_told_of_its_own_records_and_what_was_open_is_left_at_the_end(
    tmp_path,
):
    async with stream(tmp_path, ("a", "b")) as (parts, caller, (a, b)):
        caller.open(a)
        await parts.until(lambda: caller.durable(a) == 0, "the first is taken")
        caller.open(b)
        caller.send(a)
        await parts.until(lambda: caller.durable(a) == 10 and caller.durable(b) == 0, "told")
        caller.send(b)
        await parts.until(lambda: caller.durable(b) == 10, "told")
        assert parts.ingest.writers == 2
        caller.end()
        await parts.until(lambda: parts.ingest.writers == 0, "both have left")
        assert caller.fault is None


async def test_a_writer_that_leaves_is_told_when_all_is_durable_and_may_come_again(tmp_path):
    async with stream(tmp_path, ("a", "b")) as (parts, caller, (a, b)):
        caller.open(a)
        caller.open(b)
        await parts.until(lambda: caller.durable(a) == caller.durable(b) == 0, "both are taken")
        caller.send(a)
        caller.close(a)
        await parts.until(lambda: caller.end_of(a) is not None, "it has left")
        assert (caller.durable(a), caller.end_of(a).problem) == (10, "")
        assert parts.ingest.writers == 1
        caller.open(a)
        await parts.until(lambda: caller.end_of(a) is None and caller.durable(a) == 10, "back")
        caller.send(b)
        await parts.until(lambda: caller.durable(b) == 10, "the other was not touched")


async def test_a_folder_that_is_refused_ends_its_writer_alone(tmp_path):
    async with stream(tmp_path, ("a", "b")) as (parts, caller, (a, b)):
        (b.folder / "run.json").write_text("{")
        caller.open(b)
        caller.open(a)
        await parts.until(lambda: caller.end_of(b) is not None, "refused")
        assert "run.json" in caller.end_of(b).problem
        assert not caller.end_of(b).is_passing
        caller.send(b)  # as it may have been under way
        await parts.until(lambda: caller.durable(a) == 0, "the other is taken")
        caller.send(a)
        await parts.until(lambda: caller.durable(a) == 10, "the other goes on")


async def test_a_batch_that_was_changed_on_its_way_ends_its_writer_alone(tmp_path):
    async with stream(tmp_path, ("a", "b")) as (parts, caller, (a, b)):
        caller.open(a)
        caller.open(b)
        await parts.until(lambda: caller.durable(a) == caller.durable(b) == 0, "both are taken")
        caller.send(a, is_changed=True)
        caller.send(b)
        await parts.until(lambda: caller.durable(b) == 10, "the other goes on")
        assert "changed on its way" in caller.end_of(a).problem
        caller.open(a)
        await parts.until(lambda: caller.end_of(a) is None, "it comes again")
        caller.send(a)
        await parts.until(lambda: caller.durable(a) == 10, "it is sent again")


async def test_of_a_writer_whose_journal_fails_nothing_is_taken_and_the_others_go_on(tmp_path):
    quick = {"broken_retry_s_min": 0.5, "no_room_retry_s": 0.5}
    async with stream(tmp_path, ("a", "b"), **quick) as (parts, caller, (a, b)):
        caller.open(a)
        caller.open(b)
        await parts.until(lambda: caller.durable(a) == caller.durable(b) == 0, "both are taken")
        parts.disk.is_full = True
        caller.send(a)
        folder = parts.registry.folders[a.folder]
        await parts.until(lambda: folder.journal_problem, "it failed")
        schema = InternedSchema(Schema(1, ("value",), (ColumnKind.FLOAT,)))
        a.append_row(schema, 0, 10, 0.0, 0.0, (0.5,))
        caller.send(a)
        await parts.until(lambda: folder.cursor(a.writer_id).held_back == 1, "not taken")
        parts.disk.is_full = False
        caller.send(b)
        await parts.until(lambda: caller.durable(b) == 10, "the other goes on")
        await parts.until(lambda: caller.durable(a) == 10, "what was taken is synced by itself")
        caller.send(a)
        await parts.until(lambda: caller.durable(a) == 11, "the rest once it is sent again")
        assert caller.end_of(a) is None


async def test_a_stream_takes_no_more_writers_than_it_says(tmp_path):
    async with stream(tmp_path, ("a", "b", "c"), writers_per_stream_max=2) as (
        parts,
        caller,
        three,
    ):
        for spool in three:
            caller.open(spool)
        await parts.until(lambda: len(caller.said) == 3, "all are answered")
        assert "no place" in caller.end_of(three[2]).problem
        assert caller.end_of(three[2]).is_passing
        assert caller.end_of(three[0]) is caller.end_of(three[1]) is None
        caller.open(three[0])
        await parts.until(lambda: caller.end_of(three[0]) is not None, "answered")
        assert "open already" in caller.end_of(three[0]).problem


@pytest.mark.parametrize("first_is_shared", [True, False])
async def test_a_writer_that_is_not_shared_has_a_stream_for_itself(tmp_path, first_is_shared):
    async with stream(tmp_path, ("a", "b")) as (parts, caller, (a, b)):
        caller.open(a, is_shared=first_is_shared)
        caller.open(b, is_shared=not first_is_shared)
        await parts.until(lambda: caller.fault is not None, "the call is refused")
        assert caller.fault.refusal is Refusal.MISTAKE
        assert "for itself" in str(caller.fault)
        await parts.until(lambda: parts.ingest.writers == 0, "nobody is left")


@pytest.mark.parametrize("notices", [True, False])
async def test_one_that_leaves_while_its_folder_is_still_read_leaves_nothing_behind(
    tmp_path, notices
):
    async with stream(tmp_path, ("a", "b")) as (parts, caller, (a, b)):
        adopt, may_go_on = parts.registry.adopt, anyio.Event()

        async def slow(path):
            if path == a.folder:
                with anyio.CancelScope(shield=not notices):
                    await may_go_on.wait()
            return await adopt(path)

        parts.registry.adopt = slow
        caller.open(a)
        caller.open(b)
        await parts.until(lambda: caller.durable(b) == 0, "the other is taken meanwhile")
        assert parts.ingest.writers == 2
        caller.close(a)
        if notices:
            await parts.until(lambda: parts.ingest.writers == 1, "it has left")
        may_go_on.set()
        await parts.until(lambda: caller.end_of(a) is not None, "it is told")
        assert parts.ingest.writers == 1
        caller.open(a)
        await parts.until(lambda: caller.end_of(a) is None, "and comes again")
        assert caller.durable(a) == 0


async def test_an_error_that_nobody_thought_of_while_a_folder_is_opened_is_its_writers_alone(
    tmp_path,
):
    async with stream(tmp_path, ("a", "b")) as (parts, caller, (a, b)):
        adopt = parts.registry.adopt

        async def failing(path):
            if path == a.folder:
                raise ZeroDivisionError
            return await adopt(path)

        parts.registry.adopt = failing
        caller.open(a)
        caller.open(b)
        await parts.until(lambda: caller.end_of(a) is not None, "refused")
        assert "ZeroDivisionError" in caller.end_of(a).problem
        await parts.until(lambda: caller.durable(b) == 0, "the other is taken")
        assert parts.ingest.writers == 1


async def test_a_caller_that_reads_nothing_or_names_no_writer_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("kelt_daemon.append_stream._ENDS_MAX", 5)
    async with stream(tmp_path, ("a",)) as (parts, caller, (a,)):
        caller.is_reading = False
        for _ in range(20):
            caller.open(a)
            await anyio.lowlevel.checkpoint()
        await parts.until(lambda: caller.fault is not None, "the call is refused")
        assert "not read" in str(caller.fault)
    async with stream(tmp_path / "other", ("a",)) as (parts, caller, (a,)):
        a.writer_id *= 1000
        caller.open(a)
        await parts.until(lambda: caller.fault is not None, "the call is refused")
        assert caller.fault.refusal is Refusal.MISTAKE


async def test_a_stream_does_not_end_in_the_middle_of_a_reply(tmp_path, monkeypatch):
    begun, written = [], []

    async def slow(_caller, reply):
        begun.append(reply)
        await anyio.sleep(0.2)
        written.append(reply)

    monkeypatch.setattr(Caller, "_write", slow)
    async with stream(tmp_path, ("a",)) as (parts, caller, (a,)):
        caller.open(a, is_shared=False)
        caller.send(a, is_changed=True)
        await parts.until(lambda: caller.fault is not None, "it has ended")
    assert "changed on its way" in str(caller.fault)
    assert begun == written
    assert len(written) == 2  # where it stands, when it begins and at the end
