"""`kelt daemon`, `kelt status` and `kelt doctor` as processes, with a real daemon."""

from __future__ import annotations

import json
import os
import signal

import pytest
from cli.conftest import NOBODY

from harness.in_process import make_folder
from harness.stack import eventually
from kelt.cli.exit_codes import ExitCode
from kelt.launcher import is_lock_held
from kelt.sidecar_client import SidecarClient
from kelt.state_dir import StateDir


def pid_of(kelt):
    return json.loads(kelt("daemon", "status", "--json").stdout)["pid"]


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_start_starts_one_and_says_so_when_it_runs_already(kelt):
    first = kelt("daemon", "start")
    assert (first.returncode, first.stderr) == (0, "")
    pid = pid_of(kelt)
    assert f"The daemon started (pid {pid}, " in first.stdout
    second = kelt("daemon", "start")
    assert (second.returncode, f"runs already (pid {pid}, " in second.stdout) == (0, True)
    assert pid_of(kelt) == pid


def test_stop_waits_until_it_has_ended_and_is_no_error_without_one(kelt):
    kelt("daemon", "start")
    pid = pid_of(kelt)
    assert kelt("daemon", "stop").stdout == "The daemon has ended.\n"
    assert eventually(lambda: True if not is_alive(pid) else None)
    again = kelt("daemon", "stop")
    assert (again.returncode, "No daemon runs" in again.stdout) == (0, True)


def test_after_stop_a_successor_can_start_at_once_though_somebody_still_listened(kelt):
    kelt("daemon", "start")
    state_dir = StateDir(kelt.state_dir)
    spool = make_folder(state_dir.runs / "r", NOBODY, 10, ended=False)
    with SidecarClient(socket=state_dir.socket) as client:
        reports = client.sync(paths=[spool.folder], live=True)
        next(reports)
        assert kelt("daemon", "stop").stdout == "The daemon has ended.\n"
        assert not is_lock_held(state_dir.daemon_lock)
    spool.close()


def test_status_says_who_it_is_and_without_one_exits_with_3(kelt):
    nobody = kelt("daemon", "status", "--json")
    assert nobody.returncode == ExitCode.UNREACHABLE
    assert json.loads(nobody.stdout) == {"state_dir": str(kelt.state_dir), "running": False}
    kelt("daemon", "start")
    result = kelt("daemon", "status")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0].startswith(f"daemon   pid {pid_of(kelt)}, version ")
    assert f"folder   {kelt.state_dir}" in result.stdout


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_run_serves_in_the_foreground_until_a_signal(kelt, signum):
    process = kelt.start("daemon", "run")
    eventually(lambda: True if kelt("daemon", "status").returncode == 0 else None)
    assert pid_of(kelt) == process.pid
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in out + err


def test_run_refuses_beside_another_and_names_it(kelt):
    kelt("daemon", "start")
    result = kelt("daemon", "run")
    assert result.returncode == ExitCode.FAILED
    assert result.stderr == (
        f"kelt: A daemon (pid {pid_of(kelt)}) runs for {kelt.state_dir} already. "
        "End it with `kelt daemon stop`.\n"
    )


def test_logs_are_readable_or_json_as_they_were_written(kelt):
    kelt("daemon", "start")
    pid = pid_of(kelt)
    assert f"pid={pid}" in kelt("daemon", "logs").stdout
    [line] = kelt("daemon", "logs", "--json", "-n", "1").stdout.splitlines()
    assert json.loads(line)["event"]


def test_following_the_log_shows_what_comes(kelt):
    kelt("daemon", "start")
    process = kelt.start("daemon", "logs", "-f", "-n", "1")
    assert process.stdout.readline()  # from now on it follows
    kelt("daemon", "stop")
    assert "stop" in process.stdout.readline()


def test_a_state_folder_that_cannot_be_made_is_one_sentence(kelt, tmp_path):
    (tmp_path / "file").write_text("")
    result = kelt("daemon", "start", KELT_DIR=str(tmp_path / "file" / "state"))
    assert result.returncode == ExitCode.FAILED
    assert "Point KELT_DIR at a folder of your own" in result.stderr
    assert "Traceback" not in result.stderr


def test_doctor_knows_the_daemon_that_runs(kelt):
    kelt("daemon", "start")
    lines = kelt("doctor").stdout.splitlines()
    [line] = [line for line in lines if line.split()[1] == "daemon"]
    assert line.startswith(f"ok    daemon        pid {pid_of(kelt)}, version ")


def test_doctor_says_of_a_file_of_authorities_that_is_not_there_and_goes_on_to_the_end(kelt):
    result = kelt("doctor", KELT_CA_FILE="/nowhere", KELT_UPSTREAM="https://127.0.0.1:9")
    assert result.returncode == ExitCode.FAILED
    assert "\nfail  upstream      The CA file /nowhere" in result.stdout
    assert "1 check failed" in result.stderr


def test_of_a_daemon_that_stands_still_stop_and_doctor_say_how_to_end_it(kelt):
    kelt("daemon", "start")
    pid = pid_of(kelt)
    os.kill(pid, signal.SIGSTOP)
    try:
        stop = kelt("daemon", "stop")
        assert stop.returncode == ExitCode.UNREACHABLE
        assert f"`kill -9 {pid}` ends the daemon; no row is lost by it." in stop.stderr
        told = " ".join(kelt("doctor").stdout.split())
        assert f"`kill -9 {pid}` ends it and loses nothing" in told
    finally:
        os.kill(pid, signal.SIGCONT)
