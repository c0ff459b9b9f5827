"""What the console shows, and the files that come as records."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the tables; nobody said anything of the kind before."""
    op.create_table(
        "console_lines",
        sa.Column("branch_id", sa.Text(), primary_key=True),
        sa.Column("writer_id", sa.LargeBinary(), primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True),
        sa.Column("stream", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
    )
    op.create_table(
        "consoles",
        sa.Column("branch_id", sa.Text(), primary_key=True),
        sa.Column("writer_id", sa.LargeBinary(), primary_key=True),
        sa.Column("end_number", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.Column("characters", sa.BigInteger(), nullable=False),
        sa.Column("lines_dropped", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "file_pieces",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("writer_id", sa.LargeBinary(), nullable=False),
        sa.Column("by_writer_id", sa.LargeBinary(), nullable=False),
        sa.Column("by_seq", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("length_bytes", sa.BigInteger(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
    )
    op.create_index("ix_file_pieces_writer_id", "file_pieces", ["writer_id"])


def downgrade() -> None:
    """Drops them."""
    op.drop_table("file_pieces")
    op.drop_table("consoles")
    op.drop_table("console_lines")
