"""Create the table of creations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "creations",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("parent_id", sa.BigInteger),
        sa.Column("owner", sa.BigInteger, nullable=False),
        sa.Column("guild_id", sa.BigInteger),
        sa.Column("channel_id", sa.BigInteger, nullable=False),
        sa.Column("message_id", sa.BigInteger, index=True),
        sa.Column("application_id", sa.BigInteger, nullable=False),
        sa.Column("token", sa.String(500), nullable=False),
        sa.Column("expires", sa.DateTime, nullable=False),
        sa.Column("private", sa.Boolean, nullable=False),
        sa.Column("token_only", sa.Boolean, nullable=False),
        sa.Column("request", sa.JSON),
        sa.Column("source", sa.String(64)),
        sa.Column("pictures", sa.JSON),
        sa.Column("posting_in", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("state", sa.String(10), nullable=False, index=True),
        sa.Column("error", sa.Text),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("changed", sa.DateTime, nullable=False),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("creations")
