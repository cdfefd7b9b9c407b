"""Add the language in which a creation is answered."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; earlier creations are answered in English."""
    with op.batch_alter_table("creations") as table:
        table.add_column(sa.Column("language", sa.String(5), nullable=False, server_default="en"))


def downgrade() -> None:
    """Drop the column."""
    with op.batch_alter_table("creations") as table:
        table.drop_column("language")
