"""Writers that tell a session again: a W&B file's, of a run that its client had sent itself. Pure.

Such a writer and the one that it retells are one process to people. They share a place in the order
of sessions, and values of both are ordered by step or time, since either may know more than the
other: a killed client sent less than its file holds, and a file may be synced while its run goes
on. How the process ended, and what was lost, counts for the session, whoever says it; the session's
own goodbye goes before the file's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from kelt_server.catalog.store import Family

_Said = TypeVar("_Said")


def folded(family: Family) -> Family:
    """The family with what retelling writers say of a session's end said of that session."""
    retold = {
        writer_id: session.retells
        for writer_id, session in family.sessions.items()
        if session.retells and session.retells != writer_id and session.retells in family.sessions
    }
    if not retold:
        return family
    exits = dict(family.exits)
    for writer_id, session_id in retold.items():
        if writer_id in exits and session_id not in family.exits:
            exits[session_id] = exits[writer_id]
    return replace(
        family,
        exits=exits,
        losses=_added(family.losses, retold),
        assertions=_added(family.assertions, retold),
    )


def _added(
    said: Mapping[bytes, Sequence[_Said]], retold: Mapping[bytes, bytes]
) -> dict[bytes, Sequence[_Said]]:
    added = dict(said)
    for writer_id, session_id in retold.items():
        if writer_id in said:
            added[session_id] = (*added.get(session_id, ()), *said[writer_id])
    return added
