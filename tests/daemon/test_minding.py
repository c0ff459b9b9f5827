"""What minds a run folder follows it to another upstream."""

from __future__ import annotations

import anyio
import pytest

from harness.in_process import daemon_parts, make_folder
from harness.memory_upstream import MemoryUpstream
from kelt.journal.batches import BatchCutter
from kelt.journal.sealing import Sealer

pytestmark = pytest.mark.asyncio


class Silent(MemoryUpstream):
    """Takes pushes and never answers one."""

    asked = 0

    async def Push(self, _request, _context):  # noqa: N802 # the name in upstream.proto
        self.asked += 1
        await anyio.sleep_forever()


@pytest.mark.parametrize("ended", [True, False], ids=["over", "living"])
async def test_a_run_sent_elsewhere_waits_no_more_for_the_upstream_it_had(tmp_path, ended):
    runs = tmp_path / "runs"
    gone = {"pid": 0, "pid_start_ticks": 1} if ended else {}
    async with Silent() as first, MemoryUpstream() as other, daemon_parts(runs) as parts:
        spool = make_folder(runs / "r", first.url, 50, ended=ended, **gone)
        assert list(Sealer(spool=spool, cutter=BatchCutter()).batches())  # as the trainer does
        if ended:
            spool.close()
        folder = await parts.adopt(runs / "r")
        await parts.until(lambda: first.asked, "pushed")
        await parts.registry.send_to(folder, other.url)
        await parts.registry.send_to(folder, first.url)
        await parts.registry.send_to(folder, other.url)
        await parts.until(lambda: other.cursors.get(spool.writer_id, 0) >= 50, "at the other")
        assert folder.link.url == other.url
        assert folder.committed_records >= 50
        assert first.cursors.get(spool.writer_id, 0) == 0
        if not ended:
            spool.close()
    assert other.row_values(spool.writer_id) == [float(i) for i in range(50)]
    assert other.violations == []
