"""Results of comparing log files with the store."""

from alembic import op

revision = "0003"
down_revision = "0002"

#: A row per run, day and kind of event; the one without a kind is the day's own, and says whether it is complete.
TABLE = """CREATE TABLE reconciliations (day DATE NOT NULL, kind TEXT NOT NULL,
    finished_at {moment} NOT NULL, origin TEXT NOT NULL, complete {boolean} NOT NULL, in_log BIGINT NOT NULL,
    in_store BIGINT NOT NULL, recovered BIGINT NOT NULL, only_in_store BIGINT NOT NULL, unmatched BIGINT NOT NULL,
    superseded BIGINT NOT NULL, clock_offset BIGINT NOT NULL, error TEXT, details {json} NOT NULL,
    PRIMARY KEY (day, kind, finished_at))"""


def upgrade() -> None:
    """Create the table."""
    words = {"moment": "DATETIME", "boolean": "BOOLEAN", "json": "TEXT"}
    if op.get_context().dialect.name == "postgresql":
        words |= {"moment": "TIMESTAMPTZ", "json": "JSONB"}
    op.execute(TABLE.format(**words))
