"""The server dies at every line of a commit to its metrics store: rows and cursor go together."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from server.stand import Stand
from server.streams import simple_run

from harness.kill_points import stored_twice

#: Dies before the given line of the second commit, counted as they are executed.
CHILD = """
import os, signal, sys
from pathlib import Path
from server.stand import Stand
from server.streams import simple_run

folder, line = Path(sys.argv[1]), int(sys.argv[2])
folder.mkdir()
stream = simple_run(row_count=40)
with Stand.opened(folder) as stand:
    stand.push([stream.batch(1, 20)])
    code = type(stand.stores.metrics)._commit.__code__
    left = line

    def trace_lines(frame, event, _):
        global left
        left -= event == "line"
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace_lines

    sys.settrace(lambda frame, event, _: trace_lines if frame.f_code is code else None)
    stand.push([stream.batch(21, 41)])
    sys.settrace(None)
    print(line - left)
"""


#: The same while the first commit's points are packed.
PACKING_CHILD = (
    CHILD.replace("type(stand.stores.metrics)._commit.__code__", "pack_slice.__code__")
    .replace("stand.push([stream.batch(21, 41)])", "stand.stores.metrics.pack(12)")
    .replace(
        "folder, line =",
        "from kelt_server.metrics.duckdb_packing import pack_slice\nfolder, line =",
    )
)


def commit_in_child(folder, line, child=CHILD):
    tests = str(Path(__file__).parents[1])
    paths = [tests, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-c", child, str(folder), str(line)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.covers(phase="committed_ack_lost", fault="KILL server")
def test_a_commit_that_dies_at_any_line_is_whole_or_not_there_and_the_repeat_mends_it(
    tmp_path, record_faults
):
    whole = commit_in_child(tmp_path / "whole", 10_000)
    assert whole.returncode == 0, whole.stderr
    lines = int(whole.stdout)
    # All lines of the transaction's second half, and a sample of what prepares it.
    chosen = sorted({*range(0, lines, 12), *range(lines - 9, lines)})
    stream = simple_run(row_count=40)
    for line in chosen:
        folder = tmp_path / str(line)
        died = commit_in_child(folder, line)
        assert died.returncode == -signal.SIGKILL, died.stderr
        with Stand.opened(folder) as stand:
            (ack,) = stand.push([stream.batch(21, 41)])  # the daemon was told nothing
            assert ack.committed_through == 41
            assert [row["step"] for row in stand.rows("run")] == list(range(40))
        assert stored_twice(folder) == [], f"killed before line {line} of {lines}"
    record_faults(len(chosen))


def test_packing_that_dies_at_any_line_leaves_every_point_once(tmp_path, record_faults):
    whole = commit_in_child(tmp_path / "whole", 10_000, PACKING_CHILD)
    assert whole.returncode == 0, whole.stderr
    lines = int(whole.stdout)
    stream = simple_run(row_count=40)
    for line in range(lines):
        folder = tmp_path / str(line)
        died = commit_in_child(folder, line, PACKING_CHILD)
        assert died.returncode == -signal.SIGKILL, died.stderr
        with Stand.opened(folder) as stand:
            stand.push([stream.batch(21, 41)])
            stand.stores.metrics.pack(30)
            values = [row["values"]["loss"] for row in stand.rows("run")]
            assert values == [step + 0.5 for step in range(40)]
        assert stored_twice(folder) == [], f"killed before line {line} of {lines}"
    record_faults(lines)
