"""What the console needs: who did what, what was stored when, what handlers made of it, and mailings' figures."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create the tables; see `workers.store.console_tables`."""
    postgresql = op.get_context().dialect.name == "postgresql"
    counter = "BIGSERIAL PRIMARY KEY" if postgresql else "INTEGER PRIMARY KEY AUTOINCREMENT"
    op.execute(
        f"CREATE TABLE audit (number {counter}, began_at BIGINT NOT NULL, ended_at BIGINT, who TEXT NOT NULL, "
        "via TEXT NOT NULL, place TEXT NOT NULL, action TEXT NOT NULL, what TEXT NOT NULL, affected BIGINT, "
        "error TEXT)"
    )
    key = "BYTEA" if postgresql else "BLOB"
    op.execute(
        f"CREATE TABLE commits (number {counter}, stored_at BIGINT NOT NULL, first {key} NOT NULL, "
        f"last {key} NOT NULL, drain TEXT NOT NULL, batches TEXT NOT NULL, calls {key} NOT NULL)"
    )
    op.execute("CREATE INDEX commits_first ON commits (first)")
    op.execute("CREATE INDEX commits_stored ON commits (stored_at)")
    raw, no = ("BYTEA", "false") if postgresql else ("BLOB", "0")
    op.execute(
        f"CREATE TABLE handler_runs (number {counter}, handler TEXT NOT NULL, failed BOOLEAN NOT NULL, "
        f"outcome TEXT NOT NULL, final BOOLEAN NOT NULL DEFAULT {no}, attempt INTEGER NOT NULL, "
        "began_at BIGINT NOT NULL, ended_at BIGINT NOT NULL, micros BIGINT NOT NULL, calls INTEGER NOT NULL, "
        f"status INTEGER, size INTEGER NOT NULL, node BIGINT NOT NULL, first_id {raw} NOT NULL, "
        f"last_id {raw} NOT NULL, durations TEXT NOT NULL, error TEXT NOT NULL, traceback TEXT NOT NULL, "
        f"ids {raw} NOT NULL)"
    )
    # The last runs of a handler, and what they take; those that had a call.
    op.execute("CREATE INDEX handler_runs_last ON handler_runs (handler, failed, number, size)")
    op.execute("CREATE INDEX handler_runs_node ON handler_runs (node, first_id, last_id)")
    # Pages of dead letters, the newest first.
    op.execute("CREATE INDEX dead_letters_failed ON dead_letters (failed_at, handler, delivery_id)")
    op.execute("CREATE INDEX dead_letters_of ON dead_letters (handler, failed_at, delivery_id)")
    # How much waits for a handler is counted from the index: the rows hold the calls themselves.
    op.execute("DROP INDEX handoffs_due")
    op.execute("CREATE INDEX handoffs_due ON handoffs (handler, due_at, count)")
    op.execute("CREATE INDEX audit_who ON audit (who, number)")
    op.execute("CREATE INDEX audit_action ON audit (action, number)")
    op.execute("CREATE TABLE ended_sessions (session TEXT PRIMARY KEY, until BIGINT NOT NULL)")
    _mailings(postgresql)


def _mailings(postgresql: bool) -> None:
    """See `workers.store.mailing_tables`. Figures of what is there are made by the workers, bit by bit."""
    row = "BYTEA" if postgresql else "BLOB"
    # Half of each page stays free, so that a row which changes again and again stays where it is.
    often, small = (" WITH (fillfactor = 50)", "") if postgresql else (" WITHOUT ROWID", " WITHOUT ROWID")
    op.execute("ALTER TABLE event_counts ADD COLUMN changes BIGINT NOT NULL DEFAULT 0")
    op.execute("CREATE INDEX event_counts_mailing ON event_counts (mailing, hour)")
    op.execute(
        "CREATE TABLE mailing_changes (mailing BIGINT NOT NULL, shard INTEGER NOT NULL, changes BIGINT NOT NULL, "
        f"PRIMARY KEY (mailing, shard)){often}"
    )
    op.execute(
        "CREATE TABLE mailing_parts (owner BIGINT NOT NULL, hour TEXT NOT NULL, type TEXT NOT NULL, "
        f"mailing BIGINT NOT NULL, changes BIGINT NOT NULL, number BIGINT NOT NULL, messages {row} NOT NULL, "
        "tops TEXT NOT NULL, PRIMARY KEY (owner, hour, type, mailing))"
    )
    op.execute("CREATE INDEX mailing_parts_mailing ON mailing_parts (mailing)")
    op.execute(
        "CREATE TABLE mailing_figures (mailing BIGINT NOT NULL PRIMARY KEY, changes BIGINT NOT NULL, "
        "first_hour TEXT NOT NULL, last_hour TEXT NOT NULL, as_of BIGINT NOT NULL, kinds TEXT NOT NULL, "
        "tops TEXT NOT NULL)"
    )
    op.execute("CREATE INDEX mailing_figures_first ON mailing_figures (first_hour, mailing)")
    op.execute(
        "CREATE TABLE mailing_tags (tag TEXT NOT NULL, mailing BIGINT NOT NULL, type TEXT NOT NULL, "
        f"number BIGINT NOT NULL, PRIMARY KEY (tag, mailing, type)){small}"
    )
    op.execute("CREATE INDEX mailing_tags_mailing ON mailing_tags (mailing)")
    op.execute(
        "CREATE TABLE mailing_names (product TEXT NOT NULL, mailing BIGINT NOT NULL, subject TEXT, "
        f"template BIGINT, sent_at TEXT, destinations BIGINT, asked_at BIGINT NOT NULL, "
        f"PRIMARY KEY (product, mailing)){small}"
    )
    if postgresql:  # hashes cannot be compressed
        op.execute("ALTER TABLE mailing_parts ALTER COLUMN messages SET STORAGE EXTERNAL")
    op.execute(
        "INSERT INTO mailing_changes (mailing, shard, changes) SELECT DISTINCT mailing, 0, 1 FROM event_counts"
    )
