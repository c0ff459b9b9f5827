"""All run folders together: what fails in one of them, or comes and goes, harms nothing else."""

from __future__ import annotations

import errno
import os

import anyio
import pytest

import kelt_daemon.retention
import kelt_daemon.run_scan
from harness.in_process import daemon_parts, make_folder
from harness.memory_upstream import MemoryUpstream
from kelt.run_folder import WHOLE_NAME

NOWHERE = "http://127.0.0.1:9"

pytestmark = pytest.mark.asyncio


def too_many_files(_path):
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.covers(phase="recovery", fault="EMFILE/OOM")
async def test_folders_that_cannot_be_looked_at_end_nothing_and_are_looked_at_later(
    tmp_path, monkeypatch
):
    runs = tmp_path / "runs"
    async with MemoryUpstream() as upstream, daemon_parts(runs) as parts:
        spool = make_folder(runs / "r", upstream.url, 50, pid=0, pid_start_ticks=1)
        spool.close()
        with monkeypatch.context() as patch:
            patch.setattr(kelt_daemon.run_scan, "spool_signature", too_many_files)
            folder = await parts.adopt(runs / "r")
            await parts.until(lambda: folder in parts.registry.settled(), "settled")
            await parts.registry.rescan()
        await parts.registry.rescan()
        await parts.until(lambda: folder in parts.registry.settled(), "settled again")
        assert upstream.cursors[spool.writer_id] == 51
        assert upstream.violations == []


async def test_a_parked_folder_that_was_removed_is_not_asked_after(tmp_path):
    runs = tmp_path / "runs"
    async with daemon_parts(runs) as parts:
        make_folder(runs / "r", NOWHERE, 1, pid=0, pid_start_ticks=1).close()
        (runs / "r" / "run.json").write_text("{")
        await parts.registry.rescan()
        assert list(parts.registry.parked) == [runs / "r"]
        (runs / "r").rename(tmp_path / "elsewhere")
        await parts.registry.rescan()
        assert parts.registry.parked == {}


async def test_a_folder_that_cannot_be_loaded_counts_nothing_however_often_it_is_tried(tmp_path):
    runs = tmp_path / "runs"
    async with daemon_parts(runs) as parts:
        make_folder(runs / "r", NOWHERE, 9000, pid=0, pid_start_ticks=1).close()
        folder = await parts.adopt(runs / "r")
        await parts.until(lambda: folder.is_over and folder.durable_records == 9001, "read")
        used_bytes = parts.committer.quota.usage.used_bytes
        assert len(folder.journal.segments) > 1
    async with daemon_parts(runs) as parts:
        usage = parts.committer.quota.usage
        parts.disk.is_full = True  # the sync at start fails, and there is no room to write anew

        def bad_sync(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        parts.disk.sync_file = bad_sync
        for _ in range(3):
            with pytest.raises(Exception, match="cannot be used now"):
                await parts.adopt(runs / "r")
        assert usage.used_bytes == 0
        parts.disk.is_full = False
        del parts.disk.sync_file
        folder = await parts.adopt(runs / "r")
        assert usage.used_bytes == folder.journal.used_bytes == used_bytes


@pytest.mark.covers(phase="recovery", fault="bit flip")
async def test_the_damaged_end_of_a_copy_is_waited_for_then_told_and_no_journal_stays_open(
    tmp_path,
):
    runs = tmp_path / "runs"
    async with MemoryUpstream() as upstream:
        make_folder(runs / "r", upstream.url, 500, ended=False, machine_id="another").close()
        spool = runs / "r" / "spool-000001.kelt"
        data = bytearray(spool.read_bytes())
        data[-66] ^= 0xFF  # in the last record
        spool.write_bytes(data)
        async with daemon_parts(runs, missing_settle_s=1.0) as parts:
            folder = await parts.adopt(runs / "r")
            await parts.until(lambda: folder in parts.registry.settled(), "read as far as it goes")
            assert "spool-000001.kelt" in folder.incomplete
            assert folder.told_losses == set()
            with anyio.fail_after(60):
                while not (folder.told_losses and folder.is_over):
                    await parts.registry.rescan()
                    await anyio.sleep(0.02)
            assert folder.incomplete == ""
            await parts.until(lambda: folder.durable_records == 500, "499 rows and the loss")
            assert folder.journal.open_number == 0


async def test_a_copy_is_watched_for_more_unless_its_maker_said_that_it_is_whole(tmp_path):
    runs = tmp_path / "runs"
    async with MemoryUpstream() as upstream, daemon_parts(runs, settle_s=3600) as parts:
        for name in ("half", "whole"):
            make_folder(runs / name, upstream.url, 50, machine_id="another").close()
        (runs / "whole" / WHOLE_NAME).touch()
        half, whole = [await parts.adopt(runs / name) for name in ("half", "whole")]
        await parts.until(lambda: whole in parts.registry.settled(), "settled")
        await parts.until(lambda: half.durable_records == 51, "read as far as it goes")
        assert not half.is_over


async def test_what_an_upstream_lacks_again_is_kept_though_it_was_about_to_be_deleted(
    tmp_path, monkeypatch
):
    runs = tmp_path / "runs"
    bounds = {"retention_age_s": 0.0, "retention_bytes": 0}
    async with MemoryUpstream() as upstream, daemon_parts(runs, **bounds) as parts:
        for name in ("a", "b"):
            make_folder(runs / name, upstream.url, 50, pid=0, pid_start_ticks=1).close()
        folders = [await parts.adopt(runs / name) for name in ("a", "b")]
        for folder in folders:
            await parts.until(lambda f=folder: f in parts.registry.settled(), "settled")
        drop = kelt_daemon.retention._drop
        dropped = []

        def drop_while_the_other_is_sent_elsewhere(folder, segments):
            dropped.append(folder)
            for other in folders:
                if other is not folder:
                    other.replace_committed("another", {})
            drop(folder, segments)

        monkeypatch.setattr(kelt_daemon.retention, "_drop", drop_while_the_other_is_sent_elsewhere)
        await kelt_daemon.retention.Retention(registry=parts.registry, config=parts.config).trim()
        assert len(dropped) == 1
        (kept,) = [f for f in folders if f not in dropped]
        assert list(kept.path.glob("journal-*"))


async def test_who_only_notices_a_folder_does_not_undo_that_somebody_asked_for_it(tmp_path):
    """Else what was sent since would count as what the upstream had before."""
    runs = tmp_path / "runs"
    async with daemon_parts(runs) as parts:
        make_folder(runs / "r", NOWHERE, 5, pid=0, pid_start_ticks=1).close()
        folder = await parts.registry.adopt(runs / "r", is_asked=True)
        await parts.adopt(runs / "r")
        assert folder.is_asked
        await parts.registry.adopt(runs / "r", is_asked=True)  # by another, who wants to know anew
        assert not folder.is_asked
