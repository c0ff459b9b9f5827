"""The catalog in one SQLite file: WAL, and every commit synced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError

from kelt_server.catalog.migrations.versions import NEWEST_REVISION
from kelt_server.catalog.sql_catalog import SqlCatalog
from kelt_server.errors import KeltServerError, NewerStoreError, StoreError

_BUSY_TIMEOUT_MS = 10_000


def open_catalog(path: Path) -> SqlCatalog:
    """Opens or makes the file and brings its schema up to date.

    Raises:
        StoreError: it is damaged.
        NewerStoreError: a newer kelt wrote it.
    """
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    try:
        _check(engine, path)
        migrate(engine)
        return SqlCatalog(engine)
    except (SQLAlchemyError, CommandError, UnicodeDecodeError) as error:
        # SQLite quotes what is damaged in its sentence, and the driver wants that to be text.
        engine.dispose()
        cause = getattr(error, "orig", None) or error
        raise StoreError(f"{path} cannot be opened: {cause}") from error
    except KeltServerError:
        engine.dispose()
        raise


def migrate(engine: Engine, *, to: str = "head") -> None:
    """Runs the migrations that the database has not seen, up to a revision."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["engine"] = engine
    command.upgrade(config, to)


def _check(engine: Engine, path: Path) -> None:
    """SQLite opens a damaged file and fails later; ask it to look now."""
    with engine.connect() as connection:
        found = connection.execute(text("PRAGMA quick_check(1)")).scalar()
    if found != "ok":
        raise StoreError(f"{path} is damaged: {found}")
    with engine.connect() as connection:
        revision = MigrationContext.configure(connection).get_current_revision() or ""
    if revision.isdecimal() and revision > NEWEST_REVISION:
        raise NewerStoreError(path)


def _on_connect(connection: Any, _record: Any) -> None:
    # The driver's own transactions begin too late; SQLAlchemy begins them (_on_begin).
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {_BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_begin(connection: Any) -> None:
    # A transaction that reads first and writes later fails at once where another one wrote between,
    # however long it may wait for locks.
    is_writing = connection.get_execution_options().get("kelt_is_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")
