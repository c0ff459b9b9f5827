"""Law 1 by structure: between entering and leaving `log()` the kernel is not asked for anything."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import os, kelt
    run = kelt.init("p", id="traced")
    row = {f"m{i}": float(i) for i in range(20)}
    run.log(row)
    os.getppid()
    for _ in range(500):
        run.log(row)
    os.getppid()
    os._exit(0)
"""
#: While the daemon stands still, rows enough for several segments; their making must be another's.
OUTAGE = """
    import os, sys, time, kelt
    run = kelt.init("p", id="traced")
    row = {f"m{i}": float(i) for i in range(20)}
    spool = run._session.spool
    while not run._session.sender.state.is_connected:
        time.sleep(0.01)
    print("connected", flush=True)
    sys.stdin.readline()
    first = spool.current_segment.number
    for _ in range(40):
        while spool.needs_preparation:
            time.sleep(0.001)
        os.getppid()
        for _ in range(500):
            run.log(row)
        os.getppid()
    print(spool.current_segment.number - first, flush=True)
    os._exit(0)
"""
#: The interpreter's own business: memory, and handing the GIL to another thread.
INTERPRETER = {"futex", "brk", "mmap", "munmap", "madvise", "mremap", "rt_sigreturn", "getppid"}


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_log_makes_no_system_call(host, tmp_path):
    trace = tmp_path / "trace"
    subprocess.run(
        ["strace", "-o", str(trace), sys.executable, "-c", textwrap.dedent(SCRIPT)],
        env=host.environment, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    calls = calls_of(trace)
    marks = [n for n, call in enumerate(calls) if call == "getppid"]
    between = calls[marks[-2] + 1 : marks[-1]]
    assert set(between) <= INTERPRETER, sorted(set(between) - INTERPRETER)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_log_makes_no_system_call_while_the_daemon_stands_still_and_segments_are_prepared_aside(
    host, tmp_path
):
    trace, script = tmp_path / "trace", tmp_path / "trainer.py"
    script.write_text(textwrap.dedent(OUTAGE))
    host.kelt("daemon", "start")  # or strace would follow it as the trainer's child
    process = host.start_command(["strace", "-ff", "-o", str(trace), sys.executable, str(script)])
    assert process.stdout.readline() == "connected\n"
    pid = host.daemon_alive()
    os.kill(pid, signal.SIGSTOP)
    try:
        out, err = process.communicate("go\n", timeout=60)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert int(out) >= 2, err
    traces = {path: calls_of(path) for path in tmp_path.glob("trace.*")}
    training = next(calls for calls in traces.values() if "getppid" in calls)
    marks = [n for n, call in enumerate(training) if call == "getppid"][-80:]
    for begin, end in zip(marks[::2], marks[1::2], strict=True):
        between = set(training[begin + 1 : end])
        assert between <= INTERPRETER, sorted(between - INTERPRETER)
    others = [calls for calls in traces.values() if calls is not training]
    assert sum(calls.count("fallocate") for calls in others) >= 2


def calls_of(path):
    """The system calls of a trace; signals that came from outside ("--- SIGCHLD ...") are none."""
    lines = path.read_text().splitlines()
    return [line.partition("(")[0] for line in lines if not line.startswith("---")]
