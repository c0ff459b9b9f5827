"""mode="offline" needs nobody: no other process is started, and no daemon could be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap

import pytest

OFFLINE = """
    import os, sys, kelt
    if sys.argv[1] == "no daemon can be":
        sys.modules["grpc"] = sys.modules["kelt_daemon"] = None
    with kelt.init("p", id="off", mode="offline", config={"a": 1}) as run:
        for i in range(500):
            run.log({"i": i})
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_no_process_is_started_and_no_socket_is_opened(host, tmp_path):
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-qq", "-e", "trace=execve,vfork,fork,clone,clone3,connect,bind"]
    done = subprocess.run(
        [*command, "-o", str(trace), sys.executable, "-c", textwrap.dedent(OFFLINE), "-"],
        env=host.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    calls = [line.split(" ", 1)[1].strip() for line in trace.read_text().splitlines()]
    assert sum(call.startswith("execve(") and call.endswith("= 0") for call in calls) == 1
    clones = [call for call in calls if call.startswith(("clone", "fork", "vfork"))]
    assert all("CLONE_THREAD" in call or "resumed" in call for call in clones), clones
    assert not [call for call in calls if call.startswith(("connect(", "bind("))]
    assert host.daemon is None


def test_where_no_daemon_can_run_an_offline_run_is_as_good_as_any(host, reader, tmp_path):
    # A state folder whose daemon lock is a folder: nobody can start one there.
    (host.state_dir / "daemon.lock").mkdir(parents=True)
    host.state_dir.chmod(0o700)
    host.run(OFFLINE, "no daemon can be")
    [folder] = (host.state_dir / "runs").iterdir()
    assert not [path.name for path in folder.iterdir() if path.name.startswith("journal")]
    shutil.copytree(folder, tmp_path / "carried")
    os.rmdir(host.state_dir / "daemon.lock")  # noqa: PTH106 # it is a folder here
    host.kelt("sync", tmp_path / "carried")
    assert reader.steps("off") == list(range(500))
    assert reader.run("off")["config"] == {"a": 1}
