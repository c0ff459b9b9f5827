"""The runs of a process share a stream to the daemon, and harm each other on it in no way."""

from __future__ import annotations

import os
import signal
import threading

import kelt
from harness.online_runs import daemon_pid, is_durable, journaled, wait_until
from kelt.append_stream import WINDOW_BYTES


def part_of(run):
    """The run's part of the stream, once it has one."""
    opened = run._session.sender._link._open
    return None if opened is None else opened.stream


def started(count: int) -> list[kelt.Run]:
    # Nothing is waited for at the end: there is no server.
    settings = {"finish_timeout_s": 0}
    runs = [kelt.init("p", reinit="create_new", settings=settings) for _ in range(count)]
    for run in runs:
        run.log({"i": 0})
    wait_until(lambda: all(map(is_durable, runs)))
    return runs


def threads_that_hear() -> int:
    return [thread.name for thread in threading.enumerate()].count("kelt-replies")


def test_many_runs_have_one_stream_which_ends_with_the_last_of_them(online) -> None:
    runs = started(20)
    assert len({id(part_of(run)._stream) for run in runs}) == 1
    assert threads_that_hear() == 1
    for run in runs[:-1]:
        run.finish()
    runs[-1].log({"i": 1})
    wait_until(lambda: is_durable(runs[-1]))
    assert threads_that_hear() == 1
    runs[-1].finish()
    wait_until(lambda: threads_that_hear() == 0)
    assert {len(journaled(run)) for run in runs[:-1]} == {3}  # opened, one row, its end
    again = started(1)[0]
    assert journaled(again) == [1, 2]
    again.finish()


def test_a_run_whose_folder_the_daemon_refuses_is_refused_alone(online, monkeypatch) -> None:
    first = started(1)[0]
    write_manifest = kelt.session.write_manifest

    def write_another_writers(folder, manifest) -> None:
        write_manifest(folder, manifest)
        path = folder / "run.json"
        path.write_text(path.read_text().replace(manifest.writer_id, "0" * 32))

    monkeypatch.setattr("kelt.session.write_manifest", write_another_writers)
    refused = kelt.init("p", reinit="create_new", settings={"finish_timeout_s": 0})
    refused.log({"i": 0})
    wait_until(lambda: refused._session.sender.state.failures)
    for i in range(100):
        first.log({"i": i})
    wait_until(lambda: is_durable(first))
    assert not refused._session.sender.state.is_connected
    assert first._session.sender.state.failures == 0
    assert part_of(first)._stream.has_room
    refused.finish()
    first.finish()


def test_a_run_has_no_more_under_way_than_its_window_and_a_large_record_travels_alone(
    online,
) -> None:
    busy, other = started(2)
    pid = daemon_pid(online)
    os.kill(pid, signal.SIGSTOP)
    try:
        for i in range(40_000):
            busy.log({"i": i, **{f"m{k}": i + 0.5 for k in range(20)}})
        wait_until(lambda: busy._session.sender._sealer.sealed_seq > 20_000)
        part = part_of(busy)
        wait_until(lambda: not part.has_room)
        assert part._under_way_bytes <= WINDOW_BYTES
    finally:
        os.kill(pid, signal.SIGCONT)
    other.log({"i": 1})
    busy.log({"text": "x" * (WINDOW_BYTES + 1)})
    busy.log({"i": 1})
    wait_until(lambda: is_durable(busy) and is_durable(other))
    assert journaled(busy) == list(range(1, 40_005))
    assert journaled(other) == [1, 2, 3]
    for run in (busy, other):
        run.finish()


def test_after_a_journal_was_lost_with_its_daemon_a_run_with_more_than_a_window_goes_on(
    online, monkeypatch
) -> None:
    monkeypatch.setattr("kelt.sender.RESEND_AFTER_S", 0.5)
    (run,) = started(1)
    while run._session.spool.segments[0].number < 2:  # until something was released
        run.log({"i": 0, **{f"m{k}": 0.5 for k in range(20)}})
    wait_until(lambda: is_durable(run))
    os.kill(daemon_pid(online), signal.SIGKILL)
    for path in run.dir.glob("journal-*"):
        path.unlink()
    for i in range(40_000):
        run.log({"i": i, **{f"m{k}": i + 0.5 for k in range(20)}})
    wait_until(lambda: is_durable(run))
    run.finish()


def test_a_run_that_ends_while_the_daemon_stands_still_is_read_to_its_end_beside_others(
    online,
) -> None:
    ending, other = started(2)
    pid = daemon_pid(online)
    os.kill(pid, signal.SIGSTOP)
    try:
        for i in range(40_000):
            other.log({"i": i, **{f"m{k}": i + 0.5 for k in range(20)}})
        wait_until(lambda: not part_of(other)._stream.has_room or not part_of(other).has_room)
        ending.log({"i": 1})
        ending.finish()
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: journaled(ending) == [1, 2, 3, 4])
    wait_until(lambda: is_durable(other))
    other.finish()
