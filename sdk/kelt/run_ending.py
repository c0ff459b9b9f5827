"""The end of a run: the exit code as it was given, and what is said."""

from __future__ import annotations

from kelt.console import Closing
from kelt.errors import UsageError
from kelt.exit_hooks import Ending
from kelt.recording import Recording
from kelt.sending_end import SendingEnd
from kelt.session import Session


def ending_by_code(exit_code: object) -> Ending:
    """The ending that an exit code stands for; without one the run succeeded.

    Raises:
        UsageError: no process could have it.
    """
    if exit_code is None:
        return Ending()
    if not isinstance(exit_code, int) or not -(2**31) <= exit_code < 2**31:
        raise UsageError(
            f"kelt.finish: the exit code {exit_code!r} is not a whole number; "
            "0 stands for a run that succeeded."
        )
    code = int(exit_code)
    return Ending(exit_code=code, reason=f"exit code {code}" if code else "")


def closing_of(
    session: Session, recording: Recording, ending: Ending, end: SendingEnd, *, offline: bool
) -> Closing:
    """What the last lines of a run say."""
    return Closing(
        state="failed" if ending.exit_code else "finished",
        rows=recording.rows.rows,
        lost_rows=session.spool.dropped_rows,
        records=end.records,
        waiting=end.waiting,
        is_synced=end.is_synced,
        offline=offline,
        why=end.why,
        has_daemon=end.has_daemon,
        artifacts_waiting=end.artifacts_waiting,
        courses=session.sample.values() if session.sample is not None else {},
        summary=recording.summary().values(),
    )
