"""Alembic runs this with the journal's own connection; `Journal` starts it."""

from alembic import context

from cogs.journal import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
