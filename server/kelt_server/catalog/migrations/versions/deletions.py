"""Runs that were deleted, with their writers and branches; sessions that were asked to stop."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_PARENT = ["parent_entity", "parent_project", "parent_run_id"]


def upgrade() -> None:
    """Makes the tables, and lets branches be found by what they descend from."""
    op.create_table(
        "deletions",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("by_user", sa.Text(), nullable=False),
        sa.Column("is_cleared", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "deleted_writers",
        sa.Column("writer_id", sa.LargeBinary(), primary_key=True),
        sa.Column("deletion", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "burials",
        sa.Column("branch_id", sa.Text(), primary_key=True),
        sa.Column("former_id", sa.Text(), nullable=False),
        sa.Column("is_settled", sa.Boolean(), nullable=False),
        sa.Column("is_kept", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "stops",
        sa.Column("writer_id", sa.LargeBinary(), primary_key=True),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("by_user", sa.Text(), nullable=False),
    )
    op.create_index("ix_branches_parent_branch_id", "branches", ["parent_branch_id"])
    op.create_index("ix_branches_parent", "branches", _PARENT)


def downgrade() -> None:
    """Drops them."""
    op.drop_index("ix_branches_parent", "branches")
    op.drop_index("ix_branches_parent_branch_id", "branches")
    for name in ("stops", "burials", "deleted_writers", "deletions"):
        op.drop_table(name)
