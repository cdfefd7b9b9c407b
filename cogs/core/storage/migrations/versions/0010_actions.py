"""Add the action by which a member made pictures from others."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column."""
    with op.batch_alter_table("creations") as table:
        table.add_column(sa.Column("action", sa.String(40)))


def downgrade() -> None:
    """Drop the column."""
    with op.batch_alter_table("creations") as table:
        table.drop_column("action")
