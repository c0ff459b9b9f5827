"""`kelt sync` and `kelt status`: offline runs on their way, with real processes all the way."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import termios
from pathlib import Path

import pytest
from cli.conftest import COMMAND

import kelt as kelt_api
from harness.stack import Reader, ServerProcess, eventually
from harness.wandb_writer import WandbWriter
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


def test_ctrl_c_while_a_file_is_read_is_told_and_loses_nothing(kelt, tmp_path):
    with (tmp_path / "run-r1.wandb").open("wb") as out:
        writer = WandbWriter(out)
        writer.begin()
        writer.end()
    lock = kelt.state_dir / "imports" / "lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as another `kelt sync` that reads for a while
        command = [*COMMAND, "sync", "--yes", str(tmp_path)]
        process = subprocess.Popen(command, env=kelt.environ, stderr=subprocess.PIPE, text=True)
        eventually(lambda: str(lock) in open_files(process.pid) or None)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED
    assert said.startswith("kelt: Interrupted while reading; nothing is lost")


def open_files(pid):
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(entry.readlink()))
    return found


def test_without_paths_all_that_wait_are_listed_and_sent_once(synced, upstream):
    for name in ("first", "second"):
        make_offline_run(synced, name)
    synced("daemon", "start")
    status = synced("status")
    assert status.returncode == 0
    assert status.stdout.count("waiting") == 2

    result = synced("sync")

    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == [
        "RUN", "STATE", "AGE", "ROWS", "RECORDS", "SIZE", "WHY", "IT", "WAITS",
    ]  # fmt: skip
    assert [line.split()[:2] for line in lines[1:3]] == [
        ["demo/first", "finished"],
        ["demo/second", "finished"],
    ]
    assert [line.split()[3] for line in lines[1:3]] == ["50", "50"]
    assert lines[3].startswith("2 runs: 100 rows in ")
    assert sorted(line.split(":")[0] for line in lines[4:6]) == ["demo/first", "demo/second"]
    assert all("(50 rows), 0 skipped" in line for line in lines[4:6])
    assert lines[6].startswith("Synced 2 runs: sent ")
    assert "\x1b" not in result.stdout + result.stderr
    for name in ("first", "second"):
        assert steps(upstream, name) == list(range(50))
    again = synced("sync")
    assert (again.returncode, again.stdout) == (0, "Nothing waits to be sent.\n")


def test_a_fork_whose_parent_was_deleted_before_it_came_is_told_of(synced, upstream):
    parent = OFFLINE.format(name="parent", rows=3)
    fork = OFFLINE.replace("mode=", 'fork_from="parent?_step=1", mode=').format(
        name="child", rows=1
    )
    assert synced.python(parent + fork).returncode == 0
    folders = {f.name.split("-")[-2]: f for f in (synced.state_dir / "runs").iterdir()}
    assert synced("sync", folders["parent"]).returncode == 0
    kelt_api.Api(upstream=upstream.url).run("demo/parent").delete()

    result = synced("sync", folders["child"])

    assert result.returncode == 0, result.stderr
    (line,) = [text for text in result.stdout.splitlines() if "was deleted on" in text]
    assert line.startswith("demo/child: the run that child was forked from (parent) was")
    assert "rows up to step 1 that it inherits went with it" in line


def test_a_path_sends_that_run_alone_and_json_tells_how_much(synced, upstream):
    chosen = make_offline_run(synced, "chosen")
    make_offline_run(synced, "other")
    result = synced("sync", chosen, "--json")
    assert result.returncode == 0, result.stderr
    told, totals = [json.loads(line) for line in result.stdout.splitlines()]
    assert (told["run_id"], told["error"], told["is_synced"]) == ("chosen", "", True)
    assert told["committed"] == told["records"] == told["sent"] > 50
    assert (told["rows"], totals["rows_sent"], totals["synced"]) == (50, 50, 1)
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
    assert "1 more is wholly upstream" in synced("status").stderr
    assert "seen" in synced("status", "--all").stdout


def test_a_dry_run_says_exactly_what_is_sent_and_changes_and_starts_nothing(synced, upstream):
    folder = make_offline_run(synced, "seen", rows=70)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    upstream.stop()
    dry = synced("sync", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    [wanted, totals] = [json.loads(line) for line in dry.stdout.splitlines()]
    assert (wanted["rows"], wanted["is_synced"], totals["is_dry_run"]) == (70, False, True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert synced("daemon", "status").returncode == ExitCode.UNREACHABLE
    upstream.start()
    [done, _] = [json.loads(line) for line in synced("sync", "--json").stdout.splitlines()]
    same = ("records", "sent", "skipped", "rows", "lost_rows", "upstream")
    assert {key: done[key] for key in same} == {key: wanted[key] for key in same}


def on_a_terminal(kelt, *arguments, answer=b"", columns=100):
    """(exit code, what the terminal showed)."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], env=kelt.environ | {"TERM": "xterm-256color"},
        stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    os.write(master, answer)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is gone with its last user
        while piece := os.read(master, 65536):
            shown += piece
    os.close(master)
    return process.wait(60), shown.decode()


