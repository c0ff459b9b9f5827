"""The time of day jumps, on the host and on the server: order, life and leases do not follow it."""

import os

import pytest

from harness.releases import planted_path
from harness.stack import Host, Reader, ServerProcess, eventually

HOUR_S, TEN_YEARS_S = 3600, 3653 * 24 * 3600
TRAINER = """
import sys
import kelt
with kelt.init("p", id="r") as run:
    i = 0
    for line in sys.stdin:
        for _ in range(50):
            run.log({"i": i})
            i += 1
        print(i, flush=True)
"""


@pytest.fixture
def clock(tmp_path):
    path = tmp_path / "clock"
    path.write_text("0")
    return path


def set_off(clock, seconds):
    partial = clock.with_suffix(".partial")
    partial.write_text(str(seconds))
    partial.replace(clock)


@pytest.mark.covers(phase="spool_write", fault="clock")
def test_clocks_that_jump_between_records_change_no_order_and_end_no_run(tmp_path, clock):
    planted = {"PYTHONPATH": planted_path(), "PLANTED_CLOCK": os.fspath(clock)}
    server = ServerProcess(tmp_path / "server", environment=planted).start()
    host = Host(tmp_path / "s", server.url)
    try:
        trainer = host.start(TRAINER, **planted)
        reader, count = Reader(server.url), 0
        for offset_s in (0, HOUR_S, -HOUR_S, TEN_YEARS_S, -TEN_YEARS_S, 0):
            set_off(clock, offset_s)
            if count:  # before anything new arrives
                run = reader.run("r")
                assert (run["state"], run["offline_since"]) == ("running", None)
            trainer.stdin.write("go\n")
            trainer.stdin.flush()
            count = int(trainer.stdout.readline())

            def has_arrived(count=count):
                assert [row["i"] for row in reader.history("r")] == list(range(count))
                run = reader.run("r")
                assert (run["state"], run["offline_since"]) == ("running", None)
                return True

            eventually(has_arrived)
        assert count == 300
        trainer.stdin.close()
        assert trainer.wait(60) == 0, trainer.stderr.read()
        eventually(lambda: True if reader.run("r")["state"] == "finished" else None)
        run = reader.run("r")
        assert (run["state"], run["losses"]) == ("finished", [])
        assert [row["step"] for row in reader.history("r")] == list(range(300))
        log = (tmp_path / "s" / "logs" / "daemon.log").read_text()
        assert "crashed" not in log
    finally:
        host.close()
        server.stop()
