from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from kelt.file_locks import file_lock


def child_that_lives():
    """A forked child that only waits, as a worker does."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    return pid


def end(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_one_holds_it_at_a_time_and_another_waits_no_longer_than_it_may(tmp_path) -> None:
    with (
        file_lock(tmp_path / "lock", timeout_s=1),
        pytest.raises(TimeoutError),
        file_lock(tmp_path / "lock", timeout_s=0.05),
    ):
        pass
    with file_lock(tmp_path / "lock", timeout_s=0):
        pass


def test_a_child_forked_by_another_thread_keeps_no_lock_alive_after_its_parent(tmp_path) -> None:
    """The parent is killed while it holds the lock and its child lives on."""
    parent = os.fork()
    if parent == 0:
        holding = threading.Event()

        def hold():
            with file_lock(tmp_path / "lock", timeout_s=1):
                holding.set()
                time.sleep(60)

        threading.Thread(target=hold, daemon=True).start()
        holding.wait()
        (tmp_path / "child").write_text(str(child_that_lives()))
        (tmp_path / "child").rename(tmp_path / "child.ready")
        signal.pause()
        os._exit(0)
    deadline = time.monotonic() + 20
    while not (tmp_path / "child.ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child = int((tmp_path / "child.ready").read_text())
    try:
        with pytest.raises(TimeoutError), file_lock(tmp_path / "lock", timeout_s=0):
            pass
        end(parent)
        with file_lock(tmp_path / "lock", timeout_s=5):
            os.kill(child, 0)  # it lives
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_child_does_not_let_go_of_what_its_parent_holds(tmp_path) -> None:
    with file_lock(tmp_path / "lock", timeout_s=1):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        with pytest.raises(TimeoutError), file_lock(tmp_path / "lock", timeout_s=0):
            pass
