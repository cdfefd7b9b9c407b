"""Add what the operators' dashboard shows: kinds of failures, and the reports of processes."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the column and the table, and order the index of states by age."""
    with op.batch_alter_table("creations") as table:
        table.add_column(sa.Column("failure", sa.String(200)))
    op.create_index("ix_creations_state_id", "creations", ["state", "id"])
    op.drop_index("ix_creations_state", "creations")
    op.create_table(
        "process_reports",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("process_id", sa.BigInteger, nullable=False),
        sa.Column("reported", sa.Float(53), nullable=False),
        sa.Column("status", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Undo that."""
    op.drop_table("process_reports")
    op.create_index("ix_creations_state", "creations", ["state"])
    op.drop_index("ix_creations_state_id", "creations")
    with op.batch_alter_table("creations") as table:
        table.drop_column("failure")
