"""Sessions in the catalog's file: one row each, with the batch that may not be committed.

A row that cannot be read, of a newer version perhaps, counts as none: its session goes on as one
that nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, func, insert, or_, select
from sqlalchemy import update as update_rows
from sqlalchemy.exc import SQLAlchemyError

from kelt_server.branch_names import Name
from kelt_server.catalog.tables import WANDB_SESSIONS
from kelt_server.errors import StoreError
from kelt_server.wandb_api.sessions import DISPLACED, Session
from kelt_server.wandb_api.upserts import process_sign

_TABLE = WANDB_SESSIONS.c

#: What names a session: its name, and its client.
Key = tuple[Name, str]
Kept = tuple[Session, bytes]


class SessionTable:
    """Reads and writes sessions. Errors of the database come out as `StoreError`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._log = structlog.get_logger("kelt_server.wandb_api")

    def load(self, name: Name, client: str) -> Kept | None:
        """The session of a client, and its last batch; None where it is not known."""
        found = self._found(_is(name, client))
        return found[0] if found else None

    def ordinary(self, name: Name) -> list[Kept]:
        """The sessions of a name's ordinary clients: the latest, and those that it displaced."""
        is_ordinary = or_(_TABLE.client == "", _TABLE.client.startswith(DISPLACED))
        found = self._found(and_(_is(name), is_ordinary))
        return sorted(found, key=lambda kept: (bool(kept[0].client), -kept[0].started_at))

    def shared(self, name: Name) -> list[Session]:
        """The sessions of the writers of a shared run."""
        return [session for session, _ in self._found(_is(name)) if session.is_shared]

    def of_process(self, name: Name, process: str) -> Session | None:
        """The session of a name whose client gave its process an id."""
        sign = process_sign(process)
        found = (session for session, _ in self._found(_is(name)) if sign in session.signs)
        return next(found, None)

    def save(
        self, sessions: Sequence[Session], batch: bytes, *, at: float, gone: Iterable[Key] = ()
    ) -> None:
        """Puts sessions in place of those that were there, on disk when this returns.

        Args:
            sessions: of one name; the batch belongs to the first.
            batch: what may not be committed.
            at: the time of day.
            gone: sessions that are let go.
        """
        try:
            with self._engine.begin() as connection:
                for number, session in enumerate(sessions):
                    _put(connection, session, b"" if number else batch, at)
                for name, client in gone:
                    connection.execute(delete(WANDB_SESSIONS).where(_is(name, client)))
        except SQLAlchemyError as error:
            raise _as_store_error(error) from error

    def forget(self, key: Key, *, before: float) -> None:
        """Lets a session go if it was saved last before a time."""
        is_old = and_(_is(*key), _TABLE.saved_at < before)
        try:
            with self._engine.begin() as connection:
                connection.execute(delete(WANDB_SESSIONS).where(is_old))
        except SQLAlchemyError as error:
            raise _as_store_error(error) from error

    def oldest(self, *, before: float, kept_max: int, limit: int) -> list[Key]:
        """Sessions that were saved last before a time, or that are more than may be kept."""
        asked = select(_TABLE.entity, _TABLE.project, _TABLE.run_id, _TABLE.client)
        by_age = asked.order_by(_TABLE.saved_at)
        try:
            with self._engine.begin() as connection:
                number = connection.execute(select(func.count()).select_from(WANDB_SESSIONS))
                excess = min(max(0, number.scalar_one() - kept_max), limit)
                old = connection.execute(by_age.where(_TABLE.saved_at < before).limit(limit)).all()
                if len(old) < excess:
                    old = connection.execute(by_age.limit(excess)).all()
        except SQLAlchemyError as error:
            raise _as_store_error(error) from error
        return [((row.entity, row.project, row.run_id), row.client) for row in old]

    def _found(self, where: ColumnElement[bool]) -> list[Kept]:
        try:
            with self._engine.begin() as connection:
                rows = connection.execute(select(_TABLE.document, _TABLE.batch).where(where)).all()
        except SQLAlchemyError as error:
            raise _as_store_error(error) from error
        found = []
        for row in rows:
            try:
                found.append((Session.read(row.document), bytes(row.batch)))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                self._log.warning("a session cannot be read", reason=str(error)[:200])
        return found


def _put(connection: Connection, session: Session, batch: bytes, at: float) -> None:
    values: dict[str, Any] = {"document": session.document(), "batch": batch, "saved_at": at}
    entity, project, run_id = session.name
    changed = connection.execute(
        update_rows(WANDB_SESSIONS).where(_is(session.name, session.client)).values(**values)
    )
    if not changed.rowcount:
        named = {"entity": entity, "project": project, "run_id": run_id, "client": session.client}
        connection.execute(insert(WANDB_SESSIONS).values(**named, **values))


def _is(name: Name, client: str | None = None) -> ColumnElement[bool]:
    entity, project, run_id = name
    named = and_(_TABLE.entity == entity, _TABLE.project == project, _TABLE.run_id == run_id)
    return named if client is None else and_(named, _TABLE.client == client)


def _as_store_error(error: SQLAlchemyError) -> StoreError:
    cause = getattr(error, "orig", None) or error
    return StoreError(f"the sessions of wandb clients cannot be read or written: {cause}")
