"""The environment of Alembic's migrations, on the connection of `Database`."""

from alembic import context

from cogs.core.storage.database import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
