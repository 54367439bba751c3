"""The store: where events end up, in SQLite, PostgreSQL or MariaDB (`workers.store.sqlite` and so on).

There is one commit per group of batches, and nothing is acknowledged before it. An event whose delivery id is
stored already is skipped, so storing a batch twice does no harm.
"""

import operator
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from functools import reduce
from itertools import islice
from typing import NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Text, and_, cast, func, or_, select, tuple_

from ingest.batch import Record
from ingest.copernica.events import DAY, MICROS, REST, Event
from ingest.errors import RowsRejected
from workers.person import MENTIONING
from workers.store import commits, comparisons, event_counts, recovered, tables
from workers.store.again import again
from workers.store.database import FETCH_SIZE, PORTION
from workers.store.filters import Filter
from workers.store.rows import (
    Waiting,
    event_of,
    unverified_call,
)
from workers.store.tombstones import KEPT, bury, digests
from workers.store.writing import Writing, delete_unverified

#: Delivery ids that are gathered before their events are read: some 16 MB of memory.
GATHERED = 250_000

K = TypeVar("K")
#: Is told how many rows were read.
Passed = Callable[[int], object]


class Signer(NamedTuple):
    """Whose key some unverified calls wait for: how many those are, and when the first came in."""

    key_id: str
    calls: int
    oldest: datetime


