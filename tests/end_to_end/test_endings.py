"""How a process ends and what its run is then called: the table of the README."""

import os
import signal
import textwrap

import pytest

from harness.stack import eventually

HEAD = """
    import os, signal, sys, time, kelt
    run = kelt.init("p", id="ends")
    for i in range(20):
        run.log({"i": i})
"""

ENDINGS = [
    # what the script does last, its exit status, state, what the reason says
    ("run.finish()", 0, "finished", ""),
    ("pass", 0, "finished", ""),
    ("sys.exit(0)", 0, "finished", ""),
    ("sys.exit(3)", 3, "failed", "3"),
    ("sys.exit('went wrong')", 1, "failed", "went wrong"),
    ("raise ValueError('too hot')", 1, "failed", "ValueError: too hot"),
    ("run.finish(exit_code=4)", 0, "failed", "4"),
    ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)", (143, -15), "failed", "SIGTERM"),
    ("os.kill(os.getpid(), signal.SIGINT); time.sleep(30)", (130, -2, 1), "failed", "SIGINT"),
    ("os.kill(os.getpid(), signal.SIGKILL)", -9, "crashed", "SIGKILL"),
    ("os.kill(os.getpid(), signal.SIGSEGV)", -11, "crashed", "SIGSEGV"),
    ("os.abort()", -6, "crashed", "SIGABRT"),
    ("os._exit(5)", 5, "failed", "5"),
]


@pytest.mark.parametrize(
    ("last", "status", "state", "reason"), ENDINGS, ids=[e[0] for e in ENDINGS]
)
def test_an_ending_is_told_by_its_state_and_reason(host, reader, last, status, state, reason):
    process = host.start(textwrap.dedent(HEAD) + "sys.stdin.read()\n" + last)
    # How a process ended is known of those that the daemon has seen alive.
    eventually(lambda: reader.run("ends")["rows"] == 20 or None)
    _, err = process.communicate(timeout=60)
    expected = status if isinstance(status, tuple) else (status,)
    assert process.returncode in expected, err
    run = eventually(
        lambda: (r := reader.run("ends"))["state"] == state and r["rows"] == 20 and r or None
    )
    assert run is not None, reader.run("ends")
    assert reason in run["reason"]
    assert reader.steps("ends") == list(range(20))


def test_a_handler_of_the_scripts_own_is_kept(host, reader):
    out, _ = host.run("""
        import os, signal, sys, time, kelt
        def mine(signum, frame):
            print("my handler ran", flush=True)
            sys.exit(7)
        signal.signal(signal.SIGTERM, mine)
        run = kelt.init("p", id="handled")
        run.log({"x": 1})
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    """, code=7)  # fmt: skip
    assert "my handler ran" in out
    run = eventually(lambda: (r := reader.run("handled"))["state"] == "failed" and r or None)
    assert "7" in run["reason"]


def test_an_excepthook_of_the_scripts_own_is_kept(host, reader):
    out, _ = host.run("""
        import sys, kelt
        sys.excepthook = lambda *args: print("my hook", args[0].__name__, flush=True)
        run = kelt.init("p", id="hooked")
        run.log({"x": 1})
        raise KeyError("k")
    """, code=1)  # fmt: skip
    assert "my hook KeyError" in out
    assert eventually(lambda: reader.run("hooked")["state"] == "failed" or None)


def test_a_killed_trainer_keeps_every_row_that_log_returned_for(host, reader):
    process = host.start("""
        import kelt
        run = kelt.init("p", id="victim")
        i = 0
        while True:
            run.log({"i": i})
            print(i, flush=True)
            i += 1
    """)
    for _ in range(2000):
        told = process.stdout.readline()
    eventually(lambda: reader.run("victim")["state"] == "running" or None)
    os.kill(process.pid, signal.SIGKILL)
    rest = process.communicate(timeout=60)[0]
    told = int([line for line in [told, *rest.splitlines(keepends=True)] if line[-1] == "\n"][-1])
    run = eventually(lambda: (r := reader.run("victim"))["state"] == "crashed" and r or None)
    assert "SIGKILL" in run["reason"]
    steps = eventually(lambda: (s := reader.steps("victim")) and len(s) > told and s or None)
    assert steps == list(range(len(steps)))
    assert len(steps) - told in (1, 2)


def test_an_interrupt_in_the_first_moments_still_ends_the_process_as_interrupted(host, reader):
    """What kelt loads meanwhile must not make Python forget that an interrupt ended the script."""
    process = host.start("""
        import kelt
        run = kelt.init("p", id="early")
        run.log({"x": 1})
        raise KeyboardInterrupt
    """)
    process.communicate(timeout=60)
    assert process.returncode == -2
    run = eventually(lambda: (r := reader.run("early"))["state"] == "failed" and r or None)
    assert run["reason"] == "SIGINT"
