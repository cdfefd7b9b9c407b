"""Add the timelapse of a creation, which shows how its pictures formed."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column."""
    with op.batch_alter_table("creations") as table:
        table.add_column(sa.Column("timelapse", sa.String(64)))


def downgrade() -> None:
    """Drop the column."""
    with op.batch_alter_table("creations") as table:
        table.drop_column("timelapse")
