"""The schema of the database, in versions: Alembic's `workers/migrations`, applied by `ingest db upgrade`."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from ingest.errors import SchemaMismatch, SchemaMissing

#: The version that this program works with: the newest in `workers/migrations/versions`.
VERSION = "0003"
#: What PostgreSQL says of a table that is not there.
NO_TABLE = "42P01"
#: Held by whoever upgrades a PostgreSQL database; any number will do that nobody else uses.
UPGRADE_LOCK = 0x1465_7374


def current(connection: Connection) -> str | None:
    """The version of a database; None if there are no tables of ours, or only those of release 0.1."""
    try:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != NO_TABLE and "no such table" not in str(error.orig):
            raise
        return None
    finally:
        connection.rollback()


def require(engine: Engine, shown: str) -> None:
    """See that the database has the schema that this program works with.

    Raises:
        SchemaMissing: it has no tables.
        SchemaMismatch: it has other ones.
    """
    with engine.connect() as connection:
        found = current(connection)
    if found is None:
        raise SchemaMissing(f"The database {shown} has no tables yet: run `ingest db upgrade`.")
    if found < VERSION:
        raise SchemaMismatch(
            f"The database {shown} has schema {found}, and this program needs {VERSION}: run `ingest db upgrade`."
        )
    if found > VERSION:
        raise SchemaMismatch(
            f"The database {shown} has schema {found}, newer than this program's {VERSION}: "
            "install the release that upgraded it."
        )


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Bring a database to the newest schema; returns the versions before and after.

    Raises:
        SchemaMismatch: it is newer than this program.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of each of its plug-ins
    from alembic import command  # noqa: PLC0415  # a quarter of a second that only this command need wait for
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    with engine.connect() as connection, _alone(connection):
        before = _version_within(connection)
        if before is not None and before > VERSION:
            raise SchemaMismatch(f"The database has schema {before}, newer than this program's {VERSION}.")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return before, VERSION


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """A transaction in which nobody else upgrades."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": UPGRADE_LOCK})
    yield
    connection.commit()


def _version_within(connection: Connection) -> str | None:
    """As `current`, without ending the transaction or breaking it."""
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
