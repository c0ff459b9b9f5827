"""What the commit loop lets in, and that one folder harms no other there."""

from __future__ import annotations

import anyio
import pytest

from harness.in_process import daemon_parts, make_folder, offer_all

NOWHERE = "http://127.0.0.1:9"
MIB = 1 << 20

pytestmark = pytest.mark.asyncio


async def test_spools_of_many_dead_runs_are_not_all_read_at_once_while_the_disk_is_slow(tmp_path):
    runs = tmp_path / "runs"
    for i in range(12):
        make_folder(runs / f"r{i}", NOWHERE, 8000, pid=0, pid_start_ticks=1).close()
    spool_bytes = 8000 * 64
    release = anyio.Event()
    bounds = {"imports_max": 2, "unsynced_total_bytes_max": spool_bytes}
    async with daemon_parts(runs, **bounds) as parts:
        run_in_thread = parts.committer._in_thread

        async def slow(work, /, *args):
            await release.wait()
            return await run_in_thread(work, *args)

        parts.committer._in_thread = slow
        reading = parts.registry._minder._reading
        holders = (object(), object())
        for holder in holders:
            await reading.acquire_on_behalf_of(holder)
        await parts.registry.rescan()
        await parts.until(lambda: reading.statistics().tasks_waiting == 12, "all want to read")
        for holder in holders:
            reading.release_on_behalf_of(holder)

        def is_quiet() -> bool:
            seen = reading.statistics()
            is_met = parts.committer.unsynced_bytes > spool_bytes
            return is_met and not (seen.borrowed_tokens or seen.tasks_waiting)

        try:
            await parts.until(is_quiet, "the bound is met, and nobody reads any more")
            assert parts.committer.unsynced_bytes <= (1 + 2) * spool_bytes + MIB
        finally:
            release.set()
        folders = parts.registry.folders.values()
        await parts.until(
            lambda: all(f.is_over and f.durable_records >= 8001 for f in folders), "all read"
        )


async def test_a_writer_whose_journal_fails_is_not_read_on_and_the_others_are(tmp_path):
    async with daemon_parts(
        tmp_path / "runs", broken_retry_s_min=0.5, no_room_retry_s=0.5
    ) as parts:
        full = make_folder(tmp_path / "runs" / "full", NOWHERE, 10)
        fine = make_folder(tmp_path / "runs" / "fine", NOWHERE, 10)
        stuck = await parts.adopt(tmp_path / "runs" / "full")
        other = await parts.adopt(tmp_path / "runs" / "fine")
        parts.disk.is_full = True
        offer_all(stuck, full)
        parts.committer.submit(stuck)
        await parts.until(lambda: stuck.journal_problem, "said")
        assert not parts.committer.has_room(stuck, full.writer_id)
        assert parts.committer.has_room(other, fine.writer_id)
        parts.disk.is_full = False
        await parts.until(lambda: stuck.durable_records == 11, "goes on by itself")
        assert parts.committer.has_room(stuck, full.writer_id)


@pytest.mark.parametrize("is_near_quota", [False, True])
async def test_journals_are_synced_several_at_a_time_and_one_by_one_near_the_quota(
    tmp_path, is_near_quota
):
    runs = tmp_path / "runs"
    bounds = {"commit_threads_max": 3, "group_interval_s": 0.2}
    async with daemon_parts(runs, **bounds) as parts:
        spools = [make_folder(runs / f"r{i}", NOWHERE, 10) for i in range(9)]
        folders = [await parts.adopt(runs / f"r{i}") for i in range(9)]
        await parts.until(lambda: parts.committer.is_idle, "at rest")
        run_in_thread = parts.committer._in_thread
        under_way = [0]

        async def counted(work, /, *args):
            under_way.append(under_way[-1] + 1)
            await anyio.sleep(0.01)
            done = await run_in_thread(work, *args)
            under_way.append(under_way[-1] - 1)
            return done

        parts.committer._in_thread = counted
        if is_near_quota:
            parts.committer.quota.usage.add(parts.committer.quota.limit_bytes)
        for folder, spool in zip(folders, spools, strict=True):
            offer_all(folder, spool)
            parts.committer.submit(folder)
        await parts.until(lambda: all(f.durable_records >= 11 for f in folders), "all durable")
        assert max(under_way) == (1 if is_near_quota else 3)
        for spool in spools:
            spool.close()
