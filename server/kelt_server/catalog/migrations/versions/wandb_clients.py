"""Several sessions of one name at a time, and when each was last heard of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_OLD, _NEW = "wandb_sessions_0003", "wandb_sessions"
_NAMED = ("entity", "project", "run_id")


def upgrade() -> None:
    """Takes the sessions over as those of ordinary clients; their age counts from now."""
    op.rename_table(_NEW, _OLD)
    op.create_table(
        _NEW,
        *(sa.Column(name, sa.Text(), primary_key=True) for name in (*_NAMED, "client")),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("batch", sa.LargeBinary(), nullable=False),
        sa.Column("saved_at", sa.Float(53), nullable=False),
    )
    columns = ", ".join((*_NAMED, "document", "batch"))
    now = "CAST(strftime('%s', 'now') AS FLOAT)"
    if op.get_bind().dialect.name != "sqlite":
        now = "EXTRACT(EPOCH FROM now())"
    op.execute(
        f"INSERT INTO {_NEW} ({columns}, client, saved_at) SELECT {columns}, '', {now} FROM {_OLD}"  # noqa: S608
    )
    op.drop_table(_OLD)
    op.create_index("wandb_sessions_by_age", _NEW, ["saved_at"])


def downgrade() -> None:
    """Forgets the sessions: what they logged is known again by its steps and times."""
    op.drop_table(_NEW)
    op.create_table(
        _NEW,
        *(sa.Column(name, sa.Text(), primary_key=True) for name in _NAMED),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("batch", sa.LargeBinary(), nullable=False),
    )
