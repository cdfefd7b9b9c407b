"""The environment in which Alembic runs migrations, on the connection that `Database` passes."""

from alembic import context

from cogs.core.storage.database import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
