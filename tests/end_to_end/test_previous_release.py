"""The release before this one, as it was, beside this one: on every hop and on the same disk."""

import contextlib
import json
import math
import os
import signal
import subprocess
from pathlib import Path

import pytest

from harness.releases import import_path, previous_release, this_code_as
from harness.stack import Host, Reader, ServerProcess, eventually
from kelt.version import __version__

TRAINER = """
import sys, time
import kelt
rows, pause_s = int(sys.argv[2]), float(sys.argv[3])
with kelt.init("p", id=sys.argv[1], config={"lr": 0.5}) as run:
    for i in range(rows):
        run.log({"i": i, "loss": 1 / (i + 1), "note": "row"})
        if i == 20:
            print("under way", flush=True)
        time.sleep(pause_s)
"""
KILLED = """
import os, sys, time
import kelt
run = kelt.init("p", id=sys.argv[1], mode=sys.argv[2])
for i in range(300):
    run.log({"i": i})
run.summary["best"] = 7
if sys.argv[2] == "offline":
    run.finish()
    os._exit(0)
time.sleep(1)
print("on the disk", flush=True)
time.sleep(100)
"""


@pytest.fixture(scope="module")
def previous(tmp_path_factory):
    """The PYTHONPATH of kelt 0.1.0."""
    folder = previous_release(tmp_path_factory.mktemp("releases") / "previous")
    if folder is None:
        pytest.skip("the commit of kelt 0.1.0 is not in this clone (shallow, or an archive)")
    return import_path(folder)


@contextlib.contextmanager
def server_of(folder, path=""):
    server = ServerProcess(folder, environment={"PYTHONPATH": path} if path else {}).start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def host_of(folder, upstream):
    host = Host(folder, upstream)
    try:
        yield host
    finally:
        host.close()


def has_rows(reader, name, count, state="finished"):
    def check():
        run = reader.run(name)
        assert run["state"] == state
        assert [row["i"] for row in reader.history(name)] == list(range(count))
        assert run["losses"] == []
        return run

    return eventually(check)


def read_line(process):
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return line


def test_a_newer_trainer_takes_over_from_the_older_daemon_and_no_trainer_loses_a_row(
    tmp_path, previous
):
    with server_of(tmp_path / "server") as server, host_of(tmp_path / "s", server.url) as host:
        older = host.start(TRAINER, "older", 1500, 0.003, PYTHONPATH=previous)
        assert read_line(older) == "under way\n"
        eventually(lambda: host.daemon)
        old_daemon = host.daemon
        assert old_daemon["version"] == "0.1.0"
        host.run(TRAINER, "newer", 200, 0.0)
        assert host.daemon["version"] == __version__
        assert host.daemon["pid"] != old_daemon["pid"]
        assert older.wait(60) == 0, older.stderr.read()
        reader = Reader(server.url)
        has_rows(reader, "older", 1500)
        has_rows(reader, "newer", 200)
        # And the older trainer's kelt uses the newer daemon as it is.
        taken_over = host.daemon["pid"]
        host.run(TRAINER, "older-again", 50, 0.0, PYTHONPATH=previous)
        has_rows(reader, "older-again", 50)
        assert host.daemon_alive() == taken_over


def test_an_older_host_sends_to_this_server(tmp_path, previous):
    with server_of(tmp_path / "server") as server, host_of(tmp_path / "s", server.url) as host:
        host.run(TRAINER, "r", 300, 0.0, PYTHONPATH=previous)
        assert host.daemon["version"] == "0.1.0"
        run = has_rows(Reader(server.url), "r", 300)
        assert run["config"] == {"lr": 0.5}


def test_this_host_sends_to_an_older_server(tmp_path, previous):
    with (
        server_of(tmp_path / "server", previous) as server,
        host_of(tmp_path / "s", server.url) as host,
    ):
        host.run(TRAINER, "r", 300, 0.0, KELT_CONSOLE="off")
        assert host.daemon["version"] == __version__
        run = has_rows(Reader(server.url), "r", 300)
        assert run["config"] == {"lr": 0.5}
        host.run(TRAINER, "printed", 50, 0.0)
        reader = Reader(server.url)
        losses = eventually(lambda: reader.run("printed")["losses"] or None)
        assert ["unknown kind 12" in loss["reason"] for loss in losses] == [True]
        assert [row["i"] for row in reader.history("printed")] == list(range(50))


