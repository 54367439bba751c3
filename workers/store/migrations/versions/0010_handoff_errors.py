"""What a handoff failed with last, for `ingest failed waiting`."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column; what waits already has no error until it fails again."""
    op.execute("ALTER TABLE handoffs ADD COLUMN error TEXT")
