"""What it takes to know gaps and to fill them: from Copernica's results, before the day's log files are there."""

from alembic import op
from sqlalchemy import text

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Create the tables; see `workers.store.tables`."""
    postgresql = op.get_context().dialect.name == "postgresql"
    key = "BYTEA" if postgresql else "BLOB"
    # Numbers are never given twice: by them, what is new is told from what was seen.
    counter = "BIGSERIAL PRIMARY KEY" if postgresql else "INTEGER PRIMARY KEY AUTOINCREMENT"
    moment, json = ("TIMESTAMP WITH TIME ZONE", "JSONB") if postgresql else ("DATETIME", "TEXT")
    op.execute(
        "CREATE TABLE coverage (endpoint TEXT NOT NULL PRIMARY KEY, since BIGINT NOT NULL, "
        "through BIGINT NOT NULL, ended TEXT, boot TEXT, up_since BIGINT NOT NULL, up_through BIGINT NOT NULL)"
    )
    op.execute(
        "CREATE TABLE gaps (since BIGINT NOT NULL, cause TEXT NOT NULL, until BIGINT, state TEXT NOT NULL, "
        f"changed_at BIGINT NOT NULL, details {json} NOT NULL, PRIMARY KEY (since, cause))"
    )
    op.execute(
        "CREATE TABLE destinations (product TEXT NOT NULL, destination BIGINT NOT NULL, message_id TEXT NOT NULL, "
        "mailing BIGINT, profile BIGINT, subprofile BIGINT, kept_at BIGINT NOT NULL, "
        "PRIMARY KEY (product, destination))" + ("" if postgresql else " WITHOUT ROWID")
    )
    op.execute(
        f"CREATE TABLE recovered (number {counter}, message BIGINT NOT NULL, type TEXT NOT NULL, "
        "second BIGINT NOT NULL, spread BIGINT, latest BIGINT NOT NULL, handed_on BOOLEAN NOT NULL, "
        f"delivery_id {key} NOT NULL, call_id {key})"
    )
    op.execute("CREATE INDEX recovered_message ON recovered (message)")
    op.execute("CREATE INDEX recovered_latest ON recovered (latest)")
    op.execute("CREATE UNIQUE INDEX recovered_event ON recovered (delivery_id)")
    op.execute("CREATE INDEX recovered_call ON recovered (call_id) WHERE call_id IS NOT NULL")
    op.execute(
        f"CREATE TABLE comparisons (number {counter}, type TEXT NOT NULL, since BIGINT NOT NULL, "
        "until BIGINT NOT NULL, began BIGINT NOT NULL)"
    )
    op.execute(
        f"CREATE TABLE comparison_calls (number {counter}, comparison BIGINT NOT NULL, message BIGINT NOT NULL)"
    )
    op.execute(
        "CREATE TABLE mailing_totals (day DATE NOT NULL, product TEXT NOT NULL, mailing BIGINT NOT NULL, "
        f"kind TEXT NOT NULL, checked_at {moment} NOT NULL, theirs BIGINT, theirs_unique BIGINT, "
        f"ours BIGINT NOT NULL, ours_unique BIGINT NOT NULL, agrees BOOLEAN, details {json} NOT NULL, "
        "PRIMARY KEY (day, product, mailing, kind))"
    )
    op.execute(
        f"CREATE TABLE day_totals (day DATE PRIMARY KEY, first_at {moment} NOT NULL, "
        f"checked_at {moment} NOT NULL, attempts BIGINT NOT NULL, agrees BOOLEAN, why TEXT NOT NULL, "
        f"details {json} NOT NULL)"
    )
    op.execute("CREATE INDEX destinations_message ON destinations (message_id)")
    _count_sources(postgresql)


def _count_sources(postgresql: bool) -> None:
    """Tell the numbers of events apart by their source, too.

    Events that are there were counted without it. If some may have been recovered, all are counted anew after this
    transaction, by `workers.store.event_counts`; else they all came by webhook.
    """
    op.execute("ALTER TABLE event_counts RENAME TO event_counts_before")
    op.execute(
        "CREATE TABLE event_counts (hour TEXT NOT NULL, type TEXT NOT NULL, mailing BIGINT NOT NULL, "
        "source TEXT NOT NULL, shard INTEGER NOT NULL, number BIGINT NOT NULL, "
        "PRIMARY KEY (hour, type, mailing, source, shard)) "
        + ("WITH (fillfactor = 50)" if postgresql else "WITHOUT ROWID")
    )
    if op.get_bind().execute(text("SELECT EXISTS (SELECT 1 FROM reconciliations)")).scalar():
        op.execute("DELETE FROM fillings WHERE name = 'event_counts'")
        unfilled = (
            "INSERT INTO fillings (name, done) SELECT 'event_counts', :none WHERE EXISTS (SELECT 1 FROM events)"
        )
        op.get_bind().execute(text(unfilled), {"none": b""})
    else:
        op.execute(
            "INSERT INTO event_counts (hour, type, mailing, source, shard, number) "
            "SELECT hour, type, mailing, 'webhook', shard, number FROM event_counts_before"
        )
    op.execute("DROP TABLE event_counts_before")
