"""The end of a run and of its process: bounded whatever stands still, and said plainly."""

import os
import signal

import pytest

from harness.stack import eventually

SCRIPT = """
    import os, signal, sys, threading, time, kelt

    def interrupt():
        while not run._session.sender._is_finishing:
            time.sleep(0.001)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    run = kelt.init("p", id="run")
    for i in range(500):
        run.log({"i": i})
    while not run._session.sender.state.is_connected:
        pass
    print("logged", flush=True)
    sys.stdin.readline()
    if sys.argv[1] == "interrupted":
        threading.Thread(target=interrupt, daemon=True).start()
    if sys.argv[1] != "exit":
        run.finish()
        print("finished", flush=True)
"""
ON_DISK = "records are on this host's disk and not yet on the server"


def wait_logged(process):
    assert process.stdout.readline() == "logged\n", process.stderr.read()


def everything_arrives(reader):
    steps = eventually(lambda: (s := reader.steps("run")) and len(s) == 500 and s or None)
    assert steps == list(range(500))
    assert eventually(lambda: reader.run("run")["state"] == "finished" or None)


def test_where_all_is_committed_it_says_so(host, reader):
    process = host.start(SCRIPT, "finish")
    wait_logged(process)
    out, err = process.communicate("\n", timeout=60)
    assert (process.returncode, out) == (0, "finished\n")
    assert "all 503 records are on the server" in err
    assert ON_DISK not in err
    assert err.splitlines()[-1].endswith("rows=500 lost=0 synced=yes")
    everything_arrives(reader)


@pytest.mark.parametrize("how", ["finish", "exit"])
@pytest.mark.parametrize("what", ["server", "daemon"])
def test_whatever_stands_still_a_run_and_its_process_end_and_the_rest_arrives_later(
    host, reader, server, what, how
):
    process = host.start(SCRIPT, how, KELT_FINISH_TIMEOUT_S="1")
    wait_logged(process)
    pid = host.daemon_alive() if what == "daemon" else server.process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        _, err = process.communicate("\n", timeout=60)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert process.returncode == 0
    assert f"{ON_DISK} (after 1 s); the daemon goes on sending them" in err
    assert err.splitlines()[-1].endswith("rows=500 lost=0 synced=no")
    everything_arrives(reader)


def test_an_interrupt_ends_the_waiting_and_not_the_script(host, reader, server):
    process = host.start(SCRIPT, "interrupted", KELT_FINISH_TIMEOUT_S="600")
    wait_logged(process)
    server.process.send_signal(signal.SIGSTOP)
    try:
        out, err = process.communicate("\n", timeout=60)
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert (process.returncode, out) == (0, "finished\n"), err
    assert f"{ON_DISK} (interrupted); the daemon goes on sending them" in err
    everything_arrives(reader)