def test_on_a_terminal_it_asks_first_unless_told_not_to(synced, upstream):
    make_offline_run(synced, "asked")
    code, shown = on_a_terminal(synced, "sync", answer=b"n\n")
    assert code == ExitCode.INTERRUPTED
    assert "Send them?" in shown
    assert "demo/asked" in shown
    assert synced("daemon", "status").returncode == ExitCode.UNREACHABLE
    code, shown = on_a_terminal(synced, "sync", "--yes")
    assert (code, "Send them?" in shown) == (0, False)
    assert "demo/asked: synced to" in shown
    assert "Synced 1 run: sent" in shown
    assert steps(upstream, "asked") == list(range(50))
    assert on_a_terminal(synced, "sync") == (0, "Nothing waits to be sent.\r\n")


def test_what_is_named_and_upstream_already_is_skipped_and_counted(synced, upstream):
    folder = make_offline_run(synced, "twice")
    synced("sync")
    again = synced("sync", folder.parent)
    assert again.returncode == 0
    assert "0 records sent (0 rows), 53 skipped" in again.stdout
    assert synced("sync", folder.parent, "--skip-synced").stdout == "Nothing waits to be sent.\n"
    assert "demo/twice" in synced("sync", "--include-synced").stdout
    assert steps(upstream, "twice") == list(range(50))


def test_a_folder_of_folders_and_a_glob_name_the_runs_in_them(synced, upstream, tmp_path):
    for name in ("one", "two"):
        folder = make_offline_run(synced, name)
        (tmp_path / "carried" / name).mkdir(parents=True)
        shutil.copytree(folder, tmp_path / "carried" / name / "deeper")
        shutil.rmtree(folder)
    result = synced("sync", *sorted((tmp_path / "carried").glob("*")))
    assert result.returncode == 0, result.stdout
    assert "Synced 2 runs" in result.stdout
    for name in ("one", "two"):
        assert steps(upstream, name) == list(range(50))


def test_from_python_the_same_is_a_result(synced, upstream):
    make_offline_run(synced, "wanted")
    result = synced.python("""
import kelt
dry = kelt.sync(dry_run=True)
print(dry.is_complete, dry.rows_sent, [run.run_id for run in dry.runs])
done = kelt.sync()
print(done.is_complete, done.rows_sent, done.records_sent, done.records_skipped, done.error)
again = kelt.sync([run.path for run in done.runs])
print(again.is_complete, again.rows_sent, again.records_skipped, again.runs[0].is_synced)
print(kelt.sync().runs)
try:
    kelt.sync("/does/not/exist")
except kelt.UsageError as error:
    print(error)
""")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "False 50 ['wanted']",
        "True 50 53 0 ",
        "True 0 53 True",
        "()",
        "kelt.sync: /does/not/exist is no folder. Name run folders, W&B's .wandb files, TensorBoard's event files, an MLflow store, Neptune's exported files, or folders of them.",
    ]
    assert steps(upstream, "wanted") == list(range(50))
