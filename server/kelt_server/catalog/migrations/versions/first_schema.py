"""The first schema: one table a kind of fact, cursors, signs of life, the identity."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes every table."""
    _make_assertions()
    _make_branches()
    _make_configs()
    _make_cursors()
    _make_definitions()
    _make_exits()
    _make_identity()
    _make_infos()
    _make_life_signs()
    _make_losses()
    _make_routes()
    _make_sessions()
    _make_summaries()


def downgrade() -> None:
    """Drops every table."""
    for name in (
        "summaries",
        "sessions",
        "routes",
        "losses",
        "life_signs",
        "infos",
        "identity",
        "exits",
        "definitions",
        "cursors",
        "configs",
        "branches",
        "assertions",
    ):
        op.drop_table(name)


def _make_assertions() -> None:
    op.create_table(
        "assertions",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("writer_id", sa.LargeBinary(), nullable=False),
        sa.Column("by_writer_id", sa.LargeBinary(), nullable=False),
        sa.Column("by_seq", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("exit_code", sa.BigInteger(), nullable=False),
        sa.Column("signal", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
    )
    op.create_index("ix_assertions_writer_id", "assertions", ["writer_id"])


def _make_branches() -> None:
    op.create_table(
        "branches",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("branch_id", sa.Text(), nullable=False),
        sa.Column("writer_id", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("made_at", sa.Float(53), nullable=False),
        sa.Column("parent_entity", sa.Text(), nullable=False),
        sa.Column("parent_project", sa.Text(), nullable=False),
        sa.Column("parent_run_id", sa.Text(), nullable=False),
        sa.Column("parent_branch_id", sa.Text(), nullable=False),
        sa.Column("parent_step", sa.BigInteger(), nullable=True),
    )
    op.create_index("ix_branches_branch_id", "branches", ["branch_id"])
    op.create_index(
        "ix_branches_entity_project_run_id", "branches", ["entity", "project", "run_id"]
    )


def _make_configs() -> None:
    op.create_table(
        "configs",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("branch_id", sa.Text(), nullable=False),
        sa.Column("writer_id", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("index", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("json", sa.Text(), nullable=False),
        sa.Column("removed", sa.Boolean(), nullable=False),
    )
    op.create_index("ix_configs_branch_id", "configs", ["branch_id"])


def _make_cursors() -> None:
    op.create_table(
        "cursors",
        sa.Column("writer_id", sa.LargeBinary(), primary_key=True),
        sa.Column("committed_through", sa.BigInteger(), nullable=False),
    )


def _make_definitions() -> None:
    op.create_table(
        "definitions",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("branch_id", sa.Text(), nullable=False),
        sa.Column("writer_id", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("step_metric", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("goal", sa.Text(), nullable=False),
        sa.Column("hidden", sa.Boolean(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_definitions_branch_id", "definitions", ["branch_id"])


def _make_exits() -> None:
    op.create_table(
        "exits",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("writer_id", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("exit_code", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("signal", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
    )
    op.create_index("ix_exits_writer_id", "exits", ["writer_id"])


def _make_identity() -> None:
    op.create_table(
        "identity",
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
    )


def _make_infos() -> None:
    op.create_table(
        "infos",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("branch_id", sa.Text(), nullable=False),
        sa.Column("writer_id", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("group", sa.Text(), nullable=True),
        sa.Column("job_type", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=True),
    )
    op.create_index("ix_infos_branch_id", "infos", ["branch_id"])


def _make_life_signs() -> None:
    op.create_table(
        "life_signs",
        sa.Column("writer_id", sa.LargeBinary(), primary_key=True),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("stalled", sa.Boolean(), nullable=False),
    )


def _make_losses() -> None:
    op.create_table(
        "losses",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("writer_id", sa.LargeBinary(), nullable=False),
        sa.Column("by_writer_id", sa.LargeBinary(), nullable=False),
        sa.Column("by_seq", sa.BigInteger(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by_server", sa.Boolean(), nullable=False),
    )
    op.create_index("ix_losses_writer_id", "losses", ["writer_id"])


def _make_routes() -> None:
    op.create_table(
        "routes",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("writer_id", sa.LargeBinary(), nullable=False),
        sa.Column("from_seq", sa.BigInteger(), nullable=False),
        sa.Column("branch_id", sa.Text(), nullable=False),
    )
    op.create_index("ix_routes_branch_id", "routes", ["branch_id"])
    op.create_index("ix_routes_writer_id", "routes", ["writer_id"])


def _make_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("writer_id", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("branch_id", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Float(53), nullable=False),
        sa.Column("point_unknown", sa.Boolean(), nullable=False),
        sa.Column("resume_mode", sa.Text(), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("machine_id", sa.Text(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("python", sa.Text(), nullable=False),
        sa.Column("sdk_version", sa.Text(), nullable=False),
    )
    op.create_index("ix_sessions_branch_id", "sessions", ["branch_id"])
    op.create_index("ix_sessions_writer_id", "sessions", ["writer_id"])


def _make_summaries() -> None:
    op.create_table(
        "summaries",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("branch_id", sa.Text(), nullable=False),
        sa.Column("writer_id", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("index", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("json", sa.Text(), nullable=False),
        sa.Column("removed", sa.Boolean(), nullable=False),
    )
    op.create_index("ix_summaries_branch_id", "summaries", ["branch_id"])
