"""The version of the schema: required by every process, and upgraded by `ingest db upgrade` with Alembic."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import DBAPIError

from ingest.errors import SchemaMismatch, SchemaMissing, SchemaOlder, Unavailable
from workers.store.backend import Backend
from workers.store.dialects import backend_for
from workers.store.other_release import noted
from workers.store.tables import schema_version

log = logging.getLogger(__name__)

#: The version that this program works with: the newest in `migrations/versions`.
VERSION = "0014"


def current(connection: Connection, backend: Backend) -> str | None:
    """The version of a database; None if there are no tables of ours, or only those of release 0.1."""
    try:
        if backend.lacks(connection, schema_version.name):
            return None
        return connection.execute(select(schema_version.c.version_num)).scalar()
    except DBAPIError as error:
        if not backend.is_missing_table(error):
            raise
        return None
    finally:
        connection.rollback()


def require(engine: Engine, backend: Backend) -> None:
    """Check that the database has the schema that this program works with.

    Raises:
        SchemaMissing: it has no tables.
        SchemaMismatch: it has those of another release.
    """
    with engine.connect() as connection:
        version = current(connection, backend)
    if version is None:
        raise SchemaMissing(f"The database {backend.shown} has no tables yet: run `ingest db upgrade`.")
    if version != VERSION:
        noted.note()
    if version < VERSION:
        raise SchemaOlder(
            f"The database {backend.shown} has schema {version}, and this program needs {VERSION}: "
            "run `ingest db upgrade`."
        )
    if version > VERSION:
        raise SchemaMismatch(
            f"The database {backend.shown} has schema {version}, newer than this program's {VERSION}: "
            "install the release that upgraded it."
        )


def upgrade(url: str) -> tuple[str | None, str]:
    """Create the tables or bring them up to date; returns the versions of the schema before and after.

    Also makes room for events to come; what cannot be done of that is logged: events are stored all the same. What
    takes long where there are many events is left to `workers.store.filling`.

    Raises:
        Unavailable: the database cannot be reached or used.
        SchemaMismatch: it is newer than this program.
    """
    backend = backend_for(url)
    engine = backend.engine()
    try:
        with backend.explained():
            versions = _upgrade(engine, backend)
        if problem := _describe(engine, backend):
            log.warning("%s", problem, extra={"event": "no-comments"})
        for problem in backend.make_room(partial(_transaction, engine, backend), however_many=True):
            log.warning("%s", problem, extra={"event": "no-room-made"})
        return versions
    finally:
        engine.dispose()


def _describe(engine: Engine, backend: Backend) -> str | None:
    """Put comments on tables and columns; returns why that failed, which changes nothing about the tables."""
    try:
        with backend.explained(), engine.connect() as connection:
            backend.describe(connection)
    except Unavailable as error:
        return (
            f"The comments on tables and columns could not be written ({str(error).rstrip('.')}): run "
            "`ingest db upgrade` again as the owner of the tables, when nobody else changes them."
        )
    return None


@contextmanager
def _transaction(engine: Engine, backend: Backend) -> Iterator[Connection]:
    with backend.explained(), engine.connect() as connection:
        backend.begin(connection)
        yield connection
        connection.commit()


def _upgrade(engine: Engine, backend: Backend) -> tuple[str | None, str]:
    with engine.connect() as connection:
        backend.lock_schema(connection)
        before, made = _version_within(connection), None
        if before is not None and before > VERSION:
            raise SchemaMismatch(
                f"The database has schema {before}, newer than this program's {VERSION}: install the release that "
                "upgraded it."
            )
        if unfit := backend.unfit(connection):
            if before is None:
                raise Unavailable(unfit)
            log.warning("%s", unfit, extra={"event": "database-unfit"})
        if before is None:
            made = backend.create(connection)
        if VERSION not in (before, made):
            _migrate(connection)
        connection.commit()
    return before, VERSION


def _migrate(connection: Connection) -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)  # at INFO it reports each of its plug-ins
    from alembic import command  # noqa: PLC0415  # a quarter of a second, where there is something to do
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _version_within(connection: Connection) -> str | None:
    """As `current`, without ending the transaction or breaking it."""
    if not connection.dialect.has_table(connection, schema_version.name):
        return None
    return connection.execute(select(schema_version.c.version_num)).scalar()
