"""Sessions whose records were read from a file of W&B's client: whose they tell again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column; of sessions that are there it is not known."""
    op.add_column(
        "sessions",
        sa.Column("retells", sa.LargeBinary(), nullable=False, server_default=sa.text("x''")),
    )


def downgrade() -> None:
    """Drops it."""
    op.drop_column("sessions", "retells")
