from __future__ import annotations

from typing import Any

import pytest

from kelt_proto.v1.record_pb2 import Assertion
from kelt_server.facts import AssertionFact, ExitFact, LifeSign, SessionFact
from kelt_server.liveness import SessionState, judge

W, DAEMON = b"w" * 16, b"d" * 16
SESSION = SessionFact(W, 1, "b", started_at=1000.0)


def judged(**given: Any) -> SessionState:
    settled: dict[str, Any] = {
        "goodbye": None,
        "assertions": (),
        "sign": LifeSign(W, 2000.0, stalled=False),
        "now": 2010.0,
        "server_started_at": 0.0,
        "lease_s": 1800.0,
    }
    return judge(SESSION, **{**settled, **given})


def goodbye(exit_code: int, *, signal: int = 0, reason: str = "") -> ExitFact:
    return ExitFact(W, 9, exit_code, reason, signal, 1500.0)


def asserted(state: int, *, at: float = 1600.0, signal: int = 0, seq: int = 1) -> AssertionFact:
    return AssertionFact(W, DAEMON, seq, state, "", 0, signal, at)


@pytest.mark.parametrize(
    ("said", "state", "reason"),
    [
        (goodbye(0), "finished", ""),
        (goodbye(1, reason="ValueError: x"), "failed", "ValueError: x"),
        (goodbye(3), "failed", "exit code 3"),
        (goodbye(143, signal=15), "failed", "SIGTERM"),
    ],
)
def test_its_own_goodbye_decides(said: ExitFact, state: str, reason: str) -> None:
    found = judged(goodbye=said, assertions=[asserted(Assertion.CRASHED, at=1e9)], now=1e9)
    assert (found.state, found.reason, found.at) == (state, reason, 1500.0)


def test_the_daemon_decides_where_there_was_no_goodbye() -> None:
    found = judged(assertions=[asserted(Assertion.CRASHED, signal=9)])
    assert (found.state, found.reason, found.at) == ("crashed", "SIGKILL", 1600.0)


@pytest.mark.parametrize(
    ("given", "state", "reason"),
    [
        ({"goodbye": goodbye(130, signal=2)}, "killed", "stopped from the server (SIGINT)"),
        ({"goodbye": goodbye(255)}, "killed", "stopped from the server (exit code 255)"),
        ({"goodbye": goodbye(0)}, "finished", ""),
        ({"assertions": [asserted(Assertion.CRASHED, signal=9)]}, "killed", "stopped from the server (SIGKILL)"),
        ({}, "running", "asked to stop"),
        ({"now": 9000.0}, "crashed", "silent since 1970-01-01T00:33:20Z"),
    ],
)  # fmt: skip
def test_who_was_asked_to_stop_and_ends_badly_is_killed(
    given: dict[str, Any], state: str, reason: str
) -> None:
    found = judged(is_asked_to_stop=True, **given)
    assert (found.state, found.reason) == (state, reason)


def test_the_latest_assertion_holds_in_whatever_order_they_came() -> None:
    dead, alive = asserted(Assertion.CRASHED, at=1600.0), asserted(Assertion.RUNNING, at=1700.0)
    assert judged(assertions=[alive, dead]).state == "running"
    assert judged(assertions=[dead, alive]).state == "running"


@pytest.mark.parametrize(
    ("now", "state", "offline_since"),
    [
        (2090.0, "running", None),
        (2091.0, "running", 2000.0),
        (3800.0, "running", 2000.0),
        (3801.0, "crashed", None),
    ],
)
def test_silence_is_shown_as_silence(now: float, state: str, offline_since: float | None) -> None:
    found = judged(now=now)
    assert (found.state, found.offline_since) == (state, offline_since)


def test_a_sign_of_life_takes_back_a_crash_by_silence() -> None:
    assert judged(now=9000.0).reason == "silent since 1970-01-01T00:33:20Z"
    found = judged(now=9000.0, sign=LifeSign(W, 8999.0, stalled=False))
    assert (found.state, found.reason) == ("running", "")


def test_a_server_judges_no_silence_for_one_lease_after_its_start() -> None:
    assert judged(now=9000.0, server_started_at=7200.0).state == "running"
    assert judged(now=9000.1, server_started_at=7200.0).state == "crashed"


def test_a_stall_is_a_note_on_running() -> None:
    by_beat = judged(sign=LifeSign(W, 2000.0, stalled=True))
    by_daemon = judged(assertions=[asserted(Assertion.STALLED)])
    assert {by_beat.state, by_daemon.state} == {"running"}
    assert by_beat.reason.startswith("stalled")
    assert by_daemon.reason.startswith("stalled")


def test_a_sign_from_before_the_servers_clock_was_set_back_keeps_no_run_alive_for_ever() -> None:
    ahead = LifeSign(W, 9_000_000.0, stalled=False)
    fresh = judged(sign=ahead, now=5000.0, server_started_at=4990.0)
    assert (fresh.state, fresh.offline_since) == ("running", None)
    assert judged(sign=ahead, now=5200.0, server_started_at=4990.0).offline_since is not None
    assert judged(sign=ahead, now=7000.0, server_started_at=4990.0).state == "crashed"
