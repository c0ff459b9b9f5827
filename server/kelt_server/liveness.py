"""What a session's state is, from what is known of it now. Pure.

In this order: its own goodbye; what the daemon of its host last asserted; silence. The network
kills nobody: silence shows as `offline_since` beside `running`, and as `crashed: silent since …`
only after the lease, which the next sign of life takes back. For one lease after its own start the
server judges no silence, for it was itself away.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from kelt_proto.v1.record_pb2 import Assertion
from kelt_server.facts import AssertionFact, ExitFact, LifeSign, SessionFact

RUNNING, FINISHED, FAILED, CRASHED = "running", "finished", "failed", "crashed"
#: Ended badly after somebody had asked it to stop.
KILLED = "killed"
#: Silence shorter than this is not worth a word.
OFFLINE_AFTER_S = 90.0

_ASSERTED: dict[int, str] = {
    Assertion.FINISHED: FINISHED,
    Assertion.FAILED: FAILED,
    Assertion.CRASHED: CRASHED,
}


@dataclass(frozen=True, slots=True)
class SessionState:
    """A state with its reason and its time (Unix seconds)."""

    state: str
    reason: str
    at: float
    offline_since: float | None = None
    heartbeat_at: float | None = None


def judge(
    session: SessionFact,
    *,
    goodbye: ExitFact | None,
    assertions: Sequence[AssertionFact],
    sign: LifeSign | None,
    now: float,
    server_started_at: float,
    lease_s: float,
    is_asked_to_stop: bool = False,
) -> SessionState:
    """The state of one session."""
    heard_at = None if sign is None else sign.at
    last = _latest(assertions)
    if goodbye is not None:
        found = _said_goodbye(goodbye, heard_at)
    elif last is not None and last.state in _ASSERTED:
        state = _ASSERTED[last.state]
        reason = last.reason or _why(last.exit_code, last.signal, state)
        found = SessionState(state, reason, last.at, None, heard_at)
    else:
        found = _by_silence(session, last, sign, now, server_started_at, lease_s)
        if is_asked_to_stop and found.state == RUNNING:
            return replace(found, reason=found.reason or "asked to stop")
        return found
    if is_asked_to_stop and found.state != FINISHED:
        return replace(found, state=KILLED, reason=f"stopped from the server ({found.reason})")
    return found


def holds_until(
    session: SessionFact,
    *,
    goodbye: ExitFact | None,
    assertions: Sequence[AssertionFact],
    sign: LifeSign | None,
    now: float,
    server_started_at: float,
    lease_s: float,
) -> float:
    """Up to when `judge` says what it says now, if nothing new is heard."""
    last = _latest(assertions)
    if goodbye is not None or (last is not None and last.state in _ASSERTED):
        return math.inf
    known_at = session.started_at if sign is None else sign.at
    silent_since = max(server_started_at if known_at > now else known_at, server_started_at)
    changes = (known_at, silent_since + OFFLINE_AFTER_S, silent_since + lease_s)
    return min((at for at in changes if at >= now), default=math.inf)


def _latest(assertions: Sequence[AssertionFact]) -> AssertionFact | None:
    return max(assertions, key=lambda a: (a.at, a.by_writer_id, a.by_seq), default=None)


def _said_goodbye(goodbye: ExitFact, heard_at: float | None) -> SessionState:
    state = FINISHED if goodbye.exit_code == 0 and not goodbye.signal else FAILED
    reason = goodbye.reason or _why(goodbye.exit_code, goodbye.signal, state)
    return SessionState(state, reason, goodbye.at, None, heard_at)


def _by_silence(  # noqa: PLR0917
    session: SessionFact,
    last: AssertionFact | None,
    sign: LifeSign | None,
    now: float,
    server_started_at: float,
    lease_s: float,
) -> SessionState:
    heard_at = None if sign is None else sign.at
    known_at = session.started_at if heard_at is None else heard_at
    if known_at > now:  # heard before the server's clock was set back
        known_at = server_started_at
    silent_s = now - max(known_at, server_started_at)
    if silent_s > lease_s:
        since = datetime.fromtimestamp(known_at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        return SessionState(CRASHED, f"silent since {since}", known_at, None, heard_at)
    stalled = (sign is not None and sign.stalled) or (
        last is not None and last.state == Assertion.STALLED
    )
    reason = ""
    if stalled:
        reason = (
            last.reason if last is not None else ""
        ) or "stalled: alive, but its beat stands still"
    offline_since = known_at if silent_s > OFFLINE_AFTER_S else None
    at = session.started_at if last is None else last.at
    return SessionState(RUNNING, reason, at, offline_since, heard_at)


def _why(exit_code: int, signal_number: int, state: str) -> str:
    if signal_number:
        try:
            return signal.Signals(signal_number).name
        except ValueError:
            return f"signal {signal_number}"
    if exit_code:
        return f"exit code {exit_code}"
    return "" if state == FINISHED else "died without a word"
