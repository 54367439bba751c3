"""What the console needs: who did what, and when what was stored by whom."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create the tables; see `workers.store.console_tables`."""
    postgresql = op.get_context().dialect.name == "postgresql"
    counter = "BIGSERIAL PRIMARY KEY" if postgresql else "INTEGER PRIMARY KEY AUTOINCREMENT"
    op.execute(
        f"CREATE TABLE audit (number {counter}, began_at BIGINT NOT NULL, ended_at BIGINT, who TEXT NOT NULL, "
        "via TEXT NOT NULL, action TEXT NOT NULL, what TEXT NOT NULL, affected BIGINT, error TEXT)"
    )
    key = "BYTEA" if postgresql else "BLOB"
    op.execute(
        f"CREATE TABLE commits (number {counter}, stored_at BIGINT NOT NULL, first {key} NOT NULL, "
        f"last {key} NOT NULL, drain TEXT NOT NULL, batches TEXT NOT NULL, calls {key} NOT NULL)"
    )
    op.execute("CREATE INDEX commits_first ON commits (first)")
    op.execute("CREATE INDEX commits_stored ON commits (stored_at)")
