"""The tables of artifacts, beside the facts. What they mean: `kelt_server.artifacts`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, Table, Text

from kelt_server.catalog.tables import METADATA


def _text(name: str, *, nullable: bool = False, primary_key: bool = False) -> Column[str]:
    return Column(name, Text, nullable=nullable, primary_key=primary_key)


def _whole(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _time(name: str) -> Column[float]:
    return Column(name, Float(53), nullable=False)


COLLECTIONS = Table(
    "artifact_collections",
    METADATA,
    Column("id", Integer, primary_key=True),
    _text("entity"),
    _text("project"),
    _text("name"),
    _text("type"),
    _text("description", nullable=True),
    _text("tags"),
    _time("created_at"),
    _time("updated_at"),
    _whole("versions"),
    Index("ix_artifact_collections_name", "entity", "project", "name", unique=True),
    sqlite_autoincrement=True,  # clients keep ids: none is given twice
)

ARTIFACTS = Table(
    "artifacts",
    METADATA,
    Column("id", Integer, primary_key=True),
    _whole("collection_id"),
    _text("state"),
    _whole("version", nullable=True),
    _text("digest"),
    _text("description", nullable=True),
    _text("metadata", nullable=True),
    _text("tags"),
    _whole("ttl_s", nullable=True),
    _whole("size_bytes"),
    _whole("file_count"),
    _whole("history_step", nullable=True),
    _time("created_at"),
    _time("updated_at"),
    _text("run_entity"),
    _text("run_project"),
    _text("run_id"),
    _text("client_id"),
    _text("distributed_id"),
    _text("wanted_aliases"),
    _text("manifest_id"),
    _whole("same_as", nullable=True),
    Index("ix_artifacts_collection_version", "collection_id", "version"),
    Index("ix_artifacts_client_id", "client_id"),
    Index("ix_artifacts_run", "run_entity", "run_project", "run_id"),
    Index("ix_artifacts_state", "state"),
    sqlite_autoincrement=True,
)

ALIASES = Table(
    "artifact_aliases",
    METADATA,
    Column("collection_id", BigInteger, primary_key=True, autoincrement=False),
    _text("alias", primary_key=True),
    _whole("artifact_id"),
    Index("ix_artifact_aliases_artifact_id", "artifact_id"),
)

MANIFESTS = Table(
    "artifact_manifests",
    METADATA,
    _text("id", primary_key=True),
    _whole("artifact_id"),
    _text("kind"),
    _whole("base_id", nullable=True),
    _text("digest"),
    _time("made_at"),
    Index("ix_artifact_manifests_artifact_id", "artifact_id"),
)

FILES = Table(
    "artifact_files",
    METADATA,
    Column("artifact_id", BigInteger, primary_key=True, autoincrement=False),
    _text("path", primary_key=True),
    _text("digest"),
    _text("md5"),
    _whole("size_bytes"),
    _text("ref"),
    Index("ix_artifact_files_md5", "md5"),
)

USES = Table(
    "artifact_uses",
    METADATA,
    Column("artifact_id", BigInteger, primary_key=True, autoincrement=False),
    _text("entity", primary_key=True),
    _text("project", primary_key=True),
    _text("run_id", primary_key=True),
    _text("used_as"),
    _time("used_at"),
    Index("ix_artifact_uses_run", "entity", "project", "run_id"),
)
