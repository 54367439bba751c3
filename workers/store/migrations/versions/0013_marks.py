"""What the database and Redis tell of each other, so that a backup of one is noticed by the other."""

import secrets

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create the table; see `workers.gaps.lineage`. The name of the database goes with it into each backup."""
    op.execute("CREATE TABLE marks (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
    op.execute(f"INSERT INTO marks (name, value) VALUES ('database', '{secrets.token_hex(8)}')")
