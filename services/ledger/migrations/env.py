"""How Alembic runs a migration: on the connection that `services.ledger.migrate` gives it, inside its transaction."""

from alembic import context

from services.ledger.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
