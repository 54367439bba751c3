"""What happened, as only Copernica knows it: mailings, the messages that make them up, and what became of each.

The simulator writes it, the fake API serves it. It is a SQLite database in a folder, which outlives both and may
have millions of rows; or, for tests, in memory:

    truth = Truth.of((call.type, call.fields) for call in islice(Simulator(1), 100))
    truth = Truth()
    truth.event("open", {"id": "5fd2c1aa90bb", "time": 1795165964, "mailing": 7, "profile": 4711})

An event is given by the fields of its webhook, as log files are written from: see `event`.
"""

import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson

from ingest.copernica.events import PROFILE_EVENTS, EventType
from ingest.errors import Unavailable
from ingest.simulation import profiles
from ingest.simulation.calls import MARKETING_SUITE
from ingest.simulation.truth_schema import ADD, SCHEMA

#: The file in a truth's folder.
FILE = "truth.sqlite3"
#: The list of results in which Copernica keeps each type of event; all others have none.
LISTS: Mapping[str, str] = {
    EventType.OPEN: "impressions",
    EventType.CLICK: "clicks",
    EventType.DELIVERY: "deliveries",
    EventType.FAILURE: "errors",
    EventType.UNSUBSCRIBE: "unsubscribes",
    EventType.ABUSE: "abuses",
}
#: What a result tells of its kind, and the webhook's fields from which it has it, in order of preference.
TOLD: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "impressions": {"ip": ("ip",), "useragent": ("useragent",), "referer": ("referer",), "device": ("device",)},
    "clicks": {
        "link": ("link", "original"),
        "ip": ("ip",),
        "useragent": ("useragent",),
        "referer": ("referer",),
        "link_title": ("link_title",),
    },
    "deliveries": {"attempts": ("attempts",)},
    "errors": {
        "status": ("extended",),
        "errorcode": ("code",),
        "description": ("description",),
        "errortype": ("state",),
    },
    "unsubscribes": {"source": ("source",)},
    "abuses": {"report": ("mime",)},
}
#: Events kept in memory before they are written, and for how many seconds at most while more of them come.
BATCH, BATCH_SECONDS = 500, 0.25
#: Seconds to wait for another process that writes.
PATIENCE = 30.0
#: Memory for pages of the database, in KiB.
CACHE = 32 * 1024


class Destination(NamedTuple):
    """A message to one recipient: its number, and the hash by which webhooks name it."""

    product: str
    id: int
    message: str
    mailing: int
    #: When it was sent, in Unix seconds.
    second: int
    profile: int | None = None
    subprofile: int | None = None
    recipient: str | None = None
    unsubscribed: int = 0


class Result(NamedTuple):
    """What was recorded of an event; `id` is unique among those of its product and kind."""

    product: str
    #: The list that it is in, such as `impressions`.
    kind: str
    id: int
    #: When it happened, in Unix seconds.
    second: int
    destination: int
    mailing: int
    told: dict[str, Any]


class _Event(NamedTuple):
    destination: Destination
    kind: str | None
    second: int
    told: bytes


def number_of(message: str) -> int:
    """The number of a message that nobody gave one: always the same, below 2^48."""
    return int.from_bytes(blake2b(message.encode(), digest_size=6).digest()) or 1


