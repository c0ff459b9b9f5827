"""What the wandb door knows of the session of each name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table; nobody came through that door before."""
    op.create_table(
        "wandb_sessions",
        sa.Column("entity", sa.Text(), primary_key=True),
        sa.Column("project", sa.Text(), primary_key=True),
        sa.Column("run_id", sa.Text(), primary_key=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("batch", sa.LargeBinary(), nullable=False),
    )


def downgrade() -> None:
    """Drops it."""
    op.drop_table("wandb_sessions")