class Store(Writing):
    """The database of events."""

    # --- writing ---

    def entomb(self, addresses: Sequence[str], profiles: Sequence[tuple[int, int]] = ()) -> str:
        """Have nothing stored any more, of these addresses and profiles, that is older than now.

        Whoever stores something at this moment has finished when this returns. Returns the hash of the first
        address, by which the audit knows the person.
        """
        now = (self.time() or time.time_ns() // 1000) // MICROS
        with self.writing() as connection:
            self.take_turns(connection, event_counts.TURNS)
            return bury(connection, addresses, profiles, now)

    def known_erased(self, address: str) -> set[str]:
        """What the audit calls a person who was erased, under whatever they were stored; see `entomb`."""
        known = self.addresses(address)
        with self.reading() as connection:
            return set(digests(connection, known))

    def readmit(self, record: Record, event: Event, hand_on: bool) -> int:
        """Store a quarantined call as an event after all, unless that is about somebody who was erased.

        Returns how many events were stored: none if the database still rejects it, or has it already.
        """
        try:
            added = self.add([event], hand_on={event.delivery_id: record} if hand_on else None)
        except RowsRejected:
            return 0
        with self.writing() as connection:
            this_call = tables.quarantine.c.delivery_id == record.delivery_id
            connection.execute(tables.quarantine.delete().where(this_call))
        return added.new + added.upgraded

    def tidy(self) -> None:
        """Do maintenance that keeps the database fast and is not urgent."""
        self._backend.tidy(self.writing)

    def expire(self, before: int) -> int:
        """Delete events and calls that came in before a time (Unix seconds); returns how many."""
        oldest_kept = before.to_bytes(4, "big")
        deleted = self._backend.expire(self.writing, oldest_kept)
        with self.writing() as connection:
            self.overwrite(connection)
            for table in (tables.quarantine, tables.unverified, tables.dead_letters):
                expired = table.delete().where(table.c.delivery_id < oldest_kept)
                deleted += connection.execute(expired).rowcount
            noted = tables.recovered
            connection.execute(noted.delete().where(noted.c.delivery_id < oldest_kept))
        event_counts.forget_zeros(self.writing, self._backend)
        return deleted

    def expire_type(self, kind: str, before: int) -> int:
        """Delete events of a type that came in before a time (Unix seconds), some at a time; returns how many.

        They are found by when they occurred, for which there is an index: one that claims to have occurred a day
        or more after it came in stays as long as other types do.
        """
        columns, total = tables.events.c, 0
        oldest_kept = before.to_bytes(4, "big")
        occurred = datetime.fromtimestamp(before + DAY, UTC)
        these = columns.type == kind, columns.occurred_at < occurred, columns.delivery_id < oldest_kept
        query = select(columns.delivery_id).where(*these).limit(FETCH_SIZE)
        while True:
            with self.writing() as connection:
                self.overwrite(connection)
                self._backend.share_turns(connection, event_counts.TURNS)
                ids = [bytes(one) for one in connection.execute(query).scalars()]
                gone = self._delete(connection, ids)
                event_counts.change(connection, self._backend, deleted=gone)
            if not ids:
                break
            total += len(gone)
        event_counts.forget_zeros(self.writing, self._backend)
        return total

    def expire_notes(self, now: int, kept: int = commits.KEPT) -> None:
        """Delete tombstones and notes that are of no use any more: of recovered events, of commits.

        `now` in Unix seconds; no note of a commit is older than what events are `kept`, in seconds.
        """
        with self.writing() as connection:
            connection.execute(tables.tombstones.delete().where(tables.tombstones.c.erased_at < now - KEPT))
            recovered.expire(connection, now)
            comparisons.forget_dead(connection, now)
        commits.expire(self.writing, now, kept)

    @again
    def erase(
        self,
        deleted: Collection[bytes],
        blanked: Collection[bytes],
        quarantined: Sequence[bytes],
        unverified: Sequence[tuple[bytes, bytes]],
        blank: Callable[[Event], Event] = lambda event: event,
    ) -> None:
        """Delete rows by their keys; of events that are `blanked`, keep what `blank` leaves.

        They are blanked as they are now: since somebody found them, a late call may have upgraded one, or
        reconciling may have removed it.
        """
        with self.writing() as connection:
            self.take_turns(connection, event_counts.TURNS)
            kept = [blank(event) for event in recovered.with_ids(connection, blanked)]
            added, replaced = self._replaced(connection, kept)
            gone = [*replaced]
            for delivery_ids in _portions(sorted(deleted)):
                gone += self._backend.erase(connection, delivery_ids)
            recovered.forget(connection, deleted)
            for delivery_ids in _portions(quarantined):
                calls = tables.quarantine.c.delivery_id.in_(delivery_ids)
                connection.execute(tables.quarantine.delete().where(calls))
            for keys in _portions(unverified):
                delete_unverified(connection, keys)
            event_counts.change(connection, self._backend, added, gone)

    def empty_log(self) -> None:
        """After `expire`: leave nothing that was deleted in a log.

        Raises:
            Unavailable: others read it, or the database is unavailable.
        """
        with self._backend.explained():
            self._backend.empty_log(self.engine)

    def scrub(self) -> None:
        """After `erase`: leave no deleted byte in the files, as far as that is in our power; may take minutes.

        Raises:
            Unavailable: that failed, and can simply be done again.
        """
        with self._backend.explained():
            self._backend.scrub(self.engine)

    # --- reading ---

    def find(self, wanted: Filter) -> Iterator[Event]:
        """Events in the order of their delivery ids, that is, of arrival; `FETCH_SIZE` in memory at a time."""
        yield from self._events(*self.known(wanted).conditions(self._backend), by_message=wanted.by_message)

    def ids(self, wanted: Filter) -> list[bytes]:
        """The delivery ids of events, all at once."""
        wanted = self.known(wanted)
        query = select(tables.events.c.delivery_id).where(*wanted.conditions(self._backend))
        with self.reading(wanted.by_message) as connection:
            return list(connection.execute(query).scalars())

    def _events(self, *conditions: ColumnElement[bool], by_message: bool = False) -> Iterator[Event]:
        """Events in order; no transaction is open while the caller works on one, as in `rows`."""
        key = tables.events.c.delivery_id
        query = select(key).where(*conditions).order_by(key).limit(GATHERED)
        after = b""
        while True:
            with self.reading(by_message) as connection:
                found = connection.execute(query.where(key > after) if after else query).scalars().all()
            for portion in _portions(found):
                yield from self.with_ids(portion)
            if len(found) < GATHERED:
                return
            after = found[-1]

    def _events_of_all(
        self, condition: ColumnElement[bool], passed: Passed, portions: int | None = None
    ) -> Iterator[Event]:
        """The same with a condition for which every row is read: of some thousand rows in each transaction.

        `passed` is told how many rows each portion had. It ends after so many `portions`.
        """
        key = tables.events.c.delivery_id
        for ids in islice(self.keys(tables.events, PORTION), portions):
            within = key.between(ids[0].delivery_id, ids[-1].delivery_id)
            yield from self._events(within, condition)
            passed(len(ids))

    def pages(self, wanted: Filter, after: bytes, size: int) -> Iterator[list[Event]]:
        """Events after a delivery id, in order, `size` at a time; each page is a query of its own."""
        columns = tables.events.c
        wanted = self.known(wanted)
        while True:
            query = select(tables.events).where(*wanted.conditions(self._backend), columns.delivery_id > after)
            with self.reading(wanted.by_message) as connection:
                rows = connection.execute(query.order_by(columns.delivery_id).limit(size)).all()
            if not rows:
                return
            page = [event_of(row) for row in rows]
            yield page
            after = page[-1].delivery_id

    def with_ids(self, delivery_ids: Sequence[bytes]) -> list[Event]:
        """The events with these delivery ids, in the order of the ids."""
        key = tables.events.c.delivery_id
        with self.reading() as connection:
            found = connection.execute(select(tables.events).where(key.in_(delivery_ids)).order_by(key)).all()
        return [event_of(row) for row in found]

    def mentioning(
        self,
        recipient: str,
        pieces: Sequence[str],
        patterns: Sequence[str],
        passed: Passed = lambda rows: None,
        portions: int | None = None,
    ) -> Iterator[Event]:
        """Events of a recipient, with one of these patterns anywhere, or with a raw body: reads the whole table.

        Whatever has one of the patterns has one of the `pieces` too, which is seen sooner. `passed` is told again
        and again how many rows were read since. It ends after so many `portions` of `PORTION` rows.
        """
        columns = tables.events.c
        searched = [cast(columns[name], Text) for name in (*MENTIONING, "tags", "payload")]
        together = reduce(operator.add, (func.coalesce(column, "") + " " for column in searched))
        may_match = [self._backend.holds(together, piece) for piece in pieces]
        matches = [column.icontains(pattern, autoescape=True) for column in searched for pattern in patterns]
        about = self.known(Filter(recipient=recipient)).about(self._backend)
        others = [and_(*about), columns.raw.is_not(None)]
        yield from self._events_of_all(or_(and_(or_(*may_match), or_(*matches)), *others), passed, portions)

    def of_profiles(
        self,
        profiles: Sequence[tuple[int, int]],
        passed: Passed = lambda rows: None,
        portions: int | None = None,
    ) -> Iterator[Event]:
        """Events of these profiles, each a pair of database and profile number: reads the whole table.

        Those from results name no database. For `passed` and `portions`, see `mentioning`.
        """
        columns = tables.events.c
        recovered = and_(columns.source == REST, columns.profile.in_({number for _, number in profiles}))
        condition = or_(tuple_(columns.database, columns.profile).in_(profiles), recovered)
        yield from self._events_of_all(condition, passed, portions)

    def unverified_signers(self) -> list[Signer]:
        """Whose keys are waited for, in no order."""
        columns = tables.unverified.c
        query = select(columns.key_id, func.count(), func.min(columns.received_at)).group_by(columns.key_id)
        with self.reading() as connection:
            return [Signer(*row) for row in connection.execute(query)]

    def next_unverified(self, key_id: str, after: tuple[bytes, bytes], limit: int) -> list[Waiting]:
        """Calls that wait for a key, in the order of their own keys, beginning after one of those."""
        columns = tables.unverified.c
        own = columns.delivery_id, columns.digest
        query = select(tables.unverified).where(columns.key_id == key_id, self._backend.after(own, after))
        with self.reading() as connection:
            return [unverified_call(row) for row in connection.execute(query.order_by(*own).limit(limit))]


def _portions(keys: Sequence[K]) -> Iterator[Sequence[K]]:
    """The keys, as many at a time as one statement takes."""
    for at in range(0, len(keys), FETCH_SIZE):
        yield keys[at : at + FETCH_SIZE]
