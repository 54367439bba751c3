"""What the console needs: who did what, when what was stored by whom, and what became of it at handlers."""

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
    op.execute("CREATE INDEX audit_who ON audit (who, number)")
    op.execute("CREATE INDEX audit_action ON audit (action, number)")
    op.execute("CREATE TABLE ended_sessions (session TEXT PRIMARY KEY, until BIGINT NOT NULL)")
