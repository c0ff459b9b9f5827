"""Law 1 by structure: between entering and leaving `log()` the kernel is not asked for anything."""

import shutil
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
#: The interpreter's own business: memory, and handing the GIL to another thread.
INTERPRETER = {"futex", "brk", "mmap", "munmap", "madvise", "mremap", "rt_sigreturn", "getppid"}


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_log_makes_no_system_call(host, tmp_path):
    trace = tmp_path / "trace"
    subprocess.run(
        ["strace", "-o", str(trace), sys.executable, "-c", textwrap.dedent(SCRIPT)],
        env=host.environment, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    calls = [line.partition("(")[0] for line in trace.read_text().splitlines()]
    marks = [n for n, call in enumerate(calls) if call == "getppid"]
    between = calls[marks[-2] + 1 : marks[-1]]
    assert set(between) <= INTERPRETER, sorted(set(between) - INTERPRETER)
