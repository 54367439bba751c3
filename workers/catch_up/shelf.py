"""What was fetched, on disk until it is compared: millions of results take no more memory than a few.

It is an SQLite file in a folder of `workers.reconcile.downloads`, which nobody else can read, and which the next
process removes if this one is killed.
"""

import hashlib
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import orjson

from ingest.copernica.api.results import Product, Result
from ingest.copernica.events import EventType
from ingest.errors import Unavailable

T = TypeVar("T")

#: Bytes that are left free on its disk, where the store or the spool may be, too; rows between two looks.
MIN_FREE = 256 * 1024 * 1024
LOOK_EVERY = 20_000
#: Memory for pages of the file, in KiB.
CACHE = 32 * 1024
#: Rows that are read at once.
PORTION = 1000

_SCHEMA = f"""
PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=-{CACHE};
PRAGMA temp_store=FILE;
CREATE TABLE results (
  kind TEXT, product TEXT, id INTEGER, timestamp TEXT, destination INTEGER, mailing INTEGER, profile INTEGER,
  subprofile INTEGER, fields BLOB, PRIMARY KEY (kind, product, id)
) WITHOUT ROWID;
CREATE TABLE messages (
  product TEXT, destination INTEGER, mailing INTEGER, message TEXT, profile INTEGER, subprofile INTEGER,
  recipient TEXT, PRIMARY KEY (product, destination)
) WITHOUT ROWID;
CREATE INDEX messages_message ON messages (message) WHERE recipient IS NULL;
"""
_FOUND = """
SELECT r.product, r.id, coalesce(r.timestamp, ''), r.destination, coalesce(r.mailing, m.mailing),
  coalesce(r.profile, m.profile), coalesce(r.subprofile, m.subprofile), m.message, m.recipient, r.fields
FROM results r LEFT JOIN messages m USING (product, destination) WHERE r.kind = ?
"""
#: Whichever way Copernica divides a date and a time, and whatever it writes after the seconds.
_OF_PERIOD = """
SELECT kind, product, id FROM results
WHERE coalesce(replace(substr(timestamp, 1, 19), 'T', ' '), '') NOT BETWEEN '0' AND '9999'
  OR replace(substr(timestamp, 1, 19), 'T', ' ') BETWEEN ? AND ?
ORDER BY kind, product, id
"""


class Known(NamedTuple):
    """Which message a destination is."""

    product: str
    destination: int
    message: str
    mailing: int | None
    profile: int | None
    subprofile: int | None


class Person(NamedTuple):
    """Whose message it is: a profile, or a subprofile of it."""

    profile: int
    subprofile: int | None


class Found(NamedTuple):
    """A result with what is known of its message; `message` is None where that is not known."""

    product: str
    id: int
    #: As Copernica writes it; empty if it writes none.
    timestamp: str
    destination: int | None
    mailing: int | None
    profile: int | None
    subprofile: int | None
    message: str | None
    recipient: str | None
    fields: dict[str, Any]


