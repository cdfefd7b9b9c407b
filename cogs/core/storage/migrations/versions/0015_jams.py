"""Add prompt jams: what members entered, their votes, and the crowns of winners."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "jams",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("guild_id", sa.BigInteger, nullable=False, index=True),
        sa.Column("channel_id", sa.BigInteger, nullable=False, index=True, unique=True),
        sa.Column("message_id", sa.BigInteger),
        sa.Column("vote_message_id", sa.BigInteger),
        sa.Column("starter", sa.BigInteger, nullable=False, index=True),
        sa.Column("theme", sa.String(100), nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.Column("voting_minutes", sa.Integer, nullable=False),
        sa.Column("language", sa.String(5), nullable=False),
        sa.Column("age_restricted", sa.Boolean, nullable=False),
        sa.Column("stage", sa.String(10), nullable=False),
        sa.Column("ends", sa.DateTime, nullable=False),
    )
    op.create_table(
        "jam_entries",
        sa.Column("jam_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("member", sa.BigInteger, primary_key=True, autoincrement=False, index=True),
        sa.Column("creation_id", sa.BigInteger, nullable=False, index=True, unique=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("counted", sa.Integer, nullable=False),
        sa.Column("spoiler", sa.Boolean, nullable=False),
    )
    op.create_table(
        "jam_votes",
        sa.Column("jam_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("voter", sa.BigInteger, primary_key=True, autoincrement=False, index=True),
        sa.Column("member", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "crowns",
        sa.Column("creation_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("guild_id", sa.BigInteger, nullable=False),
        sa.Column("member", sa.BigInteger, nullable=False, index=True),
        sa.Column("starter", sa.BigInteger, nullable=False, index=True),
        sa.Column("theme", sa.String(100), nullable=False),
        sa.Column("given", sa.DateTime, nullable=False),
    )
    op.create_index("ix_crowns_guild_creation", "crowns", ["guild_id", "creation_id"])


def downgrade() -> None:
    """Drop them."""
    for table in ("crowns", "jam_votes", "jam_entries", "jams"):
        op.drop_table(table)
