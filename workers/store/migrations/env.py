"""Lets Alembic use the connection that `workers.store.schema` opened, within its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
