"""Finding and starting the daemon, and the folder that it is found by."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kelt.errors import DaemonStartError
from kelt.launcher import RespawnDelay, ensure_daemon, find_daemon
from kelt.settings import load_settings
from kelt.state_dir import SOCKET_PATH_BYTES_MAX, StateDir
from kelt.version import is_newer
from kelt_proto.v1.protocol import ProtocolRange, said


@pytest.fixture
def root(kelt_dir):
    yield kelt_dir
    end_daemon(kelt_dir)


def end_daemon(root: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.kill(json.loads((root / "daemon.json").read_text())["pid"], signal.SIGKILL)


def settings(root: Path, **changes: object):
    return load_settings({"state_dir": root, **changes}, {"KELT_CONFIG": os.devnull})


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_waiting_grows_with_jitter_and_is_bounded():
    for _ in range(20):
        delay = RespawnDelay(first_s=1.0, max_s=8.0)
        waits = [delay.next_s() for _ in range(6)]
        for wait, most in zip(waits, [1, 2, 4, 8, 8, 8], strict=True):
            assert most / 2 <= wait <= most
    assert len({RespawnDelay().next_s() for _ in range(20)}) > 1


def test_a_daemon_that_dies_as_soon_as_it_is_reached_is_started_ever_more_slowly():
    clock = Clock()
    delay = RespawnDelay(first_s=1.0, max_s=8.0, lasting_s=10.0, clock=clock)
    waits = []
    for _ in range(5):
        delay.succeeded()
        clock.now_s += 1.0
        waits.append(delay.next_s())
    assert waits[-1] > 4.0 >= waits[2]
    delay.succeeded()
    clock.now_s += 10.0
    assert delay.next_s() <= 1.0


def test_a_broken_python_is_named_with_the_log_that_says_more(root, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(DaemonStartError) as raised:
        ensure_daemon(settings(root))
    said_text = str(raised.value)
    assert str(root / "logs" / "daemon.stderr") in said_text
    assert "/nonexistent/python" in said_text
    assert "not found" in said_text


def test_a_daemon_that_cannot_be_imported_is_told_with_the_last_line_of_its_report(
    root, monkeypatch, tmp_path
):
    (tmp_path / "broken" / "kelt_daemon").mkdir(parents=True)
    (tmp_path / "broken" / "kelt_daemon" / "__init__.py").write_text("import no_such_part\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    with pytest.raises(DaemonStartError, match="No module named 'no_such_part'"):
        ensure_daemon(settings(root))


def test_what_crashing_daemons_print_is_bounded_over_many_starts(root, monkeypatch):
    state_dir = StateDir(root)
    state_dir.create()
    stderr = state_dir.logs / "daemon.stderr"
    stderr.write_bytes(b"x" * 300_000)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DaemonStartError):
        ensure_daemon(settings(root))
    assert stderr.stat().st_size < 300_000
    assert stderr.stat().st_mode & 0o777 == 0o600
    assert stderr.with_name("daemon.stderr.1").stat().st_size == 300_000


def test_two_spellings_of_a_long_path_are_one_folder_with_one_daemon(root, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "r"))
    long = tmp_path / ("l" * 60) / ("m" * 60) / "state"
    link = tmp_path / "link"
    link.symlink_to(long)
    assert len(os.fsencode(long)) > SOCKET_PATH_BYTES_MAX
    assert StateDir(link).socket == StateDir(long).socket
    assert len(os.fsencode(StateDir(link).socket)) <= SOCKET_PATH_BYTES_MAX
    try:
        first = ensure_daemon(settings(long))
        second = ensure_daemon(settings(link))
        assert (second.pid, second.started) == (first.pid, False)
        # A login with another runtime folder finds it by what it wrote of itself.
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "other"))
        assert find_daemon(StateDir(long)).pid == first.pid
    finally:
        end_daemon(long)


def test_a_process_that_is_no_daemon_is_not_taken_for_one(root):
    state_dir = StateDir(root)
    state_dir.create()
    state_dir.daemon_lock.touch()
    state_dir.daemon_record.write_text(json.dumps({"pid": os.getpid(), "version": "0.1.0"}))
    assert find_daemon(state_dir) is None
    place = ensure_daemon(settings(root))
    assert place.started
    assert place.pid not in {0, os.getpid()}


@pytest.mark.parametrize(
    ("version", "than", "newer"),
    [
        ("0.2.0", "0.1.0", True),
        ("0.10", "0.9.9", True),
        ("1.0", "1.0.0", False),
        ("0.1.0", "0.2.0", False),
        ("0.2.0", "0.2.0.dev3+local", False),
        ("0.2.0", "", False),
        ("", "0.1.0", False),
        ("newest", "0.1.0", False),
        ("9" * 5000, "1", True),
    ],
)
def test_only_a_certainly_newer_version_is_newer(version, than, newer):
    assert is_newer(version, than) is newer


@pytest.mark.parametrize(
    ("ours", "theirs", "common"),
    [
        (ProtocolRange(1, 1), said(1, 0), 1),
        (ProtocolRange(1, 2), said(1, 0), 1),
        (ProtocolRange(1, 2), said(3, 2), 2),
        (ProtocolRange(2, 3), said(1, 0), 0),
        (ProtocolRange(1, 1), said(2, 0), 0),
        (ProtocolRange(1, 1), said(2, 1), 1),
        (ProtocolRange(2, 2), said(5, 3), 0),
    ],
)
def test_two_sides_speak_the_newest_that_both_know_or_nothing(ours, theirs, common):
    assert ours.common(theirs) == theirs.common(ours) == common
    if not common:
        assert ours.is_older_than(theirs) != theirs.is_older_than(ours)


def test_a_trainer_without_a_startable_daemon_goes_on_and_warns_once_with_reason_and_log(root):
    code = (
        "import sys, time\nsys.executable = '/nonexistent/python'\nimport kelt\n"
        "run = kelt.init('p', mode='online')\n"
        "end = time.monotonic() + 3\n"
        "while time.monotonic() < end:\n    run.log({'x': 1})\n    time.sleep(0.01)\n"
        "print('trained')\nimport os; os._exit(0)"
    )
    environ = {k: v for k, v in os.environ.items() if k not in {"KELT_SILENT", "KELT_MODE"}}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=60, check=False, env=environ,
    )  # fmt: skip
    assert done.stdout == "trained\n"
    assert done.stderr.count("the daemon is not there") == 1
    assert done.stderr.count(str(root / "logs" / "daemon.stderr")) == 1
    assert "Traceback" not in done.stderr
