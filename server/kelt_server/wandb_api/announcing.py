"""Which session a client begins, from what it says and where its run's name stands. Pure."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kelt_server import facts
from kelt_server.branch_names import Name
from kelt_server.histories import Standing
from kelt_server.wandb_api.deciding import merged_said
from kelt_server.wandb_api.sessions import Phase, Session
from kelt_server.wandb_api.summaries import digest
from kelt_server.wandb_api.upserts import Point, Upsert

#: Times of two sessions that a clock does not tell apart.
_TICK_S = 0.001
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_BRANCH_ID_CHARS = 20


def announced(
    name: Name,
    upsert: Upsert,
    *,
    standing: Standing,
    parent_branch_id: str,
    rows: int,
    before: Session | None,
    client: str,
    shared_branch_id: str,
    now: float,
) -> Session:
    """The session that begins.

    Args:
        name: of the run.
        upsert: what the client says.
        standing: of the name.
        parent_branch_id: what holds the name of the run that is forked; empty where unknown.
        rows: of the run's history.
        before: the session of the name before this one.
        client: which of the writers of a shared run; empty of others.
        shared_branch_id: the branch of a shared run that is new.
        now: the time of day.
    """
    point = upsert.point
    started_at = max(now, standing.made_at + _TICK_S)
    if not standing.branch_id and upsert.started_at is not None:
        started_at = min(now, upsert.started_at)
    if before is not None:
        started_at = max(started_at, before.started_at + _TICK_S)
    session = Session(
        name=name,
        writer_id=secrets.token_hex(16),
        phase=Phase.ANNOUNCED,
        started_at=started_at,
        branch_id=new_branch_id(),
        highest_step=standing.highest_step,
        host=upsert.host,
        program=upsert.program,
        said=merged_said({}, upsert),
        signs=upsert.signs,
        client=client,
    )
    if client and standing.branch_id:  # its steps are its own
        return resuming(session, standing.branch_id, -1, lines=0)
    if client and point is None:
        return replace(session, branch_id=shared_branch_id)
    if point is not None and point.run_id != name[2]:
        return replace(
            session, origin=facts.FORKED, parent_run_id=point.run_id, parent_step=point.step,
            parent_branch_id=parent_branch_id, last_step=point.step,
        )  # fmt: skip
    if point is not None:
        return replace(
            session, origin=facts.REWOUND, parent_run_id=name[2], parent_step=point.step,
            parent_branch_id=standing.branch_id, last_step=point.step,
            lines=min(rows, point.step + 1),
        )  # fmt: skip
    if upsert.storage_id and standing.branch_id:
        return resuming(session, standing.branch_id, standing.last_step, lines=rows)
    return session


def resuming(session: Session, branch_id: str, last_step: int, *, lines: int) -> Session:
    """The session as one that goes on with a branch."""
    return replace(
        session, origin=facts.RESUMED, branch_id=branch_id, last_step_before=last_step,
        last_step=last_step, lines=lines,
    )  # fmt: skip


def succeeding(session: Session, now: float) -> Session:
    """Another session after one that has ended, on the same branch."""
    return Session(
        name=session.name,
        writer_id=secrets.token_hex(16),
        phase=Phase.ANNOUNCED,
        started_at=max(now, session.started_at + _TICK_S),
        branch_id=session.branch_id,
        origin=facts.RESUMED,
        last_step_before=session.last_step,
        last_step=session.last_step,
        highest_step=max(session.highest_step, session.last_step),
        lines=session.lines,
        last_row=session.last_row,
        signs=session.signs,
        client=session.client,
        label=session.label,
        host=session.host,
        program=session.program,
        console_lines=session.console_lines,
        console_there=session.console_lines,
        samples=session.samples,
    )


def of_a_stranger(session: Session, offset: int, now: float) -> Session:
    """A session beside another, of a process that nobody heard begin, on the same branch."""
    beside = replace(succeeding(session, now), client="", last_row=None, signs=(), lines=offset)
    return replace(beside, last_step=-1, last_step_before=-1).displaced()


def is_asked_again(session: Session, upsert: Upsert) -> bool:
    """Whether a client begins what began already, because it heard no answer."""
    return (
        session.phase is Phase.OPEN
        and not session.took_lines
        and (session.host, session.program) == (upsert.host, upsert.program)
        and _point_of(session) == upsert.point
        and session.origin != facts.RESUMED
        and not (upsert.storage_id and upsert.point is None)
    )


def _point_of(session: Session) -> Point | None:
    return Point(session.parent_run_id, session.parent_step) if session.parent_run_id else None


def knowing_config(session: Session, config: Mapping[str, Any]) -> Session:
    """The session as if it had said of its config what its branch has already."""
    said = session.said.get("config") or {}
    known = {key: digest(config[key]) for key in said if key in config}
    return replace(session, config={**known, **session.config})


def shared_branch_id(entity: str, project: str, run_id: str) -> str:
    """The immutable id of a shared run, as kelt's own clients make it: it follows from the name.

    Args:
        entity: empty where it is the server's own, which a host need not know.
        project: of the run.
        run_id: of the run.
    """
    text = json.dumps(["kelt shared run", entity, project, run_id])
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    digits = ""
    while len(digits) < _BRANCH_ID_CHARS:
        number, digit = divmod(number, len(_ALPHABET))
        digits += _ALPHABET[digit]
    return digits


def new_branch_id() -> str:
    """An immutable id."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_BRANCH_ID_CHARS))
