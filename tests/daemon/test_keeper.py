"""What is said of a writer while the disk under its journal fails."""

from __future__ import annotations

import signal
import subprocess
import sys

import anyio
import pytest

from harness.in_process import daemon_parts, make_folder
from harness.memory_upstream import ASSERTION, MemoryUpstream
from kelt.journal.batches import BatchCutter
from kelt.journal.sealing import Sealer
from kelt.journal.spool import InternedSchema
from kelt.run_folder import pid_start_ticks
from kelt_daemon.liveness import Phase
from kelt_proto.v1.record_pb2 import Assertion
from kelt_proto.v1.rows import ColumnKind, Schema

SCHEMA = InternedSchema(Schema(1, ("value",), (ColumnKind.FLOAT,)))
STALLED_AFTER_S = 2.0

pytestmark = pytest.mark.asyncio


@pytest.fixture
def process():
    """Somebody's trainer."""
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield started
    started.kill()
    started.wait()


@pytest.mark.covers(phase="fdatasync", fault="EIO")
async def test_a_trainer_that_dies_while_its_journal_cannot_be_written_is_said_to_live_no_more(
    tmp_path, process
):
    runs = tmp_path / "runs"
    config = {"stalled_after_s": STALLED_AFTER_S}
    async with MemoryUpstream() as upstream, daemon_parts(runs, **config) as parts:
        spool = make_folder(
            runs / "r", upstream.url, 50, ended=False,
            pid=process.pid, pid_start_ticks=pid_start_ticks(process.pid),
        )  # fmt: skip
        sealer = Sealer(spool=spool, cutter=BatchCutter())
        assert list(sealer.batches())  # as the trainer's own thread does
        folder = await parts.adopt(runs / "r")
        await parts.until(lambda: upstream.beats and folder.durable_records == 50, "told to live")
        # A death right after this is no stall, however long the disk takes.
        await parts.until(lambda: folder.life.still_probes >= 3, "its beat stands still")
        for nth in range(1, 10_000):
            parts.disk.fail("sync", nth)
        spool.append_row(SCHEMA, 0, 50, 0.0, 0.0, (50.0,))
        assert list(sealer.batches())
        spool.close()
        await parts.until(lambda: folder.journal_problem, "the disk fails")
        process.send_signal(signal.SIGKILL)
        await parts.until(lambda: not folder.is_live, "dead, as far as the server is told")
        await anyio.sleep(STALLED_AFTER_S)
        parts.disk.plan.clear()
        await parts.until(lambda: folder.life.phase is Phase.CRASHED, "judged")
        assert folder.life.signal == signal.SIGKILL
        await parts.until(lambda: folder.is_over and folder.is_committed, "all of it sent")
        said = [
            Assertion.FromString(record.payload).state
            for record in upstream.records[folder.witness_id].values()
            if record.kind == ASSERTION
        ]
        assert said == [Assertion.CRASHED]
        assert upstream.cursors[spool.writer_id] == 51
