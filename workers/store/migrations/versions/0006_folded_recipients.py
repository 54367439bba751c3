"""Recipients that a database cannot compare without regard to case by itself, as they are compared."""

import sqlite3
from typing import cast

from alembic import op
from sqlalchemy import text

from workers.store.rows import folded_recipient

revision = "0006"
down_revision = "0005"

STATEMENTS = [
    "ALTER TABLE events ADD COLUMN folded_recipient TEXT",
    # Few rows have one, so the index costs the other rows nothing.
    "CREATE INDEX events_folded_recipient ON events (folded_recipient) WHERE folded_recipient IS NOT NULL",
]
#: Recipients with any other character than those of nearly all addresses; it means the same to both databases.
UNUSUAL = "[^!-=?-~]"
#: Recipients that are updated at once.
PORTION = 10_000


def upgrade() -> None:
    """Add the column, and fill it for what is stored already."""
    for statement in STATEMENTS:
        op.execute(statement)
    if op.get_context().dialect.name == "postgresql":
        _fill_postgresql()
        return
    driver = cast("sqlite3.Connection", op.get_bind().connection.driver_connection)
    driver.create_function("folded_recipient", 1, folded_recipient, deterministic=True)
    op.execute(
        "UPDATE events SET folded_recipient = folded_recipient(recipient) "
        f"WHERE recipient GLOB '*{UNUSUAL}*' AND folded_recipient(recipient) IS NOT NULL"
    )


def _fill_postgresql() -> None:
    connection = op.get_bind()
    query = text("SELECT DISTINCT recipient FROM events WHERE recipient ~ :unusual")
    # By the expression that is indexed, and then by the recipient itself.
    update = text(
        "UPDATE events SET folded_recipient = :folded WHERE lower(substr(recipient, 1, 320)) = "
        "lower(substr(:recipient, 1, 320)) AND recipient = :recipient"
    )
    found = connection.execute(query, {"unusual": UNUSUAL}).scalars().all()
    values = [{"recipient": each, "folded": folded} for each in found if (folded := folded_recipient(each))]
    for at in range(0, len(values), PORTION):
        connection.execute(update, values[at : at + PORTION])
