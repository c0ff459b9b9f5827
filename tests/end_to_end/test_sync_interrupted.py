"""Syncs cut off anywhere, repeated, and done by two hosts at the same moment: each row once."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys

import pytest

from harness.stack import eventually

ROWS = 20_000
OFFLINE = """
    import sys, kelt
    with kelt.init("p", id="off", mode="offline") as run:
        for i in range(int(sys.argv[1])):
            run.log({"i": i, **{f"m{k}": i + k for k in range(20)}})
"""
#: A frozen process, as an SIGSTOP leaves it, would hide what a kill uncovers.
KILLED = ("client", "daemon", "server")


def start_sync(host, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "kelt.cli.main", "sync", "--json", *map(str, arguments)],
        env=host.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def committed(reader):
    found = reader.get("/runs", project="p")["runs"]
    return found[0]["rows"] if found else 0


def check_rows(reader):
    history = reader.history("off")
    assert [row["i"] for row in history] == list(range(ROWS))
    assert all(row["m19"] == row["i"] + 19 for row in history)


@pytest.mark.parametrize("killed", KILLED)
def test_a_sync_that_is_killed_in_the_middle_is_gone_on_with(host, server, reader, killed):
    host.run(OFFLINE, ROWS)
    sync = start_sync(host, "--wait", "30")
    eventually(lambda: host.daemon_alive() and committed(reader) > 0 or None, pause_s=0.01)
    if killed == "client":
        sync.kill()
    elif killed == "daemon":
        host.stop_daemon(signal.SIGKILL)
    else:
        server.stop(signal.SIGKILL)
        server.start()
    out, err = sync.communicate(timeout=60)
    if killed == "client":
        out, err = host.kelt("sync", "--json", "--include-synced")
    *_, totals = [json.loads(line) for line in out.splitlines()]
    assert (totals["runs"], totals["synced"]) == (1, 1), err
    if killed != "client":
        # What a daemon sent that died before its first report was there when the next one looked.
        assert sync.returncode == 0
        assert totals["records_sent"] + totals["records_skipped"] >= ROWS
        assert killed == "daemon" or totals["rows_sent"] == ROWS
    check_rows(reader)


def test_two_hosts_that_sync_the_same_run_at_the_same_moment_bring_each_row_once(
    host, other_host, reader
):
    host.run(OFFLINE, ROWS)
    (folder,) = (host.state_dir / "runs").iterdir()
    copied = other_host.state_dir / "runs" / folder.name
    copied.parent.mkdir(parents=True)
    other_host.state_dir.chmod(0o700)
    shutil.copytree(folder, copied)
    both = [start_sync(host, folder), start_sync(other_host, copied)]
    for sync in both:
        out, err = sync.communicate(timeout=90)
        assert sync.returncode == 0, err
        run, _ = [json.loads(line) for line in out.splitlines()]
        assert run["is_synced"]
        assert run["committed"] == run["sent"] + run["skipped"] == ROWS + 2
    check_rows(reader)
    assert len(reader.run("off")["sessions"]) == 1
