"""Sessions in the catalog's file: one row a name, with the batch that may not be committed."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Engine, and_, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from kelt_server.branch_names import Name
from kelt_server.catalog.tables import WANDB_SESSIONS
from kelt_server.errors import StoreError
from kelt_server.wandb_api.sessions import Session

_TABLE = WANDB_SESSIONS.c


class SessionTable:
    """Reads and writes sessions. Errors of the database come out as `StoreError`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def load(self, name: Name) -> tuple[Session, bytes] | None:
        """The session of a name and its last batch; None where nobody came by that name."""
        asked = select(_TABLE.document, _TABLE.batch).where(_is(name))
        try:
            with self._engine.begin() as connection:
                row = connection.execute(asked).first()
        except SQLAlchemyError as error:
            raise _as_store_error(error) from error
        return None if row is None else (Session.read(row.document), bytes(row.batch))

    def save(self, session: Session, batch: bytes) -> None:
        """Puts it in place of the one of its name, on disk when this returns."""
        values = {"document": session.document(), "batch": batch}
        entity, project, run_id = session.name
        try:
            with self._engine.begin() as connection:
                changed = connection.execute(
                    update(WANDB_SESSIONS).where(_is(session.name)).values(**values)
                )
                if not changed.rowcount:
                    named = {"entity": entity, "project": project, "run_id": run_id}
                    connection.execute(insert(WANDB_SESSIONS).values(**named, **values))
        except SQLAlchemyError as error:
            raise _as_store_error(error) from error


def _is(name: Name) -> ColumnElement[bool]:
    entity, project, run_id = name
    return and_(_TABLE.entity == entity, _TABLE.project == project, _TABLE.run_id == run_id)


def _as_store_error(error: SQLAlchemyError) -> StoreError:
    cause = getattr(error, "orig", None) or error
    return StoreError(f"the sessions of wandb clients cannot be read or written: {cause}")
