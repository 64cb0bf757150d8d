"""Alembic's entry: runs the revisions on the connection that poller/migrate.py hands over."""

from alembic import context

from poller.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()
