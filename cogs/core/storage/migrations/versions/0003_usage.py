"""Create the table of usage; add a creation's count and its spoiler flag."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table and the columns."""
    op.create_table(
        "usage",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("member", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("server", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("pictures", sa.Integer, nullable=False),
    )
    with op.batch_alter_table("creations") as table:
        table.add_column(sa.Column("spoiler", sa.Boolean, nullable=False, server_default=sa.false()))
        table.add_column(sa.Column("counted", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("creations") as table:
        table.drop_column("counted")
        table.drop_column("spoiler")
    op.drop_table("usage")
