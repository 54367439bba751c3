"""What the console needs: who did what."""

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
