"""Views of mailings, templates, tags and devices, and of how many messages tags and devices are."""

from alembic import op
from sqlalchemy import inspect

from ingest.errors import Unavailable
from workers.store import view_queries, views

revision = "0014"
down_revision = "0013"

#: What there is of views before.
BEFORE = ("message_stats", "daily_stats", "last_events")


def upgrade() -> None:
    """Make the views, and have the workers make all parts of mailings again, bit by bit.

    Raises:
        Unavailable: something that is not ours has the name of a view.
    """
    connection = op.get_bind()
    dialect = connection.dialect.name
    column = {"sqlite": "TEXT", "postgresql": "TEXT", "mysql": "LONGTEXT"}[dialect]
    there = {one["name"] for one in inspect(connection).get_columns("mailing_parts")}
    if "cuts" not in there:  # in MariaDB, this may have ended half-way before
        op.execute(f"ALTER TABLE mailing_parts ADD COLUMN cuts {column}")
    if "messages" not in {one["name"] for one in inspect(connection).get_columns("mailing_tags")}:
        op.execute("ALTER TABLE mailing_tags ADD COLUMN messages BIGINT")
    _devices(dialect)
    _check_names()
    for name, query in view_queries.definitions(dialect).items():
        if dialect == "sqlite":
            op.execute(f"DROP VIEW IF EXISTS {name}")
        replace = "" if dialect == "sqlite" else "OR REPLACE "
        connection.exec_driver_sql(f"CREATE {replace}VIEW {name} AS {query}")
    op.execute("UPDATE mailing_parts SET changes = -1")
    op.execute("UPDATE mailing_changes SET changes = changes + 1")


def _devices(dialect: str) -> None:
    word = "VARCHAR(64)" if dialect == "mysql" else "TEXT"
    tail = {"sqlite": " WITHOUT ROWID", "postgresql": "", "mysql": _as_others(dialect)}[dialect]
    op.execute(
        f"CREATE TABLE IF NOT EXISTS mailing_devices (mailing BIGINT NOT NULL, device {word} NOT NULL, "
        f"type {word} NOT NULL, number BIGINT NOT NULL, messages BIGINT, "
        f"PRIMARY KEY (mailing, device, type)){tail}"
    )


def _as_others(dialect: str) -> str:
    """The character set and order of our other tables in MariaDB."""
    if dialect != "mysql":
        return ""
    query = (
        "SELECT table_collation FROM information_schema.tables WHERE table_schema = DATABASE() "
        "AND table_name = 'mailing_tags'"
    )
    collation = op.get_bind().exec_driver_sql(query).scalar_one()
    return f" ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE {collation}"


def _check_names() -> None:
    """Whether the new names are free, or those of our own views, from an upgrade that ended half-way."""
    inspector = inspect(op.get_bind())
    there = {*inspector.get_table_names(), *inspector.get_view_names()}
    for view in views.view_metadata.sorted_tables:
        if view.name in BEFORE or view.name not in there:
            continue
        if [one["name"] for one in inspector.get_columns(view.name)] != [one.name for one in view.columns]:
            raise Unavailable(
                f"The database has a table or view {view.name} that is not ours: rename it, then run "
                "`ingest db upgrade` again."
            )
