"""The immutable ids of deleted runs, for what descends from them and comes later."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table. Of runs that were deleted before, nothing more is known."""
    op.create_table(
        "deleted_branches",
        sa.Column("branch_id", sa.Text(), primary_key=True),
        sa.Column("deletion", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Drops it."""
    op.drop_table("deleted_branches")
