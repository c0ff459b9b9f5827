"""Many trainers that need a daemon at the same moment get one, whatever else goes wrong."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kelt.run_folder import pid_start_ticks
from kelt.state_dir import StateDir

SCRIPT = Path(__file__).parents[1] / "harness" / "launching_script.py"

HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def state_dir(tmp_path):
    state_dir = StateDir(tmp_path / "state")
    yield state_dir
    for pid in daemons_of(state_dir):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def daemons_of(state_dir: StateDir) -> list[int]:
    """Every process that was started as a daemon of this folder, by the system's own list."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            is_daemon = b"kelt_daemon" in arguments and b"/bin/sh" not in arguments
            if is_daemon and os.fsencode(state_dir.root) in arguments:
                found.append(int(entry.name))
    return found


def start_at_once(state_dir: StateDir, count: int) -> list[tuple[int, str, bool]]:
    """(pid, nonce, started) as each of many processes found it."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("KELT_")}
    environ |= {"KELT_DIR": str(state_dir.root), "KELT_CONFIG": os.devnull}
    gate, gun = os.pipe()
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            stdin=gate, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, text=True,
        )
        for _ in range(count)
    ]  # fmt: skip
    os.close(gate)
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
        os.close(gun)
        answers = []
        for process in processes:
            said, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
            pid, nonce, started = said.split()
            answers.append((int(pid), nonce, started == "True"))
        return answers
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()


def test_of_64_trainers_that_start_at_once_one_starts_the_daemon_and_all_reach_it(state_dir):
    answers = start_at_once(state_dir, 64)
    assert len({(pid, nonce) for pid, nonce, _ in answers}) == 1
    assert sum(started for _, _, started in answers) == 1
    assert daemons_of(state_dir) == [answers[0][0]]


def leave_remains(state_dir: StateDir) -> None:
    """What a daemon leaves that was killed: a bound socket, a door, and its record."""
    state_dir.create()
    for path in (state_dir.socket, state_dir.door):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
            left.listen()
    record = {"pid": os.getpid(), "version": "0.0.1", "socket": str(state_dir.socket)}
    state_dir.daemon_record.write_text(json.dumps(record))
    state_dir.daemon_lock.touch()


@pytest.mark.covers(phase="spawn_handover_shutdown", fault="KILL daemon")
def test_what_a_killed_daemon_left_misleads_nobody(state_dir):
    leave_remains(state_dir)
    answers = start_at_once(state_dir, 16)
    assert len({(pid, nonce) for pid, nonce, _ in answers}) == 1
    assert answers[0][0] != os.getpid()
    assert daemons_of(state_dir) == [answers[0][0]]


@pytest.mark.covers(phase="spawn_handover_shutdown", fault="KILL trainer")
def test_a_trainer_killed_while_it_starts_the_daemon_holds_up_nobody(state_dir):
    state_dir.create()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(state_dir.spawn_lock)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout.readline() == b"held\n"
    threading.Timer(0.5, holder.kill).start()
    answers = start_at_once(state_dir, 12)
    assert len({(pid, nonce) for pid, nonce, _ in answers}) == 1
    assert daemons_of(state_dir) == [answers[0][0]]
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()


@pytest.mark.covers(phase="spawn_handover_shutdown", fault="KILL daemon")
def test_a_daemon_that_dies_in_the_race_is_followed_by_one(state_dir):
    killed = []

    def kill_the_first() -> None:
        end = time.monotonic() + 60
        while not killed and time.monotonic() < end:
            with contextlib.suppress(OSError, ValueError, KeyError):
                pid = json.loads(state_dir.daemon_record.read_text())["pid"]
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.001)

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    answers = start_at_once(state_dir, 16)
    killer.join()
    assert killed
    survivors = {(pid, nonce) for pid, nonce, _ in answers} - {
        (pid, nonce) for pid, nonce, _ in answers if pid == killed[0]
    }
    assert len(survivors) <= 1
    alive = [pid for pid in daemons_of(state_dir) if pid_start_ticks(pid)]
    assert alive == [pid for pid, _ in survivors]


def test_a_second_daemon_neither_takes_the_socket_nor_removes_it(state_dir):
    ((pid, nonce, _),) = start_at_once(state_dir, 1)
    before = state_dir.socket.stat().st_ino, state_dir.door.stat().st_ino
    second = subprocess.run(
        [sys.executable, "-m", "kelt_daemon", "run", "--state-dir", str(state_dir.root)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert second.returncode == 3
    assert f"(pid {pid}) already serves" in second.stderr
    assert (state_dir.socket.stat().st_ino, state_dir.door.stat().st_ino) == before
    assert start_at_once(state_dir, 2) == [(pid, nonce, False)] * 2


def test_whoever_looks_whether_the_lock_is_held_does_not_keep_a_daemon_from_starting(state_dir):
    state_dir.create()
    looking = threading.Event()

    def look() -> None:
        fd = os.open(state_dir.daemon_lock, os.O_RDWR | os.O_CREAT, 0o600)
        while not looking.is_set():
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                time.sleep(0.001)
                fcntl.flock(fd, fcntl.LOCK_UN)
            time.sleep(0.001)
        os.close(fd)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        ((pid, _, started),) = start_at_once(state_dir, 1)
    finally:
        looking.set()
        looker.join()
    assert started
    assert daemons_of(state_dir) == [pid]