def test_what_the_older_release_left_on_disk_this_one_sends(tmp_path, previous):
    server = ServerProcess(tmp_path / "server").start()
    server.stop()  # its port is known, and nobody answers there
    with host_of(tmp_path / "s", server.url) as host:
        streaming = host.start(KILLED, "streamed", "online", PYTHONPATH=previous)
        assert read_line(streaming) == "on the disk\n"
        runs = tmp_path / "s" / "runs"
        assert eventually(lambda: list(runs.glob("run-*/journal-*")) or None)
        assert host.daemon["version"] == "0.1.0"
        streaming.kill()
        host.run(KILLED, "offline", "offline", PYTHONPATH=previous)
        host.stop_daemon(signal.SIGKILL)
        server.start()
        host.kelt("sync")
        assert host.daemon["version"] == __version__
        reader = Reader(server.url)
        run = has_rows(reader, "offline", 300)
        assert run["summary"]["best"] == 7
        has_rows(reader, "streamed", 300, state=reader.run("streamed")["state"])
    server.stop()


FIXTURE = Path(__file__).with_name("fixtures") / "run_folders_0_1_0.tar.xz"
"""Two run folders as kelt 0.1.0 wrote them on another machine: `left`, streamed to a daemon that was
killed (a journal), and `closed`, offline and never read (a spool). Each: config, 100 rows of four
kinds, a row with NaN, 2**60 and None at step 200, a rewind to step 49, a row after it, a summary by
hand; then `left` goes on for five rows and dies, and `closed` finishes. Never made anew.
"""


@pytest.mark.parametrize(
    ("name", "after"), [("left", [1000, *range(2000, 2005)]), ("closed", [1000])]
)
def test_run_folders_of_0_1_0_replay_exactly(tmp_path, name, after):
    with server_of(tmp_path / "server") as server, host_of(tmp_path / "s", server.url) as host:
        (tmp_path / "s").mkdir(mode=0o700)
        subprocess.run(["tar", "-xf", FIXTURE, "-C", tmp_path / "s"], check=True)
        for manifest in (tmp_path / "s" / "runs").glob("*/run.json"):
            manifest.write_text(manifest.read_text().replace("http://127.0.0.1:9", server.url))
        host.kelt("daemon", "start")
        reader = Reader(server.url)

        def is_there():
            assert [row.get("i") for row in reader.history(name, "fixture")][-1:] == after[-1:]
            return True

        eventually(is_there)
        rows = reader.history(name, "fixture")
        assert [row["i"] for row in rows] == [*range(50), *after]
        assert [row["step"] for row in rows[:51]] == list(range(51))
        for i, row in enumerate(rows[:50]):
            logged = {"i": i, "third": i / 3, "text": f"row {i} é", "flag": i % 2 == 0}
            assert {key: row[key] for key in logged} == logged
        run = reader.run(name, "fixture")
        assert run["config"] == {"lr": 0.5, "layers": [1, 2]}
        assert run["summary"]["best"] == 7
        assert run["losses"] == []
        (before,) = reader.get(f"/runs/-/fixture/{name}/archived")["runs"]
        archived = reader.history(before["immutable_id"], "fixture")
        assert [row.get("i") for row in archived] == [*range(100), None]
        assert math.isnan(archived[-1]["nan"])
        assert (archived[-1]["big"], archived[-1]["none"]) == (2**60, None)


def test_two_versions_at_once_end_with_the_newer_one_and_take_no_turns(tmp_path):
    newer = import_path(this_code_as("99.1.0", tmp_path / "newer"))
    with server_of(tmp_path / "server") as server, host_of(tmp_path / "s", server.url) as host:
        trainers = []
        for i in range(6):
            path = {"PYTHONPATH": newer} if i % 2 else {}
            trainers.append(host.start(TRAINER, f"r{i}", 400, 0.003, **path))
        for trainer in trainers:
            assert trainer.wait(60) == 0, trainer.stderr.read()
        assert host.daemon["version"] == "99.1.0"
        reader = Reader(server.url)
        for i in range(6):
            has_rows(reader, f"r{i}", 400)
        log = (tmp_path / "s" / "logs" / "daemon.log").read_text()
        started = [
            line["version"]
            for line in map(json.loads, log.splitlines())
            if line["event"] == "daemon_started"
        ]
        assert started in (["99.1.0"], [__version__, "99.1.0"])
        assert os.environ.get("PYTHONPATH") is None or "newer" not in os.environ["PYTHONPATH"]
