"""Sessions whose records were read from a file of W&B's client: whose they tell again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns; of sessions that are there it is not known."""
    op.add_column(
        "sessions",
        sa.Column("retells", sa.LargeBinary(), nullable=False, server_default=sa.text("x''")),
    )
    op.add_column(
        "sessions", sa.Column("retold_base", sa.BigInteger(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    """Drops them."""
    op.drop_column("sessions", "retold_base")
    op.drop_column("sessions", "retells")
