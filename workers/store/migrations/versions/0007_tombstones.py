"""Who was erased, so that nothing older of them is stored any more."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the table."""
    kind = "BYTEA" if op.get_context().dialect.name == "postgresql" else "BLOB"
    op.execute(
        f"CREATE TABLE tombstones (digest {kind} PRIMARY KEY, key {kind} NOT NULL, erased_at BIGINT NOT NULL)"
    )
