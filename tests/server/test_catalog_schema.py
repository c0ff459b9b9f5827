from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from kelt_server.catalog.sqlite import migrate, open_catalog
from kelt_server.catalog.tables import METADATA
from kelt_server.errors import StoreError


def test_the_migrations_lead_to_the_tables(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'c.sqlite'}")
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_sessions_of_an_older_catalog_are_ordinary_ones(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    migrate(engine, to="0001")
    values = {c.name: c.type.python_type() for c in METADATA.tables["sessions"].columns}
    for name in ("is_shared", "is_primary", "label", "retells", "retold_base"):
        del values[name]
    columns, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO sessions ({columns}) VALUES ({marks})"), values)
    engine.dispose()
    catalog = open_catalog(path)
    with catalog.engine.begin() as connection:
        found = connection.execute(text("SELECT is_shared, is_primary, label FROM sessions")).all()
    catalog.close()
    assert [tuple(row) for row in found] == [(0, 0, "")]


def test_commits_are_synced_and_read_while_written(tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path / "c.sqlite")
    with catalog.engine.begin() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    catalog.close()


def test_a_catalog_keeps_its_identity(tmp_path: Path) -> None:
    first = open_catalog(tmp_path / "c.sqlite")
    first.close()
    again = open_catalog(tmp_path / "c.sqlite")
    assert again.server_id == first.server_id
    again.close()


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").write_bytes(b"x" * 9000)
    with pytest.raises(StoreError, match="cannot be opened"):
        open_catalog(tmp_path / "c.sqlite")
