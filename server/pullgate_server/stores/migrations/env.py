"""Alembic's entry: runs migrations on the connection that the caller hands over, in the caller's transaction."""

from alembic import context

from pullgate_server.stores.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
