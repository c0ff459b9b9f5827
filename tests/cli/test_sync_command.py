"""`kelt sync` and `kelt status`: offline runs on their way, with real processes all the way."""

from __future__ import annotations

import json
import shutil

import pytest

from harness.stack import Reader, ServerProcess
from kelt.cli.exit_codes import ExitCode

OFFLINE = """
import kelt
with kelt.init("demo", id={name!r}, mode="offline", config={{"lr": 0.1}}) as run:
    for step in range({rows}):
        run.log({{"loss": 1.0 / (step + 1), "n": step}})
"""


def make_offline_run(kelt, name, rows=50):
    result = kelt.python(OFFLINE.format(name=name, rows=rows), KELT_SILENT="true")
    assert result.returncode == 0, result.stderr
    [folder] = [f for f in (kelt.state_dir / "runs").iterdir() if f"-{name}-" in f.name]
    return folder


@pytest.fixture
def upstream(tmp_path):
    process = ServerProcess(tmp_path / "server")
    process.start()
    yield process
    process.stop()


@pytest.fixture
def synced(kelt, upstream):
    kelt.environ["KELT_UPSTREAM"] = upstream.url
    return kelt


def steps(upstream, name):
    return [row["n"] for row in Reader(upstream.url).history(name, project="demo")]


def test_without_paths_all_that_wait_are_listed_and_sent_once(synced, upstream):
    for name in ("first", "second"):
        make_offline_run(synced, name)
    synced("daemon", "start")
    status = synced("status")
    assert status.returncode == 0
    assert status.stdout.count("waiting") == 2

    result = synced("sync")

    assert result.returncode == 0, result.stderr
    assert "demo/first waits in " in result.stderr
    assert len(result.stdout.splitlines()) == 2
    assert "demo/second: " in result.stdout
    for name in ("first", "second"):
        assert steps(upstream, name) == list(range(50))
    again = synced("sync")
    assert (again.returncode, again.stdout) == (0, "Nothing waits to be sent.\n")


def test_a_path_sends_that_run_alone_and_json_tells_how_much(synced, upstream):
    chosen = make_offline_run(synced, "chosen")
    make_offline_run(synced, "other")
    result = synced("sync", chosen, "--json")
    assert result.returncode == 0, result.stderr
    [line] = result.stdout.splitlines()
    told = json.loads(line)
    assert (told["run_id"], told["error"]) == ("chosen", "")
    assert told["committed"] == told["records"] > 50
    assert steps(upstream, "chosen") == list(range(50))
    runs = Reader(upstream.url).get("/runs", project="demo")["runs"]
    assert [run["run_id"] for run in runs] == ["chosen"]


def test_a_folder_from_elsewhere_is_sent_and_sending_it_twice_changes_nothing(
    synced, upstream, tmp_path
):
    folder = make_offline_run(synced, "travelled")
    shutil.copytree(folder, tmp_path / "usb" / "one", symlinks=False)
    shutil.rmtree(folder)
    for _ in range(2):
        result = synced("sync", tmp_path / "usb")
        assert result.returncode == 0, result.stderr + result.stdout
        assert steps(upstream, "travelled") == list(range(50))


def test_an_upstream_that_is_away_is_3_and_nothing_is_lost(synced, upstream):
    make_offline_run(synced, "patient")
    upstream.stop()
    result = synced("sync", "--wait", "1")
    assert result.returncode == ExitCode.UNREACHABLE
    assert result.stderr.splitlines()[-1].count(upstream.url) == 1
    assert "The daemon goes on trying" in result.stderr.splitlines()[-1]
    upstream.start()
    assert synced("sync").returncode == 0
    assert steps(upstream, "patient") == list(range(50))


def test_one_folder_that_cannot_be_sent_fails_the_command_and_the_others_arrive(
    synced, upstream, tmp_path
):
    good = make_offline_run(synced, "good")
    empty = tmp_path / "empty"
    empty.mkdir()
    result = synced("sync", empty, good)
    assert result.returncode == ExitCode.FAILED
    assert "holds no run folder" in result.stdout
    assert "1 run of 2 could not be sent" in result.stderr
    assert steps(upstream, "good") == list(range(50))


def test_a_refused_key_fails_with_the_remedy_and_the_right_one_sends_everything(kelt, tmp_path):
    server = ServerProcess(tmp_path / "keyed", environment={"KELT_SERVER_API_KEY": "secret"})
    server.start()
    try:
        kelt.environ["KELT_UPSTREAM"] = server.url
        make_offline_run(kelt, "guarded")
        refused = kelt("sync", "--wait", "3", KELT_API_KEY="wrong")
        assert refused.returncode == ExitCode.FAILED
        assert "KELT_API_KEY" in refused.stdout + refused.stderr
        assert kelt("sync", KELT_API_KEY="secret").returncode == 0
        log = (kelt.state_dir / "logs" / "daemon.log").read_text()
        assert "secret" not in log
    finally:
        server.stop()


def test_status_names_upstreams_and_problems_and_as_json_everything(synced, upstream):
    make_offline_run(synced, "seen")
    synced("sync")
    told = json.loads(synced("status", "--json").stdout)
    assert [u["url"] for u in told["upstreams"]] == [upstream.url]
    [run] = told["runs"]
    assert (run["run_id"], run["state"]) == ("seen", "finished")
    assert run["committed_records"] == run["durable_records"] > 0
    assert "1 more are wholly upstream" in synced("status").stderr
    assert "seen" in synced("status", "--all").stdout
