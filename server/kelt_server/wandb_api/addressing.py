"""Whose an ordinary client's post is, where several processes write by one name. Pure.

Nothing in it names the process. But each counts the lines of its own file, and says with its
summary which row it logged last. So a process that still posts after a later one has begun (one
that is about to die, or that nobody has told) does so into its own session, and not into a branch
that the later one made by a rewind.

Where two stand at the same line either may be meant. But the steps of one process only rise, and
rows of one writer at one step are parts of one row: so a row at a step that a writer has passed is
somebody else's, and gets another writer, lest it hide what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kelt_server import facts
from kelt_server.wandb_api.history_lines import HistoryLine, RowLine
from kelt_server.wandb_api.posts import Post
from kelt_server.wandb_api.sessions import Session
from kelt_server.wandb_api.upserts import Upsert


def addressee(post: Post, sessions: Sequence[Session]) -> Session:
    """The session that a post goes on with; `sessions` are those of its name, the latest first."""
    latest, *earlier = sessions
    if not post.lines:
        return _of_last_row(post, sessions) or latest
    at_its_line = [session for session in sessions if session.lines == post.offset]
    if latest not in at_its_line:
        repeated = _of_last_row(post, sessions)
        if repeated is not None:
            return repeated
    if at_its_line:
        return next((s for s in at_its_line if not is_strangers(s, post.lines)), at_its_line[0])
    if not latest.took_lines and earlier:
        # Not where the latest begins, so it comes from before, or is a repetition.
        behind = [session for session in earlier if post.offset < session.lines]
        return (behind or earlier)[0]
    return latest


def is_strangers(session: Session, lines: Iterable[HistoryLine]) -> bool:
    """Whether lines that are not there yet come from another process than the session's."""
    steps = [line.step for line in lines if isinstance(line, RowLine) and line.step is not None]
    return session.has_rows and bool(steps) and min(steps) <= session.last_step


def teller(said: Upsert, sessions: Sequence[Session]) -> Session:
    """The session of the process that says more of its run."""
    signs = set(said.signs)
    latest = sessions[0]
    if signs & set(latest.signs):
        return latest
    return next((session for session in sessions[1:] if signs & set(session.signs)), latest)


def highest_step(sessions: Iterable[Session]) -> int:
    """The highest step that may be there, of any process."""
    return max((max(s.highest_step, s.last_step) for s in sessions), default=-1)


def _of_last_row(post: Post, sessions: Sequence[Session]) -> Session | None:
    """The session whose last row is the post's: what it took last comes again, or its summary."""
    last_row = post.last_row
    latest = sessions[0]
    if not post.lines and latest.origin == facts.RESUMED and not latest.took_lines:
        return None  # its client was told that row of somebody else's
    if last_row is None:
        return None
    return next((session for session in sessions if session.last_row == last_row), None)
