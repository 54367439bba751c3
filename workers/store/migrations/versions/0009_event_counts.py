"""Numbers of events by hour, type and mailing, kept with the events."""

from alembic import op
from sqlalchemy import text

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the tables; if there are events, `workers.store.event_counts` counts them after this transaction."""
    postgresql = op.get_context().dialect.name == "postgresql"
    # Room in each page, so that a number can be changed without touching the index.
    op.execute(
        "CREATE TABLE event_counts (hour TEXT NOT NULL, type TEXT NOT NULL, mailing BIGINT NOT NULL, "
        "shard INTEGER NOT NULL, number BIGINT NOT NULL, PRIMARY KEY (hour, type, mailing, shard)) "
        + ("WITH (fillfactor = 50)" if postgresql else "WITHOUT ROWID")
    )
    kind = "BYTEA" if postgresql else "BLOB"
    op.execute(f"CREATE TABLE fillings (name TEXT PRIMARY KEY, done {kind} NOT NULL)")
    unfilled = "INSERT INTO fillings (name, done) SELECT 'event_counts', :none WHERE EXISTS (SELECT 1 FROM events)"
    op.get_bind().execute(text(unfilled), {"none": b""})
