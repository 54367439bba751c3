"""Tells unverified calls apart by all that is judged, not only by their bodies; notes whose key they wait for."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = [
    # What the older rows have there tells them apart as well.
    "ALTER TABLE unverified RENAME COLUMN body_hash TO digest",
    "ALTER TABLE unverified ADD COLUMN key_id TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX unverified_by_key ON unverified (key_id, delivery_id, digest)",
]


def upgrade() -> None:
    """Change the table."""
    for statement in STATEMENTS:
        op.execute(statement)
