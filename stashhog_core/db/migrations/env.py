"""Alembic's entry: migrates on the connection that `schema.upgrade` hands over."""

from alembic import context

# The tables register themselves with the base.
import stashhog_core.db.kept_glance
import stashhog_core.db.models
import stashhog_core.db.unfinished  # noqa: F401
from stashhog_core.db.columns import Base
from stashhog_core.db.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
