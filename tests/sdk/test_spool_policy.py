"""The spool's policies as the caller of `log()` sees them."""

from __future__ import annotations

import io
import os
import signal

import pytest

import kelt
from kelt.console import Console
from kelt.errors import SettingsError
from kelt.journal.spool import RoomPolicy, SpoolWriter
from kelt.settings import load_settings
from kelt.spool_policy import room_policy
from kelt.spool_watch import SpoolWatch
from kelt_proto.v1.record_pb2 import Loss

QUOTA = 2**20
WIDE = {f"m{i:03}": 0.5 for i in range(500)}


@pytest.fixture
def refused_disk(monkeypatch):
    """A disk without room, until it is said otherwise."""
    allocate = os.posix_fallocate
    state = {"is_full": True}

    def guarded(*arguments):
        if state["is_full"]:
            raise OSError(28, "No space left on device")
        allocate(*arguments)

    def begin():
        monkeypatch.setattr(os, "posix_fallocate", guarded)
        return state

    return begin


def losses(found):
    return [c for c in found.controls if isinstance(c, Loss)]


def log_for_ever(run):
    while True:
        run.log(WIDE)


def log_until_lost(run):
    while not run._session.spool.dropped_rows:
        run.log(WIDE)


@pytest.mark.parametrize(
    ("policy", "block_ms", "expected"),
    [
        ("drop_counted", 9.0, RoomPolicy()),
        ("block", 250.0, RoomPolicy(wait_max_s=0.25)),
        ("block(40)", 250.0, RoomPolicy(wait_max_s=0.04)),
        ("raise", 9.0, RoomPolicy(raises=True)),
    ],
)
def test_policies_are_what_they_say(policy, block_ms, expected) -> None:
    settings = load_settings(
        {"spool_policy": policy, "spool_block_max_ms": block_ms}, {"KELT_CONFIG": os.devnull}
    )
    assert room_policy(settings.spool_policy, block_max_ms=settings.spool_block_max_ms) == expected


@pytest.mark.parametrize("value", ["wait", "block(", "block(-1)", "block(1e9)", "block(9999999)"])
def test_another_policy_is_refused_with_those_that_are(value) -> None:
    with pytest.raises(SettingsError, match=r"'block\(250\)' \(milliseconds\) or 'raise'"):
        load_settings({}, {"KELT_SPOOL_POLICY": value, "KELT_CONFIG": os.devnull})


def test_dropped_rows_are_in_neither_the_count_nor_the_summary_and_a_record_tells_them(
    start, contents
) -> None:
    run = start(settings={"spool_bytes_max": QUOTA})
    log_until_lost(run)
    run.log({**WIDE, "m000": 99.0})
    run.log({**WIDE, "m000": 99.0}, step=run.step + 3)
    kept, lost = run._recording.rows.rows, run._session.spool.dropped_rows
    assert lost == 3
    assert run.summary["m000"] == 0.5
    run.finish()
    found = contents(run.dir)
    assert len(found.rows) == kept
    assert sum(loss.rows for loss in losses(found)) == 3
    assert "quota of 1048576 bytes is used up" in losses(found)[0].reason


def test_raise_is_an_error_with_a_name_and_gives_the_step_back(start, contents) -> None:
    run = start(settings={"spool_bytes_max": QUOTA, "spool_policy": "raise"})
    run._session.sender.stop()  # it would look for room meanwhile
    with pytest.raises(kelt.SpoolFullError, match="so it was not logged; free some disk"):
        log_for_ever(run)
    step, rows = run.step, run._recording.rows.rows
    assert step == rows
    for late in ({**WIDE, "t": "text"}, dict(WIDE)):
        with pytest.raises(kelt.SpoolFullError):
            run.log(late)
        with pytest.raises(kelt.SpoolFullError):
            run.log(late, step=step + 5)
        with pytest.raises(kelt.SpoolFullError):
            run.log(late, commit=False)
    assert (run.step, run._recording.rows.rows) == (step, rows)
    run.finish()
    assert contents(run.dir).steps == list(range(rows))
    assert not losses(contents(run.dir))


def test_nothing_else_raises_where_there_is_no_room(start, contents) -> None:
    run = start(settings={"spool_bytes_max": QUOTA, "spool_policy": "raise"})
    run._session.sender.stop()
    with pytest.raises(kelt.SpoolFullError):
        log_for_ever(run)
    for _ in range(100):
        run.config.update({"k": "x" * 1000})
        run.summary["s"] = 1
        run.define_metric("m000", summary="min")
    run.rewind(1)
    assert run._session.spool.dropped_controls > 0
    run.finish()
    assert len(contents(run.dir).exits) == 1


