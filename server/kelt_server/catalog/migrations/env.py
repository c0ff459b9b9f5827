"""How Alembic reaches the catalog: through the engine that `sqlite.migrate` hands over."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Engine

from kelt_server.catalog import artifact_tables as _artifact_tables  # noqa: F401 # into METADATA
from kelt_server.catalog.tables import METADATA


def run() -> None:
    """Runs the migrations in one transaction."""
    engine: Engine = context.config.attributes["engine"]
    with engine.begin() as connection:
        context.configure(connection=connection, target_metadata=METADATA)
        context.run_migrations()


run()
