"""Which calls are claimed apart from others: parts of a batch that failed."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; the release before goes on without naming it."""
    false = "FALSE" if op.get_context().dialect.name == "postgresql" else "0"
    op.execute(f"ALTER TABLE handoffs ADD COLUMN apart BOOLEAN NOT NULL DEFAULT {false}")
