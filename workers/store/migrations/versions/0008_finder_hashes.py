"""SQLite's search index with hashes in place of addresses and message ids, which take half the room.

Runs that are there already stay as they are: to sort millions of entries again would take minutes.
"""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the table for the runs to come."""
    if op.get_context().dialect.name == "sqlite":
        op.execute(
            "CREATE TABLE finder_hashes (run INTEGER, hash INTEGER, row INTEGER, PRIMARY KEY (run, hash, row)) "
            "WITHOUT ROWID"
        )