def test_when_there_is_room_again_logging_goes_on_and_losses_are_exact(
    start, refused_disk, contents
) -> None:
    run = start()
    state = refused_disk()
    logged = 0
    while not run._session.spool.dropped_rows:
        run.log({"i": float(logged)} | WIDE)
        logged += 1
    for _ in range(20):
        run.log({"i": float(logged)} | WIDE)
        logged += 1
    state["is_full"] = False
    run._session.sender._watch._next_prepare = 0.0
    while run._session.spool._spare is None:
        run._session.spool.wants_attention.set()
    for _ in range(20):
        run.log({"i": float(logged)} | WIDE)
        logged += 1
    run.finish()
    found = contents(run.dir)
    assert sum(loss.rows for loss in losses(found)) == 21
    kept = [int(i) for i in found.column("i")]
    assert kept == [*range(logged - 41), *range(logged - 20, logged)]


class Shortage:
    """A spool and its watch, by hand and with a clock of its own."""

    def __init__(self, folder) -> None:
        self.said = io.StringIO()
        self.spool = SpoolWriter(folder=folder, writer_id=bytes(16), quota_bytes=2**19)
        self.watch = SpoolWatch(spool=self.spool, console=Console(silent=False, stream=self.said))

    def lines(self) -> list[str]:
        found = self.said.getvalue().splitlines()
        self.said.seek(0)
        self.said.truncate()
        return found

    def fill(self) -> None:
        from kelt_proto.v1.frames import Kind

        while self.spool.append_control(Kind.CONFIG, bytes(1000)):
            pass
        self.spool.dropped_controls = 0


@pytest.fixture
def shortage(tmp_path):
    made = Shortage(tmp_path)
    yield made
    made.spool.close()


def test_losses_are_said_at_once_then_with_totals_each_minute_and_their_end_is_said(
    shortage,
) -> None:
    shortage.fill()
    shortage.watch.look(0.0, is_last=False)
    shortage.lines()
    shortage.spool._refuse(0, may_raise=False)
    shortage.watch.look(1.0, is_last=False)
    assert [line for line in shortage.lines() if "no room for 1 row, lost for good" in line]
    for second in range(2, 50):
        shortage.spool._refuse(0, may_raise=False)
        shortage.watch.look(float(second), is_last=False)
    assert shortage.lines() == []
    shortage.spool._refuse(0, may_raise=False)
    shortage.watch.look(62.0, is_last=False)
    assert "no room for 50 rows, lost for good" in shortage.lines()[0]
    shortage.spool.release(shortage.spool.segments[0].last_seq or 0)
    shortage.watch.look(70.0, is_last=False)
    shortage.watch.look(70.1, is_last=False)
    assert shortage.lines() == ["kelt: there is room for rows again; 50 were lost meanwhile"]
    shortage.watch.look(80.0, is_last=True)
    assert shortage.spool.told_rows == 50


def test_a_spool_that_fills_up_is_said_once_before_anything_is_lost(shortage) -> None:
    shortage.spool.prepare()
    for second in range(5):
        shortage.watch.look(float(second), is_last=False)
    assert len([line for line in shortage.lines() if "MiB that rows may take" in line]) == 1


@pytest.mark.parametrize("signame", ["SIGTERM", "SIGINT"])
def test_a_row_that_waits_for_room_keeps_no_signal_from_ending_the_process(
    run_script, folders, contents, signame
) -> None:
    code = f"""if True:
    import kelt, os, signal, threading, time
    run = kelt.init("p", settings={{"spool_bytes_max": {QUOTA}, "spool_policy": "block(600000)"}})
    spool = run._session.spool

    def end():
        while not spool.waits:
            time.sleep(0.001)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.{signame})

    threading.Thread(target=end, daemon=True).start()
    row = {{f"m{{i:03}}": 0.5 for i in range(500)}}
    while True:
        run.log(row)
    """
    done = run_script(code)
    assert done.returncode == -getattr(signal, signame), done.stderr
    (folder,) = folders()
    found = contents(folder)
    assert [said.reason for said in found.exits] == [signame]
    assert found.steps == list(range(len(found.steps)))
    assert not losses(found)
