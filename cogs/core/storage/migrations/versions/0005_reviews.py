"""Create the table of reviews; add flags and age restriction to creations."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table and the columns."""
    op.create_table(
        "reviews",
        sa.Column("creation_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("channel_id", sa.BigInteger, nullable=False, index=True),
        sa.Column("message_id", sa.BigInteger, index=True),
        sa.Column("decision", sa.String(10)),
        sa.Column("moderator", sa.BigInteger),
        sa.Column("decided", sa.DateTime),
    )
    with op.batch_alter_table("creations") as table:
        table.add_column(sa.Column("age_restricted", sa.Boolean, nullable=False, server_default=sa.false()))
        table.add_column(sa.Column("flags", sa.JSON))


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("creations") as table:
        table.drop_column("flags")
        table.drop_column("age_restricted")
    op.drop_table("reviews")