class Shelf:
    """The results of one period, and the messages that they are of."""

    def __init__(self, folder: Path) -> None:
        """In this folder.

        Raises:
            Unavailable: its disk is full; every other method raises this, too.
        """
        self._folder = folder
        self._room = 0
        with self._usable():
            where = folder / "results.sqlite3"
            self._db = sqlite3.connect(where, isolation_level=None, check_same_thread=False)
            try:
                self._db.executescript(_SCHEMA)
            except BaseException:
                self._db.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    # --- results ---

    def put(self, results: Sequence[Result]) -> int:
        """Keep some more; returns how many were not there yet."""
        rows = (
            (*(one.kind.value, one.product.value, one.id, one.timestamp), *_numbers(one), orjson.dumps(one.fields))
            for one in results
        )
        return self._change("INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def counts(self) -> dict[EventType, int]:
        """How many there are of each kind, most first."""
        rows = self._read("SELECT kind, count(*) FROM results GROUP BY kind ORDER BY count(*) DESC, kind")
        return {EventType(kind): number for kind, number in rows}

    def found(self, kind: EventType) -> Iterator[list[Found]]:
        """The results of a kind, in portions."""
        for rows in self._portions(_FOUND, [kind.value]):
            yield [Found._make((*row[:-1], orjson.loads(row[-1]))) for row in rows]

    def unresolved(self) -> int:
        """How many there are whose messages are not known."""
        query = (
            "SELECT count(*) FROM results r LEFT JOIN messages m USING (product, destination) "
            "WHERE m.message IS NULL"
        )
        return int(self._read(query)[0][0])

    def fingerprint(self, begin: str, end: str) -> bytes:
        """Which results there are from one time to another: two shelves with the same have the same of these.

        Times are written as `2026-11-27 08:00:00`; results without one belong to any.
        """
        told = hashlib.sha256()
        for rows in self._portions(_OF_PERIOD, [begin, end]):
            told.update(orjson.dumps(rows))
        return told.digest()

    # --- messages ---

    def seek(self) -> None:
        """Note the messages that all results are of: they are sought."""
        self._change(
            "INSERT OR IGNORE INTO messages (product, destination, mailing) SELECT product, destination, "
            "max(mailing) FROM results WHERE destination IS NOT NULL GROUP BY product, destination"
        )

    def unknown(self) -> dict[tuple[Product, int | None], int]:
        """How many messages are not known, by product and mailing."""
        rows = self._read(
            "SELECT product, mailing, count(*) FROM messages WHERE message IS NULL GROUP BY product, mailing"
        )
        return {(Product(product), mailing): number for product, mailing, number in rows}

    def unknown_of(self, product: Product) -> Iterator[list[int]]:
        """The destinations of a product whose messages are not known, in portions."""
        query = (
            "SELECT destination FROM messages WHERE product = ? AND message IS NULL AND destination > ? "
            "ORDER BY destination LIMIT ?"
        )
        after = 0
        while rows := self._read(query, [product.value, after, PORTION]):
            after = rows[-1][0]
            yield [number for (number,) in rows]

    def know(self, messages: Iterable[Known]) -> None:
        """Which messages some destinations are; those that are not sought are left out."""
        rows = (
            (one.message, one.mailing, one.profile, one.subprofile, one.product, one.destination)
            for one in messages
        )
        self._change(
            "UPDATE messages SET message = ?, mailing = coalesce(mailing, ?), profile = ?, subprofile = ? "
            "WHERE product = ? AND destination = ?",
            rows,
        )

    # --- recipients ---

    def addressed(self, recipients: Iterable[tuple[str, str]]) -> int:
        """To whom some messages were sent: pairs of message and recipient. Returns how many that tells."""
        rows = ((recipient, message) for message, recipient in recipients)
        return self._change("UPDATE messages SET recipient = ? WHERE message = ? AND recipient IS NULL", rows)

    def without_recipient(self) -> Iterator[list[str]]:
        """Messages that are known, and whose recipients are not, in portions."""
        query = (
            "SELECT DISTINCT message FROM messages WHERE recipient IS NULL AND message > ? "
            "ORDER BY message LIMIT ?"
        )
        after = ""
        while rows := self._read(query, [after, PORTION]):
            after = rows[-1][0]
            yield [message for (message,) in rows]

    def reach(self, people: Iterable[tuple[Person, str]]) -> int:
        """Under which address some people are reached, for all their messages."""
        self._change("CREATE INDEX IF NOT EXISTS messages_profile ON messages (profile) WHERE recipient IS NULL")
        rows = ((address, *person) for person, address in people)
        return self._change(
            "UPDATE messages SET recipient = ? WHERE profile = ? AND subprofile IS ? AND recipient IS NULL", rows
        )

    def unreached(self, most: int) -> list[Person]:
        """People whose address is not known, though it is known that a message was theirs; `most` of them."""
        rows = self._read(
            "SELECT DISTINCT profile, subprofile FROM messages WHERE recipient IS NULL AND profile IS NOT NULL "
            "ORDER BY profile, subprofile LIMIT ?",
            [most],
        )
        return [Person._make(row) for row in rows]

    # --- the file ---

    def _change(self, statement: str, rows: Iterable[Sequence[Any]] | None = None) -> int:
        with self._usable():
            before = self._db.total_changes
            if rows is None:
                self._db.execute(statement)
            else:
                self._db.executemany(statement, rows)
            changed = self._db.total_changes - before
            self._room -= changed
            if self._room <= 0:
                self._room = LOOK_EVERY
                if shutil.disk_usage(self._folder).free < MIN_FREE:
                    raise sqlite3.OperationalError("hardly any room is left")
            return changed

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._usable():
            return self._db.execute(query, values).fetchall()

    def _portions(self, query: str, values: Sequence[Any]) -> Iterator[list[Any]]:
        with self._usable():
            cursor = self._db.execute(query, values)
            while rows := cursor.fetchmany(PORTION):
                yield rows

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise Unavailable(
                f"{self._folder.parent} cannot be used ({error}): results need room there, some 300 MB per "
                "million; TMPDIR names another place."
            ) from error


def parts(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The same values, so many at a time."""
    return (values[at : at + size] for at in range(0, len(values), size))


def _numbers(one: Result) -> tuple[int | None, ...]:
    return one.destination, one.mailing, one.profile, one.subprofile
