"""A connection to the database, of whichever kind, and its transactions."""

from array import array
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Column, ColumnElement, Connection, Engine, Select, Table, and_, select, true
from sqlalchemy import Row as ResultRow

from ingest.errors import SchemaMissing, Unavailable
from ingest.health import Risk
from workers.store import schema
from workers.store.backend import Backend, Row, Slice
from workers.store.dialects import backend_for

if TYPE_CHECKING:
    from pyarrow import RecordBatch

#: Rows of a query that are in memory at a time, and most keys in one statement.
FETCH_SIZE = 1000
#: Rows of a few columns that are read in one transaction.
PORTION = 20_000


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

    def hurry(self) -> None:
        """From now on, have what is asked given up (`TookTooLong`) as `workers.store.patience` says."""
        self._backend.hurry(self.engine)

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
    def backend(self) -> Backend:
        """What is particular to this kind of database."""
        return self._backend

    @property
    def shown(self) -> str:
        """The name of the database for messages: without its password."""
        return self._backend.shown

    @contextmanager
    def reading(self, by_message: bool = False) -> Iterator[Connection]:
        """A connection for queries, or for one that looks a message up.

        Raises:
            Unavailable: the database cannot be used now.
        """
        with self._backend.explained(), self.engine.connect() as connection:
            try:
                if by_message:
                    self._backend.go_by_message(connection)
                yield connection
            except BaseException as error:
                # A time limit of the job, say: a rollback would fail too, and hide the reason.
                if self._backend.is_stuck(connection) or self._backend.is_elsewhere(error):
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

    def lock(
        self, connection: Connection, table: Table, *conditions: ColumnElement[bool]
    ) -> Sequence[ResultRow[Any]]:
        """Lock rows in the order of their keys, within a transaction that is about to change them; returns those.

        So two transactions that change some of the same rows wait for each other rather than deadlock.
        """
        key = list(table.primary_key.columns)
        return connection.execute(select(*key).where(*conditions).order_by(*key).with_for_update()).all()

    def time(self) -> int | None:
        """The time in µs since 1970 by the database's clock; None if it has none of its own."""
        with self.reading() as connection:
            return self._backend.time(connection)

    def insert(self, connection: Connection, table: Table, rows: Sequence[Row]) -> int:
        """Add rows whose key is not there yet, within a transaction; returns how many were not."""
        return self._backend.insert(connection, table, rows)

    def keys(self, table: Table, portion: int) -> Iterator[Sequence[ResultRow[Any]]]:
        """The keys of all rows in their order, in portions, each read in a transaction of its own."""
        key = list(table.primary_key.columns)
        query = select(*key).order_by(*key).limit(portion)
        last: Sequence[Any] = ()
        while True:
            with self.reading() as connection:
                found = connection.execute(query.where(self._backend.after(key, last)) if last else query).all()
            if not found:
                return
            yield found
            last = found[-1]

    def numbers(self, column: Column[int], *conditions: ColumnElement[bool]) -> "array[int]":
        """The values of a column of numbers, in order: eight bytes each, so there may be millions.

        Whoever then deletes or changes those rows, some at a time, need not look for the next ones again: among
        what is gone by then, in PostgreSQL, each look would take longer than the one before.
        """
        found, query = array("q"), select(column).where(*conditions).execution_options(yield_per=FETCH_SIZE)
        with self.reading() as connection:
            for portion in connection.execute(query).scalars().partitions():
                found.extend(portion)
        return array("q", sorted(found))

    def rows(
        self,
        table: Table,
        conditions: Sequence[ColumnElement[bool]] = (),
        order: Sequence[Column[Any]] = (),
        portion: int = FETCH_SIZE,
    ) -> Iterator[ResultRow[Any]]:
        """Rows of any table, a `portion` in memory at a time, in the order of their keys.

        Another `order` is that of an index, and tells rows apart. Each portion is read in a transaction of its
        own, from behind the last one, and none is open while the caller works on a row: who reads slowly, such as
        a pager, would keep SQLite's log from being emptied, and PostgreSQL's old months from being dropped. So a
        row that is deleted meanwhile may be left out, and one that comes in may be there.
        """
        key = list(order or table.primary_key.columns)
        query = select(table).where(*conditions).order_by(*key).limit(portion)
        begin: ColumnElement[bool] = true()
        while True:
            with self.reading() as connection:
                found = connection.execute(query.where(begin)).all()
            yield from found
            if len(found) < portion:
                return
            last = [found[-1]._mapping[column] for column in key]
            # The first part is for an index that has other columns in between.
            begin = and_(key[0] >= last[0], self._backend.after(key, last))

    def streamed(
        self, query: Select[Any], first: ColumnElement[bool], order: Sequence[ColumnElement[Any]]
    ) -> Iterator[Sequence[ResultRow[Any]]]:
        """The rows of a query from `first` on, `FETCH_SIZE` at a time at most.

        It begins with the columns of `order`, which tell its rows apart. Where a long read keeps a log from being
        emptied, some thousand rows are read in a transaction of their own.
        """
        if not self._backend.reads_in_portions:
            with self.reading() as connection:
                streaming = connection.execution_options(yield_per=FETCH_SIZE)
                yield from streaming.execute(query.where(first)).partitions()
            return
        query, begin = query.order_by(*order).limit(PORTION), first
        while True:
            with self.reading() as connection:
                found = connection.execute(query.where(begin)).all()
            for at in range(0, len(found), FETCH_SIZE):
                yield found[at : at + FETCH_SIZE]
            if len(found) < PORTION:
                return
            # In place of `first`: with both, SQLite would pass over all that was read already, each time.
            begin = self._backend.after(order, found[-1][: len(order)])

    def as_arrow(self, wanted: Slice) -> "Generator[RecordBatch, None, None]":
        """Events as record batches, in the order of their times; nothing else is asked meanwhile.

        Raises:
            Unavailable: the database cannot be used now.
        """
        with self._backend.explained():
            yield from self._backend.as_arrow(self.engine, wanted)

    def seconds(self, column: ColumnElement[Any]) -> tuple[ColumnElement[Any], Callable[[Any], int]]:
        """A column of times as one for a query of millions, and what makes Unix seconds of its values."""
        return self._backend.seconds(column)

    def by_time(self, kind: str) -> tuple[ColumnElement[bool], list[ColumnElement[Any]]]:
        """For `streamed`, events of a type by their times: the condition, and the rest of the order."""
        return self._backend.by_time(kind)

    def of_messages(self, message_ids: Sequence[str]) -> ColumnElement[bool]:
        """For a query of the events of some messages: the condition. The connection is to be `by_message`."""
        return self._backend.of_messages(message_ids)

    def overwrite(self, connection: Connection) -> None:
        """Have what this connection deletes from now on overwritten, where that is in our power."""
        self._backend.overwrite(connection)

    def count_rows(self, table: Table) -> int:
        """How many rows a table has."""
        with self.reading() as connection:
            return self._backend.count(connection, table)

    def make_room(self, seconds: Sequence[int] = ()) -> list[str]:
        """Make what events to come need, and those of these `seconds` (Unix time).

        Returns sentences on what could not be done; events are stored all the same.
        """
        return self._backend.make_room(self.writing, seconds)

    def closed(self) -> Risk | None:
        """Why nothing can be written at all, though it can be read; None if that is not so."""
        with self.reading() as connection:
            return self._backend.closed(connection)

    def weaknesses(self) -> list[Risk]:
        """Settings of the database that put stored events at risk."""
        with self.reading() as connection:
            return self._backend.weaknesses(connection)
