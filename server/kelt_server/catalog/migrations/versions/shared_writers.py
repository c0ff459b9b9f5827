"""Writers of a shared run: which of the sessions they are, their labels, and the primary."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns; the sessions that are there are ordinary ones."""
    for name in ("is_shared", "is_primary"):
        op.add_column(
            "sessions", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())
        )
    op.add_column("sessions", sa.Column("label", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Drops them."""
    for name in ("label", "is_primary", "is_shared"):
        op.drop_column("sessions", name)
