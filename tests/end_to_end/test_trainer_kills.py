"""Trainer and daemon are killed or stopped at any moment. The oracle is the trainer's own file:
the highest step for which `log()` had returned, in shared memory that outlives it."""

import mmap
import os
import random
import signal
import struct
import time

import pytest

from harness.stack import eventually

#: Logs as fast as it can, and after each row writes down that `log()` returned.
FAST = """
    import mmap, os, sys, kelt
    with open(sys.argv[2], "r+b") as file:
        told = memoryview(mmap.mmap(file.fileno(), 8)).cast("q")  # one store, never torn
    run = kelt.init("p", id=sys.argv[1])
    print("open", flush=True)
    step = 0
    while True:
        run.log({"i": step, "x": step * 0.5})
        told[0] = step
        step += 1
"""
PACED = """
    import sys, time, kelt
    run = kelt.init("p", id=sys.argv[1])
    print("open", flush=True)
    end = time.monotonic() + float(sys.argv[2])
    i = 0
    while time.monotonic() < end:
        run.log({"i": i})
        i += 1
        time.sleep(0.0005)
    run.finish()
    print(i, flush=True)
"""


class Told:
    """What the trainer says it was told, in a file of its own."""

    def __init__(self, path):
        self.path = path
        path.write_bytes(struct.pack("<q", -1))
        with path.open("r+b") as file:
            self.map = mmap.mmap(file.fileno(), 8)

    @property
    def step(self):
        return struct.unpack("<q", self.map[:8])[0]


def rows_through(reader, name, told):
    """Every row up to what was told, in order, none twice; at most one more (not yet told)."""
    steps = eventually(lambda: (s := reader.steps(name)) and len(s) > told and s or None)
    assert steps == list(range(len(steps)))
    assert len(steps) - told in (1, 2)
    assert [row["i"] for row in reader.history(name)] == steps


@pytest.mark.covers(phase="spool_write", fault="KILL trainer")
def test_twenty_trainers_killed_at_any_moment_lose_no_row_that_log_returned_for(
    host, reader, tmp_path, record_faults
):
    host.kelt("daemon", "start")
    moments = random.Random(11)
    signals = [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL]
    ends = {}
    for number in range(20):
        told = Told(tmp_path / f"told{number}")
        process = host.start(FAST, f"k{number}", told.path)
        assert process.stdout.readline() == "open\n", process.stderr.read()
        # From the first row on, past several segments.
        after = moments.choice([1, 2, 50, 1000, 5000, 20_000])
        eventually(lambda told=told, after=after: told.step >= after or None, pause_s=0.0005)
        signum = signals[number % 4]
        process.send_signal(signum)
        assert process.wait(60) == -signum
        ends[f"k{number}"] = (told.step, signal.Signals(signum).name)
    for name, (told, _) in ends.items():
        run = eventually(
            lambda name=name: (r := reader.run(name))["state"] == "crashed" and r or None
        )
        assert run["reason"]
        assert run["lost_rows"] == 0
        assert run["rows"] - told in (1, 2)
    for name in ("k0", "k7", "k13", "k19"):
        rows_through(reader, name, ends[name][0])
    record_faults(20)


@pytest.mark.covers(phase="rpc_send", fault="KILL daemon")
def test_a_daemon_killed_again_and_again_in_mid_logging_loses_nothing_and_is_spoken_of_once_each(
    host, reader, record_faults
):
    process = host.start(PACED, "again", 8)
    assert process.stdout.readline() == "open\n"
    killed = []
    moments = random.Random(5)
    while len(killed) < 6 and process.poll() is None:
        pid = host.daemon_alive()
        if pid and pid not in killed:
            eventually(lambda: reader.run("again") or None)
            time.sleep(moments.uniform(0.05, 0.4))
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        time.sleep(0.05)
    assert killed
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    count = int(out)
    rows_arrive(reader, "again", count)
    losses, returns = err.count("the daemon is not there"), err.count("the daemon is back")
    assert 1 <= returns <= losses <= len(killed)
    assert "records are being handed over" in err
    record_faults(len(killed))


@pytest.mark.covers(phase="rpc_send", fault="STOP daemon")
def test_a_daemon_that_stands_still_for_seconds_delays_no_row_and_gets_every_one_later(
    host, reader
):
    process = host.start(PACED, "still", 6)
    assert process.stdout.readline() == "open\n"
    eventually(lambda: reader.run("still") or None)
    pid = host.daemon_alive()
    os.kill(pid, signal.SIGSTOP)
    time.sleep(4)
    os.kill(pid, signal.SIGCONT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert host.daemon_alive() == pid
    rows_arrive(reader, "still", int(out))


def rows_arrive(reader, name, count):
    found = eventually(lambda: (s := reader.steps(name)) and len(s) >= count and s or None)
    assert found == list(range(count))
