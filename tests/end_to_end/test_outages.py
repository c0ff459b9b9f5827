"""The upstream and the daemon come and go; training notices nothing and no row is lost."""

import os
import signal

import pytest

from harness.stack import eventually

PACED = """
    import sys, time, kelt
    run = kelt.init("p", id=sys.argv[1])
    for i in range(int(sys.argv[2])):
        run.log({"i": i})
        print(i, flush=True)
        time.sleep(0.002)
"""


def wait_for_line(process, number):
    while line := process.stdout.readline():
        if int(line) >= number:
            return
    raise AssertionError(process.stderr.read())


def rows_arrive(reader, name, count):
    found = eventually(lambda: (s := reader.steps(name)) and len(s) >= count and s or None)
    assert found == list(range(count))


def test_a_server_that_appears_later_gets_everything(host, reader, server):
    server.stop()
    host.run(PACED, "early", 50, KELT_FINISH_TIMEOUT_S="0.2")
    server.start()
    rows_arrive(reader, "early", 50)
    assert eventually(lambda: reader.run("early")["state"] == "finished" or None)


@pytest.mark.covers(phase="upstream_send", fault="KILL server")
def test_a_server_killed_in_the_middle_and_restarted_loses_and_doubles_nothing(
    host, reader, server
):
    process = host.start(PACED, "cut", 1500)
    wait_for_line(process, 300)
    server.stop(signal.SIGKILL)
    wait_for_line(process, 700)
    server.start()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    rows_arrive(reader, "cut", 1500)


@pytest.mark.covers(phase="rpc_send", fault="KILL daemon")
def test_a_daemon_killed_in_the_middle_is_replaced_and_nothing_is_lost(host, reader):
    process = host.start(PACED, "orphan", 1500)
    wait_for_line(process, 200)
    first = eventually(host.daemon_alive)
    os.kill(first, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    second = eventually(host.daemon_alive)
    assert second != first
    rows_arrive(reader, "orphan", 1500)
    assert eventually(lambda: reader.run("orphan")["state"] == "finished" or None)


@pytest.mark.covers(phase="recovery", fault="KILL trainer")
def test_trainer_and_daemon_both_killed_nothing_is_lost_once_a_daemon_runs_again(host, reader):
    process = host.start(PACED, "both", 100_000)
    wait_for_line(process, 400)
    os.kill(eventually(host.daemon_alive), signal.SIGKILL)
    wait_for_line(process, 500)
    process.kill()
    rest = process.communicate()[0].splitlines(keepends=True)
    told = int([line for line in ["500\n", *rest] if line.endswith("\n")][-1])
    host.stop_daemon(signal.SIGKILL)
    host.kelt("daemon", "start")
    steps = eventually(lambda: (s := reader.steps("both")) and len(s) > told and s or None)
    assert steps == list(range(len(steps)))
    run = eventually(lambda: (r := reader.run("both"))["state"] == "crashed" and r or None)
    assert run["reason"]


def test_the_daemon_outlives_the_trainer_and_drains_on_sigterm(host, reader, server):
    server.stop()
    host.run(PACED, "left", 200, KELT_FINISH_TIMEOUT_S="0.2")
    host.stop_daemon(signal.SIGTERM)
    server.start()
    host.kelt("daemon", "start")
    rows_arrive(reader, "left", 200)
