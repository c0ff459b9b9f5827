"""The writers of a shared run: whose state is the run's, and what is odd about them. Pure.

Sessions come newest first. The shared ones since the last ordinary session write together: the
run's state is that of their newest primary. Where none of them is one, the run lives while any of
them does, and then has the worst state of all. What else happens to a writer is told as that
writer's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

from kelt_server import facts
from kelt_server.facts import SessionFact
from kelt_server.lineage import Line
from kelt_server.liveness import CRASHED, FAILED, FINISHED, KILLED, RUNNING, SessionState

Judged = tuple[SessionFact, SessionState]

_WORSE = (FINISHED, KILLED, FAILED, CRASHED)


def together(sessions: Sequence[Judged]) -> list[Judged]:
    """The shared sessions since the last ordinary one; none where the newest is an ordinary one."""
    return list(takewhile(lambda judged: judged[0].is_shared, sessions))


def deciding(writers: Sequence[Judged]) -> Judged:
    """The session that stands for all of them, with the state that they amount to."""
    for session, state in writers:
        if session.is_primary:
            return session, state
    running = [judged for judged in writers if judged[1].state == RUNNING]
    if running:
        # One that is heard of is enough; else the one that was heard of last.
        return max(running, key=lambda judged: judged[1].offline_since or float("inf"))
    session, state = max(writers, key=lambda judged: (_WORSE.index(judged[1].state), judged[1].at))
    reason = f"{named(session)}: {state.reason}" if state.reason else ""
    return session, replace(state, reason=reason)


def named(session: SessionFact) -> str:
    """A writer, to people."""
    return f"{session.label} on {session.hostname or 'an unknown host'}"


def problems(writers: Sequence[Judged]) -> list[str]:
    """Writers that died, and primaries that are too many."""
    found = []
    live = [s for s, state in writers if s.is_primary and state.state == RUNNING]
    if len(live) > 1:
        found.append(
            f"{len(live)} of its writers are primary ({', '.join(map(named, live))}); "
            "the newest holds its state"
        )
    decides = deciding(writers)[0] if writers else None
    newest: dict[str, Judged] = {}
    for session, state in writers:
        newest.setdefault(session.label, (session, state))
    found += [
        f"its writer {named(session)} {state.state}" + (f": {state.reason}" if state.reason else "")
        for session, state in newest.values()
        if state.state in (FAILED, CRASHED, KILLED) and session is not decides
    ]
    return found


def left_behind(line: Line, sessions: Iterable[Judged]) -> list[str]:
    """Shared writers that wrote on a branch after it was archived by a rewind."""
    rewinds = {a.branch_id: a.child for a in line.ancestors if a.child.kind == facts.REWOUND}
    found = []
    for session, state in sessions:
        child = rewinds.get(session.branch_id)
        if child is None or not session.is_shared or session.writer_id == child.writer_id:
            continue
        if session.started_at > child.made_at or state.state == RUNNING or state.at > child.made_at:
            found.append(
                f"its writer {named(session)} did not hear of the rewind and wrote on the archived "
                f"branch {session.branch_id}"
            )
    return found


def labels(writers: Iterable[bytes], sessions: Mapping[bytes, SessionFact]) -> dict[bytes, str]:
    """The labels of those writers that have one."""
    known = ((writer_id, sessions.get(writer_id)) for writer_id in writers)
    return {
        writer_id: found.label for writer_id, found in known if found is not None and found.label
    }
