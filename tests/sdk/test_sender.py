"""Runs with a real daemon, whose upstream is away: everything gets to this host's disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

import kelt
from harness.online_runs import daemon_pid, is_durable, journaled, wait_until
from kelt.errors import DaemonStartError
from kelt.launcher import ensure_daemon
from kelt.settings import load_settings


def test_init_starts_a_daemon_without_waiting_and_rows_get_to_its_journal(online) -> None:
    run = kelt.init("p")
    for i in range(1000):
        run.log({"i": i})
    wait_until(lambda: is_durable(run))
    assert journaled(run) == list(range(1, 1002))


@pytest.mark.covers(phase="rpc_send", fault="KILL daemon")
def test_a_daemon_that_is_killed_is_started_again_and_gets_every_record_once(online) -> None:
    run = kelt.init("p")
    run.log({"i": -1})
    wait_until(lambda: is_durable(run))
    killed = daemon_pid(online)
    os.kill(killed, signal.SIGKILL)
    for i in range(20_000):
        run.log({"i": i})
    wait_until(lambda: is_durable(run))
    assert daemon_pid(online) != killed
    assert journaled(run) == list(range(1, 20_003))


@pytest.mark.covers(phase="rpc_send", fault="STOP daemon")
def test_a_daemon_that_stands_still_delays_nothing_and_later_gets_everything_in_order(
    online,
) -> None:
    run = kelt.init("p")
    run.log({"i": -1})
    wait_until(lambda: is_durable(run))
    pid = daemon_pid(online)
    os.kill(pid, signal.SIGSTOP)
    try:
        for i in range(60_000):
            run.log({"i": i, **{f"m{k}": 0.5 for k in range(20)}})
        wait_until(lambda: run._session.sender._sealer.sealed_seq == run._session.spool.seq)
        assert run._session.sender._sent_seq < run._session.spool.seq
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: is_durable(run))
    assert journaled(run) == list(range(1, 60_003))
    wait_until(lambda: len(list(run.dir.glob("spool-*.kelt"))) <= 2)


def test_while_the_daemon_has_no_room_nothing_is_cut_that_would_be_read_from_the_files_again(
    online, monkeypatch
) -> None:
    run = kelt.init("p")
    run.log({"i": -1})
    wait_until(lambda: is_durable(run))
    sender, refused, read_again = run._session.sender, [], []
    send = sender._link.send

    def send_now_and_then(batch) -> bool:
        if len(refused) < 20 and batch not in refused:
            refused.append(batch)
            return False
        return send(batch)

    monkeypatch.setattr(sender._link, "send", send_now_and_then)
    monkeypatch.setattr("kelt.sender.cut_sealed", lambda *_, **seqs: read_again.append(seqs) or [])
    for i in range(60_000):
        run.log({"i": i, **{f"m{k}": 0.5 for k in range(20)}})
    wait_until(lambda: is_durable(run))
    assert len(refused) == 20
    assert not read_again
    assert journaled(run) == list(range(1, 60_003))


def test_batches_that_vanish_on_their_way_are_sent_again_from_where_the_daemon_stands(
    online, monkeypatch
) -> None:
    run = kelt.init("p")
    run.log({"i": -1})
    wait_until(lambda: is_durable(run))
    sender = run._session.sender
    vanished = []
    monkeypatch.setattr(sender._link, "send", lambda batch: vanished.append(batch) or True)
    for i in range(50):
        run.log({"i": i})
    wait_until(lambda: vanished and vanished[-1].last_seq == run._session.spool.seq)
    monkeypatch.undo()
    for i in range(50, 100):
        run.log({"i": i})
    wait_until(lambda: is_durable(run))
    assert journaled(run) == list(range(1, run._session.spool.seq + 1))


def test_finish_leaves_the_rest_to_the_daemon_where_the_upstream_is_away(
    online, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("KELT_SILENT", "0")
    run = kelt.init("p")
    run.log({"i": 1})
    run.finish()
    said = capsys.readouterr().err
    assert "3 of 3 records are on this host's disk and not yet on the server (" in said
    assert "; the daemon goes on sending them\n" in said
    assert said.endswith("rows=1 lost=0 synced=no\n")


def test_without_a_daemon_a_run_is_kept_and_training_goes_on(
    online, monkeypatch, capsys, contents
) -> None:
    monkeypatch.setenv("KELT_SILENT", "0")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    run = kelt.init("p", settings={"finish_timeout_s": 60})
    for i in range(10):
        run.log({"i": i})
    run.finish()
    said = capsys.readouterr().err
    assert said.count("the daemon is not there") == 1
    assert "(the daemon cannot be started now); the daemon sends them once it runs" in said
    assert contents(run.dir).column("i") == list(range(10))


def test_a_daemon_that_does_not_start_is_said_in_a_sentence(online, monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(
        DaemonStartError, match=r"ended before it was ready; its messages are in .*daemon\.stderr"
    ):
        ensure_daemon(load_settings({}, os.environ))


def test_of_many_that_start_it_at_once_one_does(online) -> None:
    code = "import os\nfrom kelt.launcher import ensure_daemon\nfrom kelt.settings import load_settings\np = ensure_daemon(load_settings({}, os.environ))\nprint(p.pid, p.started)"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    answers = [p.communicate(timeout=60)[0].split() for p in processes]
    assert {pid for pid, _ in answers} == {str(daemon_pid(online))}
    assert sorted(started for _, started in answers) == ["False"] * 7 + ["True"]


def test_init_loads_no_grpc_in_the_thread_that_trains(online, run_script) -> None:
    code = "import kelt, sys\nrun = kelt.init('p')\nbefore = 'grpc' in sys.modules\nkelt.log({'a': 1})\nprint(before)"
    assert run_script(code).stdout == "False\n"


@pytest.mark.covers(phase="rpc_send", fault="fork")
def test_a_child_forked_with_a_live_stream_logs_and_the_parent_goes_on(
    online, run_script, folders, contents
) -> None:
    code = (
        "import kelt, os, sys, time\nrun = kelt.init('p')\n"
        "while not run._session.sender.state.is_connected: time.sleep(0.01)\n"
        "for i in range(100): kelt.log({'parent': i})\n"
        "for _ in range(3):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        for i in range(50): kelt.log({'child': i})\n"
        "        sys.exit(0)\n"
        "    assert os.waitpid(pid, 0)[1] == 0\n"
        "kelt.log({'parent': 100})\nkelt.finish()\nprint('done')"
    )
    done = run_script(code)
    assert done.stdout == "done\n", done.stderr
    assert len(folders()) == 4
    assert contents(folders()[0]).column("parent") == list(range(101))
    for child in folders()[1:]:
        assert contents(child).column("child") == list(range(50))


@pytest.mark.covers(phase="spawn_handover_shutdown", fault="EMFILE/OOM")
def test_a_daemon_is_started_from_a_process_with_more_open_files_than_select_can_take(
    online, run_script
) -> None:
    code = (
        "import kelt, os, resource, time\n"
        "limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, 4096), limit))\n"
        "files = [os.open('/dev/null', os.O_RDONLY) for _ in range(1100)]\n"
        "run = kelt.init('p')\n"
        "end = time.monotonic() + 60\n"
        "while not run._session.sender.state.is_connected and time.monotonic() < end:\n"
        "    time.sleep(0.01)\n"
        "print(run._session.sender.state.is_connected)\nos._exit(0)"
    )
    assert run_script(code).stdout == "True\n"


@pytest.mark.parametrize("methods", [{}, {"isatty": lambda _: True}])
def test_a_foreign_stream_in_standard_errors_place_that_raises_ends_no_run(
    online, monkeypatch, methods
) -> None:
    class Foreign:
        def write(self, _text: str) -> None:
            raise RuntimeError("of somebody else's")

    monkeypatch.delenv("KELT_SILENT")
    monkeypatch.setattr("sys.stderr", type("Foreign", (Foreign,), {**methods})())
    run = kelt.init("p", settings={"finish_timeout_s": 0})
    run.log({"i": 0})
    wait_until(lambda: is_durable(run))
    os.kill(daemon_pid(online), signal.SIGKILL)
    run.log({"i": 1})
    run.finish()
    wait_until(lambda: not run._session.sender._background._is_running)
    assert run._session.sender._has_ended.is_set()
