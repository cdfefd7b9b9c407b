"""The table of preferences."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create it."""
    op.create_table(
        "preferences",
        sa.Column("scope", sa.String(10), primary_key=True),
        sa.Column("subject", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("values", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    """Drop it, with all that was preferred."""
    op.drop_table("preferences")
