"""Artifacts: collections, versions, aliases, manifests, files and who used them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLES = (
    "artifact_collections",
    "artifacts",
    "artifact_aliases",
    "artifact_manifests",
    "artifact_files",
    "artifact_uses",
)


def upgrade() -> None:
    """Makes the tables; there were no artifacts before."""
    _make_collections()
    _make_artifacts()
    _make_aliases()
    _make_manifests()
    _make_files()
    _make_uses()


def downgrade() -> None:
    """Drops them."""
    for name in reversed(_TABLES):
        op.drop_table(name)


def _make_collections() -> None:
    op.create_table(
        "artifact_collections",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("updated_at", sa.Float(53), nullable=False),
        sa.Column("versions", sa.BigInteger(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_artifact_collections_name",
        "artifact_collections",
        ["entity", "project", "name"],
        unique=True,
    )


def _make_artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("collection_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("ttl_s", sa.BigInteger(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("file_count", sa.BigInteger(), nullable=False),
        sa.Column("history_step", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("updated_at", sa.Float(53), nullable=False),
        sa.Column("run_entity", sa.Text(), nullable=False),
        sa.Column("run_project", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("distributed_id", sa.Text(), nullable=False),
        sa.Column("wanted_aliases", sa.Text(), nullable=False),
        sa.Column("manifest_id", sa.Text(), nullable=False),
        sa.Column("same_as", sa.BigInteger(), nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_artifacts_collection_version", "artifacts", ["collection_id", "version"])
    op.create_index("ix_artifacts_client_id", "artifacts", ["client_id"])
    op.create_index("ix_artifacts_run", "artifacts", ["run_entity", "run_project", "run_id"])
    op.create_index("ix_artifacts_state", "artifacts", ["state"])


def _make_aliases() -> None:
    op.create_table(
        "artifact_aliases",
        sa.Column("collection_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("alias", sa.Text(), primary_key=True),
        sa.Column("artifact_id", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_artifact_aliases_artifact_id", "artifact_aliases", ["artifact_id"])


def _make_manifests() -> None:
    op.create_table(
        "artifact_manifests",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("artifact_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("base_id", sa.BigInteger(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("made_at", sa.Float(53), nullable=False),
    )
    op.create_index("ix_artifact_manifests_artifact_id", "artifact_manifests", ["artifact_id"])


def _make_files() -> None:
    op.create_table(
        "artifact_files",
        sa.Column("artifact_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("path", sa.Text(), primary_key=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("md5", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
    )
    op.create_index("ix_artifact_files_md5", "artifact_files", ["md5"])


def _make_uses() -> None:
    op.create_table(
        "artifact_uses",
        sa.Column("artifact_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("entity", sa.Text(), primary_key=True),
        sa.Column("project", sa.Text(), primary_key=True),
        sa.Column("run_id", sa.Text(), primary_key=True),
        sa.Column("used_as", sa.Text(), nullable=False),
        sa.Column("used_at", sa.Float(53), nullable=False),
    )
    op.create_index("ix_artifact_uses_run", "artifact_uses", ["entity", "project", "run_id"])
