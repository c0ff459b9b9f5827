"""A real daemon whose system calls fail, and a real disk that is full: nothing acknowledged is lost
and everything goes on by itself."""

from __future__ import annotations

import contextlib
import shutil
import subprocess

import pytest

from harness.crash_histories import environment_number
from harness.daemon_process import await_ready, daemon_of, eventually
from harness.memory_upstream import MemoryUpstream
from harness.tiny_disk import fill, tiny_disk

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace puts the faults in"),
]
ROWS = 400
NTH_MAX = environment_number("KELT_TORTURE_STRACE_NTH_MAX", 0)
NTHS = environment_number("KELT_TORTURE_STRACE_NTHS", NTH_MAX)
CALLS = {
    "fdatasync": "fdatasync", "fsync": "fdatasync", "pwrite64": "journal_append",
    "fallocate": "segment_rotate", "openat": "recovery", "ftruncate": "segment_rotate",
    "rename": "cursor_save", "unlink": "gc",
}  # fmt: skip
#: (call, what happens, which of its calls): a few on every commit, all of them in the long tier.
POINTS = [
    ("fdatasync", "error=EIO", "1"),
    ("fdatasync", "error=ENOSPC", "2"),
    ("pwrite64", "error=ENOSPC", "1..3"),
    ("pwrite64", "error=EIO", "2"),
    ("fallocate", "error=ENOSPC", "1..2"),
    ("openat", "error=EMFILE", "1..3"),
    ("fdatasync", "signal=KILL", "2"),
    ("pwrite64", "signal=KILL", "3"),
] + [
    (call, fault, str(nth))
    for call in CALLS
    for fault in ("error=EIO", "error=ENOSPC", "signal=KILL")
    for nth in range(NTH_MAX - NTHS + 1, NTH_MAX + 1)
]
_FAULTS = {"error=EIO": "EIO", "error=ENOSPC": "ENOSPC", "error=EMFILE": "EMFILE/OOM"}


@contextlib.contextmanager
def injected(pid, call, fault, when, log):
    """Attaches to a process; leaves it alone again at the end."""
    command = [
        "strace", "-f", "-p", str(pid), "-o", str(log), "-e", f"trace={call}",
        "-e", f"inject={call}:{fault}:when={when}",
    ]  # fmt: skip
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = tracer.stderr.readline()
        if "attached" not in line:
            pytest.skip(f"a process cannot be traced here: {line.strip()}")
        yield
    finally:
        tracer.terminate()
        tracer.wait()
        tracer.stderr.close()


@pytest.mark.parametrize(("call", "fault", "when"), POINTS)
async def test_a_system_call_that_fails_costs_nothing_that_was_acknowledged(
    tmp_path, call, fault, when, record_faults
):
    with daemon_of(tmp_path / "state") as daemon:
        async with MemoryUpstream() as upstream:
            daemon.start()
            with injected(daemon.process.pid, call, fault, when, tmp_path / "trace"):
                trainer = daemon.train(
                    "r", upstream.url, ROWS, "exit", stream=True, options=("--row-s", "0.001")
                )
                if "KILL" in fault:
                    await eventually(
                        lambda: daemon.process.poll() is not None or trainer.poll() is not None,
                        "the daemon died, or there were fewer calls",
                    )
                else:
                    await eventually(
                        lambda: (
                            len(upstream.row_values(daemon.writer_id("r"))) > ROWS // 2
                            if (daemon.state_dir.runs / "r" / "run.json").exists()
                            else False
                        ),
                        "rows arrive",
                        timeout_s=60,
                    )
            trace = (tmp_path / "trace").read_text()
            if daemon.process.poll() is not None:
                daemon.start()  # nothing was tidied up by hand
            await eventually(lambda: trainer.poll() == 0, "the trainer ended", timeout_s=40)
            await eventually(
                lambda: (
                    upstream.row_values(daemon.writer_id("r")) == [float(i) for i in range(ROWS)]
                ),
                "every row, once, in order",
                timeout_s=60,
            )
            assert upstream.violations == []
            assert upstream.losses(daemon.writer_id("r")) == []
            # Every thread of a killed process has its line.
            is_kill = fault == "signal=KILL"
            met = int("killed by SIGKILL" in trace) if is_kill else trace.count("(INJECTED)")
            record_faults(met, phase=CALLS[call], fault=_FAULTS.get(fault, "KILL daemon"))


@pytest.mark.covers(phase="journal_append", fault="ENOSPC")
async def test_a_full_disk_under_the_daemon_holds_rows_back_and_room_is_all_it_takes(tmp_path):
    with tiny_disk(tmp_path / "disk", size="16m") as disk, daemon_of(disk / "state") as daemon:
        async with MemoryUpstream() as upstream:
            daemon.start()
            trainer = daemon.train("r", upstream.url, 5000, "wait")
            await eventually(lambda: await_ready(trainer) is None, "all is in the spool")
            await eventually(lambda: daemon.run_status("r").path, "the daemon knows it")
            fill(disk)
            trainer.kill()
            await eventually(lambda: "room" in daemon.run_status("r").problem, "said")
            assert daemon.run_status("r").durable_records == 0
            (disk / "filler").unlink()
            await eventually(lambda: daemon.run_status("r").state == "crashed", "read in")
            writer_id = daemon.writer_id("r")
            await eventually(lambda: upstream.cursors[writer_id] == 5001, "all of it arrived")
            assert upstream.violations == []
            assert upstream.losses(writer_id) == []
            assert upstream.row_values(writer_id) == [float(i) for i in range(5000)]
            assert daemon.run_status("r").problem == ""
