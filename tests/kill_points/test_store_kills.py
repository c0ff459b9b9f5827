"""The server dies at every line of a commit to its metrics store: rows and cursor go together."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from server.stand import Stand
from server.streams import simple_run

from harness.kill_points import stored_twice

#: Imports once and forks for every line that it reads; the child dies before that line of the second
#: commit, counted as they are executed, or says how many there were.
CHILD = """
import json, os, signal, sys
from pathlib import Path
from kelt_server.metrics.duckdb_packing import pack_slice
from server.stand import Stand
from server.streams import simple_run

def run(folder, line):
    folder.mkdir()
    stream = simple_run(row_count=40)
    with Stand.opened(folder) as stand:
        stand.push([stream.batch(1, 20)])
        code = type(stand.stores.metrics)._commit.__code__
        left = line

        def trace_lines(frame, event, _):
            nonlocal left
            left -= event == "line"
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace_lines

        sys.settrace(lambda frame, event, _: trace_lines if frame.f_code is code else None)
        stand.push([stream.batch(21, 41)])
        sys.settrace(None)
    return line - left

for request in sys.stdin:
    folder, line = json.loads(request)
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        sys.excepthook = lambda *error: (sys.__excepthook__(*error), os._exit(1))
        os.write(tell, str(run(Path(folder), line)).encode())
        os._exit(0)
    os.close(tell)
    _, status = os.waitpid(pid, 0)
    lines = os.read(told, 100).decode()
    os.close(told)
    print(json.dumps([os.waitstatus_to_exitcode(status), lines and int(lines)]), flush=True)
"""


#: The same while the first commit's points are packed.
PACKING_CHILD = CHILD.replace(
    "type(stand.stores.metrics)._commit.__code__", "pack_slice.__code__"
).replace("stand.push([stream.batch(21, 41)])", "stand.stores.metrics.pack(12)")


@contextlib.contextmanager
def children(child=CHILD):
    """A function that runs the child in a folder and returns its exit code and what it counted."""
    tests = str(Path(__file__).parents[1])
    paths = [tests, *filter(None, [os.environ.get("PYTHONPATH")])]
    with subprocess.Popen(
        [sys.executable, "-c", child],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as parent:  # fmt: skip

        def run(folder, line):
            parent.stdin.write(json.dumps([str(folder), line]) + "\n")
            parent.stdin.flush()
            return json.loads(parent.stdout.readline())

        yield run


@pytest.mark.covers(phase="committed_ack_lost", fault="KILL server")
def test_a_commit_that_dies_at_any_line_is_whole_or_not_there_and_the_repeat_mends_it(
    tmp_path, record_faults
):
    stream = simple_run(row_count=40)
    with children() as run:
        code, lines = run(tmp_path / "whole", 10_000)
        assert code == 0
        # All lines of the transaction's second half, and a sample of what prepares it.
        chosen = sorted({*range(0, lines, 12), *range(lines - 9, lines)})
        for line in chosen:
            folder = tmp_path / str(line)
            assert run(folder, line) == [-signal.SIGKILL, ""]
            with Stand.opened(folder) as stand:
                (ack,) = stand.push([stream.batch(21, 41)])  # the daemon was told nothing
                assert ack.committed_through == 41
                assert [row["step"] for row in stand.rows("run")] == list(range(40))
            assert stored_twice(folder) == [], f"killed before line {line} of {lines}"
    record_faults(len(chosen))


def test_packing_that_dies_at_any_line_leaves_every_point_once(tmp_path, record_faults):
    stream = simple_run(row_count=40)
    with children(PACKING_CHILD) as run:
        code, lines = run(tmp_path / "whole", 10_000)
        assert code == 0
        for line in range(lines):
            folder = tmp_path / str(line)
            assert run(folder, line) == [-signal.SIGKILL, ""]
            with Stand.opened(folder) as stand:
                stand.push([stream.batch(21, 41)])
                stand.stores.metrics.pack(30)
                values = [row["values"]["loss"] for row in stand.rows("run")]
                assert values == [step + 0.5 for step in range(40)]
            assert stored_twice(folder) == [], f"killed before line {line} of {lines}"
    record_faults(lines)
