"""Let several processes share the database.

It gets their leases, changes and broadcasts, and the owner of each creation.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the tables and the column; no process owns earlier creations."""
    op.create_table(
        "processes",
        sa.Column("process_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("expires", sa.Float(53), nullable=False),
    )
    op.create_table(
        "preference_changes",
        sa.Column("scope", sa.String(10), primary_key=True),
        sa.Column("subject", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("changed", sa.Float(53), nullable=False, index=True),
    )
    op.create_table(
        "broadcasts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("recipient", sa.BigInteger, nullable=False, index=True),
        sa.Column("command", sa.String(10), nullable=False),
        sa.Column("argument", sa.Text, nullable=False),
    )
    with op.batch_alter_table("creations") as table:
        table.add_column(sa.Column("owner_process", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("creations") as table:
        table.drop_column("owner_process")
    for name in ("broadcasts", "preference_changes", "processes"):
        op.drop_table(name)
