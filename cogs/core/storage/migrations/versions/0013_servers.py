"""Add the servers that the bot is in or has left, and index creations by their server."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create the table and the index."""
    op.create_table(
        "servers",
        sa.Column("guild_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("left", sa.DateTime, index=True),
        sa.Column("channel_ids", sa.JSON),
    )
    op.create_index("ix_creations_guild_id", "creations", ["guild_id", "id"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_creations_guild_id", "creations")
    op.drop_table("servers")
