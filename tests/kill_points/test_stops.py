"""SIGTERM in the middle of a sync that takes long: what the daemon took is on disk when it ends."""

import json

import pytest

from harness.daemon_process import daemon_of, eventually
from harness.kill_points import Fault, environment_of
from kelt.journal.reader import Damage, read_journal

pytestmark = pytest.mark.asyncio

SYNC_S = 0.25


@pytest.mark.covers(phase="spawn_handover_shutdown", fault="slow ack")
async def test_a_stop_waits_for_what_was_taken_and_not_synced(tmp_path):
    environ = environment_of(Fault("none:none", 1, 0), tmp_path) | {"TORTURE_SYNC_S": str(SYNC_S)}
    with daemon_of(tmp_path / "state", environ=environ) as daemon:
        daemon.start()
        daemon.train(
            "r1", "http://127.0.0.1:9", 100_000, "wait", stream=True, options=("--row-s", "0.001")
        )
        await eventually(lambda: daemon.run_status("r1").durable_records > 100, "under way")
        assert daemon.terminate() == 0
        (stopped,) = [
            event for event in map(json.loads, daemon.log_text().splitlines())
            if event["event"] == "daemon_stopped"
        ]  # fmt: skip
        assert stopped["is_all_durable"] is True
        found = list(read_journal(daemon.state_dir.runs / "r1"))
        assert not any(isinstance(item, Damage) for item in found)
        ends = [entry.last_seq for entry in found]
        starts = [entry.first_seq for entry in found]
        assert starts == [1, *(end + 1 for end in ends[:-1])]
