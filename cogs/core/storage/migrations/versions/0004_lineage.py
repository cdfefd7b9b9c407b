"""Add model and duration to creations; index their owners and parents."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the columns and the indexes."""
    with op.batch_alter_table("creations") as table:
        table.add_column(sa.Column("model", sa.String(200)))
        table.add_column(sa.Column("seconds", sa.Float))
        table.create_index("ix_creations_owner", ["owner"])
        table.create_index("ix_creations_parent_id", ["parent_id"])


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("creations") as table:
        table.drop_index("ix_creations_parent_id")
        table.drop_index("ix_creations_owner")
        table.drop_column("seconds")
        table.drop_column("model")