class Truth:
    """What happened. May be used by several threads; a folder also by several processes."""

    def __init__(self, folder: Path | None = None) -> None:
        """In this folder, which is created or gone on with; without one, in memory.

        Raises:
            Unavailable: the folder cannot be used; every other method raises this, too.
        """
        self._folder = folder
        self._lock = threading.RLock()
        self._batch: list[_Event] = []
        self._flushed = time.monotonic()
        with self._usable():
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
            where = folder / FILE if folder else ":memory:"
            self._db = sqlite3.connect(where, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise
        if folder is None:
            # Nothing of it is to be written when it goes, so that nobody has to say when that is.
            weakref.finalize(self, self._db.close)

    def _prepare(self) -> None:
        """Make what is not there yet. Of several who do so at once, SQLite has all but one try again."""
        ends = time.monotonic() + PATIENCE
        while True:
            try:
                # What a power cut takes from a simulation is no loss.
                self._db.executescript(
                    f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA cache_size=-{CACHE};{SCHEMA}"
                )
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise
                if time.monotonic() > ends:
                    raise
                time.sleep(0.02)

    @classmethod
    def of(cls, events: "Iterable[tuple[str, Mapping[str, Any]]]") -> Self:
        """A truth in memory of these events: each its type and the fields of its webhook, as for `event`."""
        truth = cls()
        for kind, fields in events:
            truth.event(kind, fields)
        truth.flush()
        return truth

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """An event happened, of which there is a result if its type has any, and a message if it has an id.

        `fields` are those of its webhook: `id`, `time` (Unix seconds) and, as far as they are known, `recipient`,
        `profile`, `subprofile`, `mailing`, `ip`, … Beside them `product` (`ms` by default), `destination` (the
        number of the message), `sent` (when it was sent, in Unix seconds) and `link` (as in the template).
        """
        if kind in PROFILE_EVENTS:
            with self.writing() as db:
                profiles.happened(db, kind, fields)
        if kind not in LISTS and kind != EventType.BOUNCE:
            return
        message, second = str(fields["id"]), int(fields["time"])
        destination = Destination(
            str(fields.get("product", MARKETING_SUITE)),
            int(fields.get("destination") or number_of(message)),
            message,
            int(fields.get("mailing") or 1),
            int(fields.get("sent") or second),
            _number(fields.get("profile")),
            _number(fields.get("subprofile")),
            fields.get("recipient"),
            int(kind == EventType.UNSUBSCRIBE),
        )
        told = {
            name: next((fields[one] for one in names if fields.get(one) is not None), None)
            for name, names in TOLD.get(LISTS.get(kind, ""), {}).items()
        }
        with self._lock:
            self._batch.append(_Event(destination, LISTS.get(kind), second, orjson.dumps(told)))
            if len(self._batch) >= BATCH or time.monotonic() - self._flushed > BATCH_SECONDS:
                self.flush()

    def failure(self, fields: Mapping[str, Any], response: str, header: str) -> None:
        """The call of an event failed: no result tells of that, only log files do."""

    def add_destinations(self, destinations: Iterable[Destination]) -> None:
        """Messages were sent. Of those that are known, only what was unknown is added."""
        self.flush()
        with self.writing() as db:
            db.executemany(ADD, destinations)

    def add_results(self, results: Iterable[Result]) -> None:
        """Results of messages that are known, with ids of their own: for truths that are too large for `event`."""
        self.flush()
        rows = ((*one[:-1], orjson.dumps(one.told)) for one in results)
        with self.writing() as db:
            db.executemany("INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def flush(self) -> None:
        """Write what has been kept in memory."""
        with self._lock:
            batch, self._batch, self._flushed = self._batch, [], time.monotonic()
            if batch:
                self._write(batch)

    def _write(self, batch: "list[_Event]") -> None:
        with self.writing() as db:
            db.executemany(ADD, [one.destination for one in batch])
            highest: dict[tuple[str, str], int] = {}
            for (product, number, *_), kind, second, told in batch:
                if kind is None:
                    continue
                key = product, kind
                if key not in highest:
                    query = "SELECT coalesce(max(id), 0) FROM results WHERE product = ? AND kind = ?"
                    highest[key] = db.execute(query, key).fetchone()[0]
                highest[key] += 1
                db.execute(
                    "INSERT INTO results SELECT ?, ?, ?, ?, id, mailing, ? FROM destinations "
                    "WHERE product = ? AND id = ?",
                    (*key, highest[key], second, told, product, number),
                )

    def read(self, query: str, values: Iterable[Any] = ()) -> list[Any]:
        """The rows of a query, in what has happened until now."""
        self.flush()
        with self._lock, self._usable():
            return self._db.execute(query, tuple(values)).fetchall()

    def function(self, name: str, called: Callable[[int], int]) -> None:
        """Let queries call a function of one value."""
        self._db.create_function(name, 1, called)

    def results(self) -> list[Result]:
        """All of them, for tests: as they were recorded."""
        rows = self.read("SELECT * FROM results ORDER BY product, kind, id")
        return [Result._make((*rest, orjson.loads(told))) for *rest, told in rows]

    def destinations(self) -> list[Destination]:
        """All of them, for tests."""
        return [Destination(*row) for row in self.read("SELECT * FROM destinations ORDER BY product, id")]

    def close(self) -> None:
        """Write everything and let go."""
        self.flush()
        with self._lock, self._usable():
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, or part of the one that is open."""
        with self._lock, self._usable():
            if self._db.in_transaction:
                yield self._db
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise Unavailable(
                f"The truth in {str(self._folder)!r} cannot be used ({reason}): name another folder."
            ) from error


def _number(value: Any) -> int | None:
    return None if value in (None, "") else int(value)
