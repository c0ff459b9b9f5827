"""Run folders under care: failing disks, damage, retention, life."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.in_process import daemon_parts, make_folder
from harness.memory_upstream import MemoryUpstream
from kelt.journal.batches import BatchCutter
from kelt.journal.sealing import Sealer
from kelt.state_dir import StateDir
from kelt_daemon.control import Control
from kelt_daemon.cursors import Cursors, read_cursors, take_witness_id, write_cursors
from kelt_daemon.errors import FolderProblemError
from kelt_daemon.liveness import Phase
from kelt_daemon.retention import Retention
from kelt_daemon.run_folders import Offer
from kelt_daemon.upstream.wandb.file_room import FileRoom
from kelt_proto.v1.record_pb2 import Assertion
from kelt_proto.v1.sidecar_pb2 import SyncRequest

pytestmark = pytest.mark.asyncio
NOWHERE = "http://127.0.0.1:9"


def batches(spool):
    return list(Sealer(spool=spool, cutter=BatchCutter(batch_bytes_max=1024)).batches())


async def test_a_repeat_is_known_a_gap_is_told_and_a_batch_that_follows_is_taken(tmp_path):
    async with daemon_parts(tmp_path / "runs") as parts:
        spool = make_folder(tmp_path / "runs" / "r", NOWHERE, 100)
        folder = await parts.adopt(tmp_path / "runs" / "r")
        cuts = batches(spool)
        offers = [
            folder.offer(spool.writer_id, c.first_seq, c.last_seq, c.frames)
            for c in (cuts[0], cuts[0], cuts[2], cuts[1], cuts[2])
        ]
        assert offers == [Offer.TAKEN, Offer.DUPLICATE, Offer.GAP, Offer.TAKEN, Offer.TAKEN]


async def test_a_sender_that_has_lost_what_is_asked_for_is_taken_at_its_third_word(tmp_path):
    async with MemoryUpstream() as upstream, daemon_parts(tmp_path / "runs") as parts:
        spool = make_folder(tmp_path / "runs" / "r", upstream.url, 100)
        folder = await parts.adopt(tmp_path / "runs" / "r")
        cuts = batches(spool)
        for path in folder.path.glob("spool-*"):
            path.unlink()
        offers = []
        # Each time it sends all that it has, so later batches come in between.
        for cut in (cuts[0], cuts[2], cuts[3], cuts[2], cuts[3], cuts[2], cuts[3]):
            offers.append(folder.offer(spool.writer_id, cut.first_seq, cut.last_seq, cut.frames))
            parts.committer.submit(folder)
        assert offers == [Offer.TAKEN, *[Offer.GAP] * 4, Offer.TAKEN, Offer.TAKEN]
        await parts.until(lambda: folder.committed_records == cuts[3].last_seq, "committed")
        (loss,) = upstream.losses(spool.writer_id)
        assert (loss.first_seq, loss.last_seq) == (cuts[1].first_seq, cuts[1].last_seq)


@pytest.mark.covers(phase="journal_append", fault="ENOSPC")
async def test_a_full_disk_acknowledges_nothing_is_said_and_heals_by_itself(tmp_path):
    async with MemoryUpstream() as upstream, daemon_parts(tmp_path / "runs") as parts:
        spool = make_folder(tmp_path / "runs" / "r", upstream.url, 500)
        folder = await parts.adopt(tmp_path / "runs" / "r")
        parts.disk.is_full = True
        for cut in batches(spool):
            folder.offer(spool.writer_id, cut.first_seq, cut.last_seq, cut.frames)
        parts.committer.submit(folder)
        await parts.until(lambda: folder.journal_problem, "said")
        assert "Free some space" in folder.journal_problem
        assert folder.durable_records == 0
        parts.disk.is_full = False
        await parts.until(lambda: folder.committed_records == 501, "committed")
        assert folder.journal_problem == ""
        assert upstream.violations == []
        assert len(upstream.row_values(spool.writer_id)) == 500


@pytest.mark.parametrize("is_mended", [True, False])
async def test_a_sync_fails_by_a_full_disk_only_if_it_still_is_full(tmp_path, is_mended):
    async with MemoryUpstream() as upstream, daemon_parts(tmp_path / "runs") as parts:
        spool = make_folder(tmp_path / "runs" / "r", upstream.url, 500, pid=0)
        spool.close()
        folder = await parts.adopt(tmp_path / "runs" / "r")
        parts.disk.is_full = True
        await parts.until(lambda: folder.journal_problem, "said")
        control = Control(
            registry=parts.registry,
            state_dir=StateDir(tmp_path),
            started_at=0.0,
            config=replace(parts.config, sync_report_interval_s=0.01),
            room=FileRoom(limit_bytes=0),
        )
        reports = []
        with anyio.fail_after(60):
            async for reply in control.sync(SyncRequest(paths=[str(folder.path)])):
                reports.extend(reply.folders)
                parts.disk.is_full = not is_mended
    assert reports[-1].is_synced is is_mended
    assert ("Free some space" in reports[-1].error) is not is_mended


@pytest.mark.covers(phase="fdatasync", fault="EIO")
async def test_a_disk_that_fails_twice_is_degraded_and_nothing_is_lost(tmp_path):
    async with MemoryUpstream() as upstream, daemon_parts(tmp_path / "runs") as parts:
        spool = make_folder(tmp_path / "runs" / "r", upstream.url, 500)
        folder = await parts.adopt(tmp_path / "runs" / "r")
        for nth in (1, 2, 3):
            parts.disk.fail("sync", nth)
        for cut in batches(spool):
            folder.offer(spool.writer_id, cut.first_seq, cut.last_seq, cut.frames)
        parts.committer.submit(folder)
        await parts.until(lambda: "Check the disk" in folder.journal_problem, "said")
        await parts.until(lambda: folder.committed_records == 501, "committed")
        assert upstream.losses(spool.writer_id) == []
        assert len(upstream.row_values(spool.writer_id)) == 500


async def test_a_folder_found_while_the_disk_is_full_is_taken_when_there_is_room(tmp_path):
    async with daemon_parts(tmp_path / "runs") as parts:
        make_folder(tmp_path / "runs" / "r", NOWHERE, 50, pid=0, pid_start_ticks=1).close()
        parts.disk.is_full = True
        await parts.registry.rescan()
        (reason,) = parts.registry.parked.values()
        assert "No space left" in reason
        assert "tried again" in reason
        parts.disk.is_full = False
        with anyio.fail_after(60):
            while not parts.registry.folders:
                await anyio.sleep(0.02)
                await parts.registry.rescan()
        (folder,) = parts.registry.folders.values()
        await parts.until(lambda: folder.durable_records >= 51, "durable")
        assert parts.registry.parked == {}


@pytest.mark.covers(phase="journal_append", fault="ENOSPC")
async def test_a_full_disk_of_one_folder_does_not_hold_up_another(tmp_path):
    async with MemoryUpstream() as upstream, daemon_parts(tmp_path / "runs") as parts:
        full = make_folder(tmp_path / "runs" / "full", upstream.url, 5)
        fine = make_folder(tmp_path / "runs" / "fine", upstream.url, 5)
        first = await parts.adopt(tmp_path / "runs" / "full")
        parts.disk.is_full = True
        (cut,) = batches(full)
        first.offer(full.writer_id, cut.first_seq, cut.last_seq, cut.frames)
        parts.committer.submit(first)
        await parts.until(lambda: first.journal_problem, "full")
        parts.disk.is_full = False
        second = await parts.adopt(tmp_path / "runs" / "fine")
        (cut,) = batches(fine)
        second.offer(fine.writer_id, cut.first_seq, cut.last_seq, cut.frames)
        parts.committer.submit(second)
        await parts.until(lambda: second.committed_records == 6, "committed")


async def test_a_stream_is_not_read_beyond_the_bound_while_the_disk_is_full(tmp_path):
    async with daemon_parts(tmp_path / "runs", unsynced_writer_bytes_max=1000) as parts:
        spool = make_folder(tmp_path / "runs" / "r", NOWHERE, 100)
        folder = await parts.adopt(tmp_path / "runs" / "r")
        parts.disk.is_full = True
        taken = 0
        with anyio.move_on_after(0.5):
            for cut in batches(spool):
                folder.offer(spool.writer_id, cut.first_seq, cut.last_seq, cut.frames)
                parts.committer.submit(folder)
                taken += 1
                await parts.committer.wait_room(folder, spool.writer_id)
        assert taken == 2
        parts.disk.is_full = False
        with anyio.fail_after(60):
            await parts.committer.wait_room(folder, spool.writer_id)


async def test_a_trainer_that_stands_still_is_stalled_and_heartbeats_say_so(tmp_path):
    async with (
        MemoryUpstream() as upstream,
        daemon_parts(tmp_path / "runs", stalled_after_s=0.3) as parts,
    ):
        spool = make_folder(tmp_path / "runs" / "r", upstream.url, 5, ended=False)
        folder = await parts.adopt(tmp_path / "runs" / "r")
        for cut in batches(spool):
            folder.offer(spool.writer_id, cut.first_seq, cut.last_seq, cut.frames)
        parts.committer.submit(folder)
        await parts.until(lambda: folder.life.phase is Phase.STALLED, "stalled")
        await parts.until(
            lambda: upstream.beats and upstream.beats[-1] == {spool.writer_id: True}, "told"
        )
        spool.beat()
        await parts.until(lambda: folder.life.phase is Phase.RUNNING, "running again")
        await parts.until(
            lambda: (
                [a.state for a in upstream.assertions(spool.writer_id)]
                == [Assertion.STALLED, Assertion.RUNNING]
            ),
            "both asserted",
        )


async def test_what_retention_deletes_is_remembered_and_not_sent_again(tmp_path):
    runs = tmp_path / "runs"
    async with MemoryUpstream() as upstream:
        async with daemon_parts(runs, retention_age_s=0.0) as parts:
            make_folder(runs / "r", upstream.url, 300, pid=0, pid_start_ticks=1).close()
            folder = await parts.adopt(runs / "r")
            await parts.until(lambda: folder.is_over and folder.committed_records == 301, "done")
            await Retention(registry=parts.registry, config=parts.config).trim()
            assert not list(folder.path.glob("journal-*"))
            assert not list(folder.path.glob("spool-*"))
        pushes = upstream.pushes
        async with daemon_parts(runs) as parts:
            folder = await parts.adopt(runs / "r")
            await parts.until(lambda: folder.is_over, "settled")
            assert folder.life.phase is Phase.FINISHED
            assert (folder.durable_records, folder.committed_records) == (301, 301)
        assert upstream.pushes == pushes


async def test_retention_deletes_nothing_that_is_not_committed(tmp_path):
    runs = tmp_path / "runs"
    async with daemon_parts(runs, retention_age_s=0.0, retention_bytes=0) as parts:
        make_folder(runs / "r", NOWHERE, 300, pid=0, pid_start_ticks=1).close()
        folder = await parts.adopt(runs / "r")
        await parts.until(lambda: folder.durable_records == 301, "durable")
        await Retention(registry=parts.registry, config=parts.config).trim()
        assert list(folder.path.glob("journal-*"))


async def test_a_server_that_wants_more_than_is_still_held_gets_a_loss_and_no_loop(tmp_path):
    runs = tmp_path / "runs"
    first = MemoryUpstream()
    async with first, daemon_parts(runs, retention_age_s=0.0) as parts:
        spool = make_folder(runs / "r", first.url, 5000, ended=False)
        folder = await parts.adopt(runs / "r")
        for cut in batches(spool):
            folder.offer(spool.writer_id, cut.first_seq, cut.last_seq, cut.frames)
        parts.committer.submit(folder)
        await parts.until(lambda: folder.committed_records == 5000, "committed")
        await Retention(registry=parts.registry, config=parts.config).trim()
        left = sorted(folder.journal.segments, key=lambda s: s.number)
        assert left[0].number == 1
        assert len(left) == 2
        (_, last_left) = left[0].ranges[spool.writer_id]
        (first_left, _) = left[1].ranges[spool.writer_id]
    for path in folder.path.glob("spool-*"):
        path.unlink()
    second = MemoryUpstream(
        server_id="another", http_port=first.http_port, grpc_port=first.grpc_port
    )
    async with second, daemon_parts(runs) as parts:
        folder = await parts.adopt(runs / "r")
        parts.registry.links.connected(second.url)
        await parts.until(lambda: second.cursors[spool.writer_id] == 5000, "filled")
        (loss,) = second.losses(spool.writer_id)
        assert (loss.first_seq, loss.last_seq) == (last_left + 1, first_left - 1)
        assert "deleted after" in loss.reason


async def test_a_copy_of_a_folder_has_a_witness_of_its_own(tmp_path):
    here, copy = tmp_path / "a", tmp_path / "b"
    here.mkdir()
    first = take_witness_id(here, machine_id="m")
    assert take_witness_id(here, machine_id="m") == first
    shutil.copytree(here, copy)
    assert take_witness_id(copy, machine_id="m") != first
    assert take_witness_id(here, machine_id="another") != first


@pytest.mark.covers(phase="cursor_save", fault="bit flip")
async def test_cursors_that_cannot_be_read_cost_a_question_and_nothing_else(tmp_path):
    runs = tmp_path / "runs"
    async with MemoryUpstream() as upstream:
        async with daemon_parts(runs) as parts:
            make_folder(runs / "r", upstream.url, 50, pid=0, pid_start_ticks=1).close()
            folder = await parts.adopt(runs / "r")
            await parts.until(lambda: folder.is_over and folder.is_committed, "done")
        (runs / "r" / "cursors.json").write_text('{"server_id": 3')
        assert read_cursors(runs / "r").committed == {}
        async with daemon_parts(runs) as parts:
            folder = await parts.adopt(runs / "r")
            await parts.until(lambda: folder.is_over and folder.committed_records == 51, "done")
        assert upstream.violations == []


NAMES = ["run.json", "spool-000001.kelt", "journal-000001.kelt", "cursors.json", "witness.json"]
PLACES = st.integers(0, 9999)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.sampled_from(NAMES),
    changes=st.lists(st.tuples(PLACES, st.integers(0, 255)), max_size=5),
    length=PLACES,
)
@pytest.mark.covers(phase="recovery", fault="bit flip")
async def test_no_contents_of_a_folder_stop_the_others(tmp_path_factory, name, changes, length):
    runs = tmp_path_factory.mktemp("runs")
    make_folder(runs / "bad", NOWHERE, 50, pid=0, pid_start_ticks=1).close()
    path = runs / "bad" / name
    contents = bytearray(path.read_bytes()) if path.exists() else bytearray(b"KELTJRN1" + bytes(90))
    for place, byte in changes:
        contents[place * len(contents) // 10_000] = byte
    path.write_bytes(contents[: length * (len(contents) + 1) // 10_000])
    make_folder(runs / "good", NOWHERE, 50, pid=0, pid_start_ticks=1).close()
    async with daemon_parts(runs) as parts:
        await parts.registry.rescan()
        good = parts.registry.folders[runs / "good"]
        await parts.until(lambda: good.is_over and good.durable_records == 51, "read")


@pytest.mark.parametrize(
    "changes",
    [
        {"writer_id": "zz"},
        {"writer_id": "00"},
        {"upstream": "ftp://x"},
        {"pid": "1"},
        {"format": 99},
        {"machine_id": None},
    ],
)
async def test_a_manifest_with_wrong_values_parks_its_folder_with_a_sentence(tmp_path, changes):
    runs = tmp_path / "runs"
    make_folder(runs / "r", NOWHERE, 1)
    path = runs / "r" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    async with daemon_parts(runs) as parts:
        with pytest.raises(FolderProblemError, match=r"run\.json"):
            await parts.adopt(runs / "r")
        assert list(parts.registry.parked) == [runs / "r"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
async def test_a_folder_of_another_user_is_refused(tmp_path):
    make_folder(tmp_path / "runs" / "r", NOWHERE, 1)
    os.chown(tmp_path / "runs" / "r", 12345, -1)
    async with daemon_parts(tmp_path / "runs") as parts:
        with pytest.raises(FolderProblemError, match="belongs to somebody else"):
            await parts.adopt(tmp_path / "runs" / "r")


@pytest.mark.covers(phase="batch_build", fault="bit flip")
async def test_a_journal_deleted_under_the_daemon_is_a_loss_and_no_endless_loop(tmp_path):
    upstream = MemoryUpstream()
    async with upstream:
        pass  # chooses the ports
    async with daemon_parts(tmp_path / "runs") as parts:
        spool = make_folder(tmp_path / "runs" / "r", upstream.url, 300, pid=0, pid_start_ticks=1)
        spool.close()
        folder = await parts.adopt(tmp_path / "runs" / "r")
        await parts.until(lambda: folder.is_over and folder.durable_records == 301, "durable")
        for path in folder.path.glob("journal-*"):
            path.unlink()
        async with upstream:
            parts.registry.links.connected(upstream.url).nudge()
            await parts.until(lambda: folder.committed_records == 301, "told")
    (loss,) = upstream.losses(spool.writer_id)
    assert (loss.first_seq, loss.last_seq) == (1, 301)


async def test_the_hint_is_written_by_many_threads_at_once_and_stays_whole(tmp_path):
    def write(server_id: str) -> None:
        for _ in range(100):
            write_cursors(tmp_path, Cursors(server_id=server_id))

    async with anyio.create_task_group() as group:
        for server_id in ("a", "b" * 1000, "c" * 100):
            group.start_soon(anyio.to_thread.run_sync, write, server_id)
    assert read_cursors(tmp_path).server_id[0] in "abc"
    assert [path.name for path in tmp_path.iterdir()] == ["cursors.json"]
