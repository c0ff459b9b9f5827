"""The end of a run: waiting until the upstream has committed it, or until that is of no use."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from kelt.daemon_link import LinkState

#: How often is looked, at first and after a second.
POLL_S = 0.002
_POLL_LATER_S = 0.01
#: How long an upstream that is away is waited for.
_UNREACHABLE_GRACE_S = 1.0
#: After so many attempts in a row the daemon is not waited for.
_FAILURES_MAX = 3


@dataclass(frozen=True, kw_only=True)
class SendingEnd:
    """How far a run's records came.

    Attributes:
        why: no longer was waited, where not everything is committed.
        has_daemon: whether a daemon is there to go on sending them.
    """

    records: int
    committed: int
    is_synced: bool
    why: str
    has_daemon: bool
    #: Of all that were logged, as far as waiting for them was of use.
    artifacts_waiting: int = 0

    @property
    def waiting(self) -> int:
        """Records that the upstream has not committed."""
        return max(0, self.records - self.committed)


def wait_until_committed(
    state: LinkState,
    *,
    records: Callable[[], int],
    timeout_s: float,
    on_progress: Callable[[int, int], None],
    is_sent: bool,
) -> SendingEnd:
    """Waits, and says how far it came; an interrupt ends the waiting alone.

    Args:
        state: what is known of daemon and upstream, kept up by others.
        records: how many there are.
        timeout_s: at most so long.
        on_progress: told committed and all records, from time to time.
        is_sent: whether records go to the daemon at all.
    """
    started = time.monotonic()
    why = f"after {timeout_s:g} s"
    try:
        while is_sent and state.committed_through < records():
            waited = time.monotonic() - started
            on_progress(state.committed_through, records())
            if waited >= timeout_s:
                break
            hopeless = _why_hopeless(state, records())
            if hopeless and waited >= min(_UNREACHABLE_GRACE_S, timeout_s):
                why = hopeless
                break
            time.sleep(POLL_S if waited < 1 else _POLL_LATER_S)
        on_progress(state.committed_through, records())
    except KeyboardInterrupt:
        why = "interrupted"
    all_seq, committed = records(), state.committed_through
    return SendingEnd(
        records=all_seq,
        committed=min(committed, all_seq),
        is_synced=is_sent and committed >= all_seq,
        why=why,
        has_daemon=state.is_connected,
    )


def _why_hopeless(state: LinkState, records: int) -> str:
    """Why waiting is of no use; empty while it may be of some.

    It is of none where everything is on this host's disk and the upstream is known not to answer.
    """
    if not state.is_connected:
        is_given_up = state.failures >= _FAILURES_MAX
        return "the daemon cannot be started now" if is_given_up else ""
    if state.durable_through < records:
        return ""
    if state.upstream == "REFUSED":
        return "the upstream refuses them"  # why was said when it did
    if state.upstream == "UNREACHABLE":
        return state.upstream_reason.rstrip(".") or "the upstream is away"
    return ""
