"""Keep files in a table of their own, and write down what is to be deleted.

Keep the lineage of deleted creations, and index what large tables are searched by.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

ROWS_AT_A_TIME = 1000


def upgrade() -> None:
    """Create the tables, list the files of all creations, and create the indexes."""
    op.create_table(
        "files",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("creation_id", sa.BigInteger, primary_key=True, autoincrement=False, index=True),
    )
    op.create_table(
        "forgotten_members",
        sa.Column("member", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("before_id", sa.BigInteger, nullable=False),
    )
    op.create_table("deleted_files", sa.Column("name", sa.String(64), primary_key=True))
    op.create_table(
        "deleted_messages",
        sa.Column("message_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("channel_id", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "past_creations",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("parent_id", sa.BigInteger, index=True),
    )
    _list_files()
    op.drop_index("ix_creations_owner", "creations")
    op.create_index("ix_creations_owner_id", "creations", ["owner", "id"])
    op.create_index("ix_creations_owner_state", "creations", ["owner", "state", "id"])
    op.create_index("ix_reviews_moderator", "reviews", ["moderator"])
    op.create_index("ix_reviews_decision", "reviews", ["decision"])
    op.create_index("ix_usage_member", "usage", ["member"])


def _list_files() -> None:
    connection = op.get_bind()
    columns = [sa.column("id", sa.BigInteger), sa.column("pictures", sa.JSON)]
    columns += [sa.column("source", sa.String), sa.column("timelapse", sa.String)]
    creations = sa.table("creations", *columns)
    files = sa.table("files", sa.column("name", sa.String), sa.column("creation_id", sa.BigInteger))
    last = -1
    while rows := connection.execute(
        sa.select(*columns).select_from(creations).where(creations.c.id > last).order_by(creations.c.id).limit(ROWS_AT_A_TIME)
    ).all():
        last = rows[-1].id
        names = [(row.id, {*(row.pictures or ()), *filter(None, (row.source, row.timelapse))}) for row in rows]
        if listed := [{"name": name, "creation_id": id} for id, of_creation in names for name in sorted(of_creation)]:
            connection.execute(files.insert(), listed)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_usage_member", "usage")
    op.drop_index("ix_reviews_decision", "reviews")
    op.drop_index("ix_reviews_moderator", "reviews")
    op.drop_index("ix_creations_owner_state", "creations")
    op.drop_index("ix_creations_owner_id", "creations")
    op.create_index("ix_creations_owner", "creations", ["owner"])
    for name in ("past_creations", "deleted_messages", "deleted_files", "forgotten_members", "files"):
        op.drop_table(name)
