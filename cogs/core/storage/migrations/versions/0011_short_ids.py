"""Add short ids to creations."""

import math
import secrets

import sqlalchemy as sa
from alembic import op

from cogs.core.storage.short_ids import COUNT, LENGTH, short_id_of

revision = "0011"
down_revision = "0010"

ROWS_AT_A_TIME = 1000


def upgrade() -> None:
    """Create the column, and let each creation have a short id of its own."""
    with op.batch_alter_table("creations") as table:
        table.add_column(sa.Column("short_id", sa.String(LENGTH), nullable=False, server_default=""))
    _name_all()
    op.create_index("ix_creations_short_id", "creations", ["short_id"], unique=True)


def _name_all() -> None:
    """Write the short ids: those of distinct numbers, in no order that a stranger knows."""
    connection = op.get_bind()
    creations = sa.table("creations", sa.column("id", sa.BigInteger), sa.column("short_id", sa.String))
    named = sa.update(creations).where(creations.c.id == sa.bindparam("creation")).values(short_id=sa.bindparam("name"))
    stride = secrets.randbelow(COUNT)
    while math.gcd(stride, COUNT) > 1:  # else numbers would repeat
        stride = secrets.randbelow(COUNT)
    number = secrets.randbelow(COUNT)
    last = -1
    while ids := connection.scalars(
        sa.select(creations.c.id).where(creations.c.id > last).order_by(creations.c.id).limit(ROWS_AT_A_TIME)
    ).all():
        last = ids[-1]
        numbers = [(number + stride * place) % COUNT for place in range(len(ids))]
        number = (numbers[-1] + stride) % COUNT
        rows = zip(ids, numbers, strict=True)
        connection.execute(named, [{"creation": id, "name": short_id_of(own)} for id, own in rows])


def downgrade() -> None:
    """Drop the column."""
    op.drop_index("ix_creations_short_id", "creations")
    with op.batch_alter_table("creations") as table:
        table.drop_column("short_id")
