"""A connection to the database, of whichever kind, and its transactions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Column, ColumnElement, Connection, Engine, Table, select
from sqlalchemy import Row as ResultRow

from ingest.errors import SchemaMissing, Unavailable
from workers.store import schema
from workers.store.backend import Backend, Row
from workers.store.dialects import backend_for

#: Rows of a query that are in memory at a time, and most keys in one statement.
FETCH_SIZE = 1000


class Database:
    """A database that has our tables. Open it in a `with` block, after a fork and never before."""

    def __init__(self, backend: Backend, engine: Engine) -> None:
        self._backend = backend
        self.engine = engine

    @classmethod
    def open(cls, url: str) -> Self:
        """Connect to a database that has our tables.

        Raises:
            Unavailable: the database cannot be reached or used.
            SchemaMissing, SchemaMismatch: it has no tables, or those of another release.
        """
        backend = backend_for(url)
        if backend.is_absent:
            raise SchemaMissing(f"There is no database at {backend.shown} yet: run `ingest db upgrade`.")
        database = cls(backend, backend.engine())
        try:
            with backend.explained():
                schema.require(database.engine, backend)
        except Unavailable:
            database.close()
            raise
        return database

    def close(self) -> None:
        """Close its connections."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def shown(self) -> str:
        """The name of the database for messages: without its password."""
        return self._backend.shown

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for queries.

        Raises:
            Unavailable: the database cannot be used now.
        """
        with self._backend.explained(), self.engine.connect() as connection:
            try:
                yield connection
            except BaseException:
                # A time limit of the job, say: a rollback would fail too, and hide the reason.
                if self._backend.is_stuck(connection):
                    connection.invalidate()
                raise

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction, committed at the end of the block.

        Raises:
            RowsRejected: the database does not take some of the rows; nothing was stored.
            Unavailable: the database cannot be used now; nothing was stored.
        """
        with self.reading() as connection:
            self._backend.begin(connection)
            yield connection
            connection.commit()

    def take_turns(self, connection: Connection, name: str) -> None:
        """Wait, within a transaction, until no other that took turns under this name is open."""
        self._backend.take_turns(connection, name)

    def insert(self, connection: Connection, table: Table, rows: Sequence[Row]) -> int:
        """Add rows whose key is not there yet, within a transaction; returns how many were not."""
        return self._backend.insert(connection, table, rows)

    def rows(
        self, table: Table, conditions: Sequence[ColumnElement[bool]] = (), order: Sequence[Column[Any]] = ()
    ) -> Iterator[ResultRow[Any]]:
        """Rows of any table, `FETCH_SIZE` in memory at a time."""
        query = select(table).where(*conditions).order_by(*order)
        with self.reading() as connection:
            yield from connection.execution_options(yield_per=FETCH_SIZE).execute(query)

    def count_rows(self, table: Table) -> int:
        """How many rows a table has."""
        with self.reading() as connection:
            return self._backend.count(connection, table)

    def make_room(self, seconds: Sequence[int] = ()) -> list[str]:
        """Make what events to come need, and those of these `seconds` (Unix time).

        Returns sentences on what could not be done; events are stored all the same.
        """
        return self._backend.make_room(self.writing, seconds)

    def weaknesses(self) -> list[str]:
        """Phrases on settings of the database that put stored events at risk."""
        with self.reading() as connection:
            return self._backend.weaknesses(connection)
