"""Add the stars of members."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "stars",
        sa.Column("member", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("creation_id", sa.BigInteger, primary_key=True, autoincrement=False, index=True),
        sa.Column("given", sa.DateTime, nullable=False),
    )
    op.create_table(
        "starred",
        sa.Column("creation_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("guild_id", sa.BigInteger),
        sa.Column("stars", sa.Integer, nullable=False),
        sa.Column("board_channel_id", sa.BigInteger),
        sa.Column("board_message_id", sa.BigInteger),
    )
    op.create_index("ix_starred_guild_stars", "starred", ["guild_id", "stars", "creation_id"])
    op.create_index("ix_starred_guild_creation", "starred", ["guild_id", "creation_id"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("starred")
    op.drop_table("stars")
