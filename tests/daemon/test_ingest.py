"""What a writer's stream is told, and when."""

from __future__ import annotations

import zlib
from contextlib import asynccontextmanager

import anyio
import pytest

from harness.in_process import daemon_parts, make_folder
from harness.memory_upstream import MemoryUpstream
from kelt.journal.batches import BatchCutter
from kelt.journal.sealing import Sealer
from kelt.journal.spool import InternedSchema
from kelt_proto.v1.frames import Kind
from kelt_proto.v1.record_pb2 import Batch, Exit
from kelt_proto.v1.rows import ColumnKind, Schema
from kelt_proto.v1.sidecar_pb2 import AppendRequest, OpenWriter

SCHEMA = InternedSchema(Schema(1, ("value",), (ColumnKind.FLOAT,)))
NEVER_S = 3600.0
pytestmark = pytest.mark.asyncio


class Trainer:
    """One writer and its stream."""

    def __init__(self, parts, folder, spool, requests) -> None:
        self.replies: list = []
        self.folder = None
        self._parts, self._path, self._spool, self._requests = parts, folder, spool, requests
        self._sealer = Sealer(spool=spool, cutter=BatchCutter())

    async def open(self) -> None:
        opening = OpenWriter(run_folder=str(self._path), writer_id=self._spool.writer_id)
        await self._requests.send(AppendRequest(open=opening))
        await self._parts.until(lambda: self.replies, "greeted")
        self.folder = self._parts.registry.folders[self._path.resolve()]

    async def hear(self, reply) -> None:
        self.replies.append(reply)

    async def log(self, rows: int) -> int:
        """Logs rows and sends them; returns the last record's number."""
        for _ in range(rows):
            self._spool.append_row(SCHEMA, 0, self._spool.step_max + 1, 0.0, 0.0, (0.5,))
        return await self._send()

    async def say_goodbye(self) -> int:
        self._spool.append_control(Kind.EXIT, Exit(at=1.0).SerializeToString())
        return await self._send()

    async def _send(self) -> int:
        last_seq = 0
        for cut in self._sealer.batches():
            batch = Batch(
                writer_id=self._spool.writer_id, first_seq=cut.first_seq, last_seq=cut.last_seq,
                crc32=zlib.crc32(cut.frames), frames=cut.frames,
            )  # fmt: skip
            await self._requests.send(AppendRequest(batch=batch))
            last_seq = cut.last_seq
        return last_seq

    async def until_committed(self, seq: int) -> None:
        """Until the daemon knows it, and has had turns enough to tell."""
        cursor = self.folder.cursor(self._spool.writer_id)
        await self._parts.until(lambda: cursor.committed >= seq, "committed")
        for _ in range(100):
            await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def trainer_of(tmp_path, upstream, **config):
    async with daemon_parts(tmp_path / "runs", **config) as parts:
        link = parts.registry.links.connected(upstream.url)
        await parts.until(lambda: link.is_ready, "the upstream is there")
        spool = make_folder(tmp_path / "runs" / "r", upstream.url, 0, ended=False)
        send, receive = anyio.create_memory_object_stream(10)
        trainer = Trainer(parts, tmp_path / "runs" / "r", spool, send)
        async with send, receive, anyio.create_task_group() as tasks:
            tasks.start_soon(parts.ingest.append, receive, trainer.hear)
            await trainer.open()
            yield parts, trainer
            send.close()
        spool.close()


async def test_what_was_only_committed_is_told_with_what_becomes_durable_next(tmp_path):
    async with (
        MemoryUpstream() as upstream,
        trainer_of(tmp_path, upstream, committed_reply_s=NEVER_S) as (parts, trainer),
    ):
        first = await trainer.log(3)
        await trainer.until_committed(first)
        told = trainer.replies[-1]
        assert (told.durable_through, told.committed_through) == (first, 0)
        second = await trainer.log(3)
        await parts.until(lambda: trainer.replies[-1].durable_through == second, "durable")
        assert trainer.replies[-1].committed_through >= first


async def test_after_the_goodbye_it_is_told_at_once_what_was_committed(tmp_path):
    async with (
        MemoryUpstream() as upstream,
        trainer_of(tmp_path, upstream, committed_reply_s=NEVER_S) as (parts, trainer),
    ):
        await trainer.log(3)
        last = await trainer.say_goodbye()
        await parts.until(lambda: trainer.replies[-1].committed_through == last, "told")


async def test_what_was_only_committed_is_told_by_itself_once_the_wait_is_over(tmp_path):
    async with (
        MemoryUpstream() as upstream,
        trainer_of(tmp_path, upstream, committed_reply_s=0.05) as (parts, trainer),
    ):
        last = await trainer.log(3)
        await parts.until(lambda: trainer.replies[-1].committed_through == last, "told")


async def test_a_repeat_is_answered_at_once_although_nothing_changed(tmp_path):
    async with (
        MemoryUpstream() as upstream,
        trainer_of(tmp_path, upstream, committed_reply_s=NEVER_S) as (parts, trainer),
    ):
        last = await trainer.log(3)
        await parts.until(lambda: trainer.replies[-1].durable_through == last, "durable")
        before = len(trainer.replies)
        repeat = Batch(writer_id=trainer.folder.writer_id, first_seq=1, last_seq=last)
        await trainer._requests.send(AppendRequest(batch=repeat))
        await parts.until(lambda: len(trainer.replies) > before, "answered")
        assert trainer.replies[-1].durable_through == last
