"""In which language a creation is answered."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Let earlier ones go on in English."""
    with op.batch_alter_table("creations") as table:
        table.add_column(sa.Column("language", sa.String(5), nullable=False, server_default="en"))


def downgrade() -> None:
    """Forget which it is."""
    with op.batch_alter_table("creations") as table:
        table.drop_column("language")
