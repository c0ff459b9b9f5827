"""A server that no longer has what it had committed gets it again, also of runs long over."""

from __future__ import annotations

import pytest

from harness.in_process import daemon_parts, make_folder
from harness.memory_upstream import MemoryUpstream

pytestmark = pytest.mark.asyncio


async def test_a_server_restored_from_a_backup_is_filled_again_with_runs_that_are_over(tmp_path):
    runs = tmp_path / "runs"
    upstream = MemoryUpstream()
    async with upstream:
        pass  # chooses the ports
    async with daemon_parts(runs) as parts:
        async with upstream:
            spool = make_folder(runs / "r", upstream.url, 300, pid=0, pid_start_ticks=1)
            spool.close()
            folder = await parts.adopt(runs / "r")
            await parts.until(lambda: folder.is_over and folder.is_committed, "committed")
            await parts.until(lambda: folder in parts.registry.settled(), "settled")
        upstream.cursors[spool.writer_id] = 100
        for seq in range(101, 302):
            del upstream.records[spool.writer_id][seq]
        async with upstream:
            parts.registry.links.connected(upstream.url).nudge()
            await parts.until(lambda: upstream.cursors[spool.writer_id] == 301, "filled")
    assert upstream.row_values(spool.writer_id) == [float(i) for i in range(300)]
    assert upstream.violations == []
