"""What is sent in the place of records that the journal does not yield."""

from __future__ import annotations

import pytest

from harness.in_process import daemon_parts, make_folder
from kelt_daemon.batch import Outgoing
from kelt_daemon.missing_records import beyond_journal, filled
from kelt_proto.v1.frames import Kind, iter_frames
from kelt_proto.v1.record_pb2 import Loss

pytestmark = pytest.mark.asyncio
NOWHERE = "http://127.0.0.1:9"


def ranges(batches):
    return [(batch.first_seq, batch.last_seq) for batch in batches]


def loss_in(batch):
    (frame,) = iter_frames(memoryview(batch.frames))
    assert frame.kind == Kind.LOSS
    return Loss.FromString(bytes(frame.payload))


async def test_what_the_spool_still_has_is_taken_from_it_and_only_the_rest_is_said_to_be_lost(
    tmp_path,
):
    spool = make_folder(tmp_path / "runs" / "r", NOWHERE, 9, ended=False)
    async with daemon_parts(tmp_path / "runs") as parts:
        folder = await parts.adopt(tmp_path / "runs" / "r")
        batches = [Outgoing(spool.writer_id, 4, 20, None)]
        found, lost = filled(batches, folder=folder, markers={})
    assert ranges([found, lost]) == [(4, 9), (10, 20)]
    assert len([f for f in iter_frames(memoryview(found.frames)) if f.seq]) == 6
    said = loss_in(lost)
    assert (said.first_seq, said.last_seq, said.rows) == (10, 20, 11)
    assert said.reason == "damaged in the journal on the run's host"


async def test_records_that_retention_deleted_are_not_said_to_be_damaged(tmp_path):
    spool = make_folder(tmp_path / "runs" / "r", NOWHERE, 0, ended=False)
    async with daemon_parts(tmp_path / "runs") as parts:
        folder = await parts.adopt(tmp_path / "runs" / "r")
        folder.cursors.trimmed[spool.writer_id] = 7
        (deleted,) = filled([Outgoing(spool.writer_id, 1, 7, None)], folder=folder, markers={})
        (damaged,) = filled([Outgoing(spool.writer_id, 1, 8, None)], folder=folder, markers={})
    assert "another server" in loss_in(deleted).reason
    assert "damaged" in loss_in(damaged).reason


async def test_what_the_daemon_itself_wrote_is_looked_for_in_no_spool(tmp_path):
    make_folder(tmp_path / "runs" / "r", NOWHERE, 9, ended=False)
    async with daemon_parts(tmp_path / "runs") as parts:
        folder = await parts.adopt(tmp_path / "runs" / "r")
        (lost,) = filled([Outgoing(folder.witness_id, 1, 2, None)], folder=folder, markers={})
    assert loss_in(lost).last_seq == 2


async def test_beyond_the_journal_is_what_is_durable_and_was_not_sent_of_each_writer(tmp_path):
    spool = make_folder(tmp_path / "runs" / "r", NOWHERE, 9, ended=False)
    async with daemon_parts(tmp_path / "runs") as parts:
        folder = await parts.adopt(tmp_path / "runs" / "r")
        folder.cursor(spool.writer_id).durable = 9
        folder.cursor(folder.witness_id).durable = 2
        push = beyond_journal(folder, {spool.writer_id: 5, folder.witness_id: 2})
    assert push.batches == [Outgoing(spool.writer_id, 6, 9, None)]
    assert push.sent_through == {spool.writer_id: 9, folder.witness_id: 2}
