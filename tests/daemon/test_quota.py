"""What all journals may take together."""

from __future__ import annotations

import pytest

from harness.in_process import daemon_parts, make_folder
from harness.memory_upstream import MemoryUpstream
from kelt.journal.batches import BatchCutter
from kelt.journal.sealing import Sealer
from kelt_daemon.bounds import run_bounds
from kelt_daemon.quota import Alarm
from kelt_daemon.retention import Retention

NOWHERE = "http://127.0.0.1:9"


def test_the_alarm_rings_once_on_the_way_up_and_once_when_it_is_over():
    alarm = Alarm()
    seen = [alarm.look(used, 100) for used in (10, 79, 80, 95, 75, 69, 10, 90)]
    assert seen == [None, None, True, None, None, False, None, True]


@pytest.mark.asyncio
async def test_at_the_bound_rows_wait_control_records_pass_and_room_lets_the_rows_on(tmp_path):
    async with (
        MemoryUpstream() as upstream,
        daemon_parts(
            tmp_path / "runs", journal_bytes_max=20_000, retention_age_s=0.0, retention_bytes=0
        ) as parts,
    ):
        spool = make_folder(tmp_path / "runs" / "r", NOWHERE, 1000)
        other = make_folder(tmp_path / "runs" / "s", upstream.url, 1)
        full = await parts.adopt(tmp_path / "runs" / "r")
        ending = await parts.adopt(tmp_path / "runs" / "s")
        cutter = BatchCutter(batch_bytes_max=1024)
        for cut in Sealer(spool=spool, cutter=cutter).batches():
            full.offer(spool.writer_id, cut.first_seq, cut.last_seq, cut.frames)
        parts.committer.submit(full)
        await parts.until(lambda: full.journal_problem, "said")
        assert "spools" in full.journal_problem
        quota = parts.committer.quota
        assert quota.met > 0
        assert quota.is_near
        assert 0 < full.durable_records < 1000
        assert quota.usage.used_bytes <= 20_000 + 2000  # entries' headers come on top
        # A batch with a goodbye goes into the reserve, and so does what the daemon itself says.
        (cut,) = Sealer(spool=other, cutter=BatchCutter()).batches()
        ending.offer(other.writer_id, cut.first_seq, cut.last_seq, cut.frames)
        parts.committer.submit(ending)
        await parts.until(lambda: ending.durable_records == 2, "the end is durable")
        durable = full.durable_records
        object.__setattr__(parts.config, "journal_bytes_max", 1 << 30)  # as if room had come
        await parts.until(lambda: full.durable_records == 1001 > durable, "goes on by itself")
        assert full.journal_problem == ""
        await Retention(registry=parts.registry, config=parts.config).trim()


@pytest.mark.asyncio
async def test_status_shows_how_full_the_bounds_are(tmp_path):
    async with daemon_parts(tmp_path / "runs") as parts:
        make_folder(tmp_path / "runs" / "r", NOWHERE, 50, pid=0, pid_start_ticks=1).close()
        folder = await parts.adopt(tmp_path / "runs" / "r")
        await parts.until(lambda: folder.durable_records == 51, "durable")
        bounds = {bound.name: bound for bound in parts.registry.bounds}
        assert bounds["journals"].used == folder.journal.used_bytes > 1000
        assert bounds["journals"].limit == parts.config.journal_bytes_max
        assert bounds["unsynced"].used == 0
        (of_run,) = run_bounds(folder, parts.config)
        assert (of_run.name, of_run.used) == ("unsynced", 0)
