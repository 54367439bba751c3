"""Storing events: the one door for calls, for what is recovered, and for what one source fills in for another."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import NamedTuple

from sqlalchemy import Connection, Engine, tuple_

from ingest import failpoints
from ingest.batch import Record
from ingest.copernica.events import WEBHOOK, Event
from workers.metrics import figures
from workers.records import Quarantined, record_of
from workers.store import commits, comparisons, event_counts, recovered, tables
from workers.store.again import again
from workers.store.backend import Backend, Row
from workers.store.commits import Commit
from workers.store.comparisons import Comparison
from workers.store.event_counts import Deleted
from workers.store.hiding import Hiding
from workers.store.merging import merged
from workers.store.recovered import Late, Recovered
from workers.store.rows import (
    KEY,
    KIND,
    Added,
    event_row,
    oldest_second,
    outbox_rows,
    quarantine_row,
    unverified_row,
)
from workers.store.tombstones import Tombstones

_key, _kind = itemgetter(KEY), itemgetter(KIND)


class Inserted(NamedTuple):
    """What became of events that were to be recovered: how many are new, or about people who were erased.

    `there` have their delivery ids in the store already. `late` were not inserted: calls of their messages were
    stored since the comparison, so it has to be made again.
    """

    new: int
    erased: int
    there: int
    late: Sequence[Event]


class Writing(Hiding):
    """A database into which events are stored."""

    def __init__(self, backend: Backend, engine: Engine) -> None:
        super().__init__(backend, engine)
        self._recovered = Recovered(self.hidden)

    def add(
        self,
        events: Sequence[Event],
        quarantined: Sequence[Quarantined] = (),
        unverified: Sequence[Record] = (),
        settled: Sequence[tuple[bytes, bytes]] = (),
        hand_on: Mapping[bytes, Record] | None = None,
        commit: Commit | None = None,
    ) -> Added:
        """Store the events of calls, calls for quarantine and unverified calls in one transaction.

        `settled` are the keys of unverified calls that no longer wait. `hand_on` maps delivery ids to the calls
        that brought the events: if it is given, new events are put into the outbox for the handlers. A call whose
        event was recovered before is not new: it upgrades that event.

        Raises:
            RowsRejected: the database does not take some of the rows; nothing was stored.
            Unavailable: the database cannot be used now; nothing was stored.
        """
        rows = [event_row(event) for event in events]
        return self.add_rows(rows, lambda: events, quarantined, unverified, settled, hand_on, commit)

    @again
    def add_rows(
        self,
        rows: Sequence[Row],
        events: Callable[[], Sequence[Event]],
        quarantined: Sequence[Quarantined] = (),
        unverified: Sequence[Record] = (),
        settled: Sequence[tuple[bytes, bytes]] = (),
        hand_on: Mapping[bytes, Record] | None = None,
        commit: Commit | None = None,
    ) -> Added:
        """The same for events that are rows of their table already.

        `events` gives them as events, in the same order; it is asked only while somebody was erased just now.
        `commit` is what is noted of where they come from.
        """
        self.require_key()
        with self.writing() as connection:
            if commit is not None and rows:
                commits.note(connection, commit, rows)
            oldest = oldest_second(rows, (*unverified, *(call.record for call in quarantined)))
            given = len(rows) + len(quarantined) + len(unverified)
            if erased := self._tombstones(connection, oldest):
                kept, quarantined, unverified, hand_on = erased.sift(events(), quarantined, unverified, hand_on)
                rows = [event_row(event) for event in kept]
            rows, quarantined = self.hidden_calls(rows, quarantined, erased)
            left_out = given - len(rows) - len(quarantined) - len(unverified)
            now = recovered.look(connection) if rows else None
            late = self._recovered.late(connection, now, rows) if now else Late(rows)
            changed, gone, vain = self._upgrade(connection, late, hand_on is not None)
            added = self._new_events(connection, [*late.rows, *vain] if vain else late.rows)
            new = len(added)
            if hand_on is not None and (waiting := outbox_rows(added, self.handed_on(added, hand_on))):
                connection.execute(tables.outbox.insert(), waiting)
            if quarantined:
                new += self.insert(connection, tables.quarantine, [quarantine_row(call) for call in quarantined])
            if unverified:
                new += self.insert(connection, tables.unverified, [unverified_row(call) for call in unverified])
            if settled:
                delete_unverified(connection, settled)
            if now:
                comparisons.note(connection, now, added, changed)
            event_counts.change(connection, self._backend, [*added, *changed] if changed else added, gone)
        figures.stored(Counter(map(_kind, added)))
        figures.quarantined(call.why for call in quarantined)
        return Added(new, left_out, len(changed))

    def _new_events(self, connection: Connection, rows: Sequence[Row]) -> Sequence[Row]:
        """Insert events; returns the rows that were not there yet."""
        if not rows:
            return rows
        if len(set(map(_key, rows))) < len(rows):  # of doubles, it must be certain which one is stored
            first: dict[bytes, Row] = {}
            for row in rows:
                first.setdefault(row[KEY], row)
            rows = list(first.values())
        new = self._backend.insert_events(connection, rows)
        if len(new) == len(rows):
            return rows
        new_ids = set(new)
        return [row for row in rows if row[KEY] in new_ids]

    def _tombstones(self, connection: Connection, oldest: int) -> Tombstones | None:
        """Of whom nothing older may be stored any more, within a transaction that stores what is not `oldest`.

        None if of nobody, or if all that is stored is younger than the last of them.
        """
        self._backend.share_turns(connection, event_counts.TURNS)
        return Tombstones.read(connection, oldest)

    # --- one event of several sources ---

    def _upgrade(
        self, connection: Connection, late: Late, hand_on: bool
    ) -> tuple[Sequence[Row], Sequence[Deleted], Sequence[Row]]:
        """Upgrade events with their late calls; those that were recovered without handlers are handed on now.

        Returns the events as they are now, what the numbers hold of them as they were, and calls whose events are
        gone: PostgreSQL lets the retention delete one that was looked up just now. Those calls are new.
        """
        if not late.upgrades:
            return (), (), ()
        if failpoints.armed:
            failpoints.reach("upgrading")
        changed, gone = self._replaced(connection, [upgrade.event for upgrade in late.upgrades])
        there = set(map(_key, changed))
        vain = [upgrade.call for upgrade in late.upgrades if upgrade.event.delivery_id not in there]
        done = (
            [upgrade for upgrade in late.upgrades if upgrade.event.delivery_id in there] if vain else late.upgrades
        )
        if done:
            recovered.mark(connection, done)
        silent = {
            upgrade.event.delivery_id: record_of(upgrade.event)
            for upgrade in done
            if hand_on and not upgrade.handed_on
        }
        if silent:
            rows = [row for row in changed if row[KEY] in silent]
            connection.execute(tables.outbox.insert(), outbox_rows(rows, silent))
        return changed, gone, vain

    def _replaced(
        self, connection: Connection, events: Sequence[Event]
    ) -> tuple[Sequence[Row], Sequence[Deleted]]:
        """Put events in place of those with their delivery ids, as far as these are still there.

        Returns the rows as they are now, and what the numbers of events hold of them as they were.
        """
        gone: list[Deleted] = []
        ids = [event.delivery_id for event in events]
        for at in range(0, len(ids), recovered.PORTION):
            gone += self._backend.erase(connection, ids[at : at + recovered.PORTION])
        there = {bytes(event.delivery_id) for event in gone}
        rows = self.hidden_rows([event_row(event) for event in events if event.delivery_id in there])
        return self._new_events(connection, rows), gone

    @again
    def fill_in(self, events: Sequence[Event], own: int | None = None) -> int:
        """Fill in events of the store with what another source tells of them, given under their delivery ids.

        `own` is the number of the comparison that found them.
        An event that turns out to be about somebody who was erased is deleted. Returns how many were filled in.
        """
        self.require_key()
        given = {event.delivery_id: event for event in events}
        with self.writing() as connection:
            self.take_turns(connection, event_counts.TURNS)
            buried: list[bytes] = []
            if erased := Tombstones.read(connection, min(int.from_bytes(key[:4], "big") for key in given)):
                kept, *_ = erased.sift(events, (), (), None)
                kept, *_ = erased.sift([self.hidden(event) for event in kept], (), (), None)
                buried = sorted(given.keys() - {event.delivery_id for event in kept})
                given = {event.delivery_id: event for event in kept}
            given = {key: self.hidden(event) for key, event in given.items()}
            stored = recovered.with_ids(connection, given)
            whole = [(event, merged(event, given[event.delivery_id])) for event in stored]
            changed, replaced = self._replaced(connection, [event for was, event in whole if event != was])
            if changed and (now := recovered.look(connection)):
                comparisons.note(connection, now, (), changed, own)
            gone = [*replaced, *self._delete(connection, buried)]
            event_counts.change(connection, self._backend, changed, gone)
        return len(changed)

    def _delete(self, connection: Connection, delivery_ids: Sequence[bytes]) -> list[Deleted]:
        """Delete events, and what is noted of their recovery."""
        gone: list[Deleted] = []
        for at in range(0, len(delivery_ids), recovered.PORTION):
            gone += self._backend.erase(connection, delivery_ids[at : at + recovered.PORTION])
        recovered.forget(connection, delivery_ids)
        return gone

    @contextmanager
    def comparing(self, kind: str, seconds: range) -> Iterator[Comparison]:
        """Announce that events of a type, of these Unix seconds, are compared with what is recovered in the block.

        Raises:
            Unavailable: the database cannot be used now.
        """
        with self.writing() as connection:
            self.take_turns(connection, event_counts.TURNS)
            comparison = comparisons.announce(connection, kind, seconds, int(time.time()))
        try:
            yield comparison
        finally:
            with self.writing() as connection:
                comparisons.conclude(connection, comparison.number)

    @again
    def recover(
        self,
        events: Sequence[Event],
        comparison: Comparison,
        spread: int | None,
        hand_on: Mapping[bytes, Record] | None = None,
    ) -> Inserted:
        """Store events that a comparison found missing, except for those whose calls may have come in since.

        `spread` is by how many seconds the clocks were seen to vary, None if their offset is not known. For
        `hand_on`, see `add`.

        Raises:
            RowsRejected: the database does not take some of the rows; nothing was stored.
            Unavailable: the database cannot be used now; nothing was stored.
        """
        self.require_key()
        with self.writing() as connection:
            self.take_turns(connection, event_counts.TURNS)
            comparison.learn(connection)
            late, missing = comparison.divided(events)
            rows: Sequence[Row] = [event_row(event) for event in missing]
            kept: Sequence[Event] = missing
            if erased := Tombstones.read(connection, oldest_second(rows, ())):
                kept, _, _, hand_on = erased.sift(missing, (), (), hand_on)
                rows = [event_row(event) for event in kept]
            rows, _ = self.hidden_calls(rows, (), erased)
            added = self._new_events(connection, rows)
            if hand_on is not None and (waiting := outbox_rows(added, self.handed_on(added, hand_on))):
                connection.execute(tables.outbox.insert(), waiting)
            new = set(map(_key, added))
            fresh = [event for event in kept if event.delivery_id in new]
            recovered.note_recovered(connection, fresh, spread, hand_on is not None)
            if failpoints.armed:
                failpoints.reach("recovering")
            if now := recovered.look(connection):
                comparisons.note(connection, now, added, own=comparison.number)
            event_counts.change(connection, self._backend, added)
        figures.stored(Counter(map(_kind, added)))
        there = len(rows) - len(added)
        return Inserted(len(added), len(missing) - len(rows), there, late)

    @again
    def supersede(self, delivery_ids: Sequence[bytes]) -> int:
        """Remove recovered events whose calls are there beside them; returns how many were there still."""
        with self.writing() as connection:
            self.take_turns(connection, event_counts.TURNS)
            left = [e.delivery_id for e in recovered.with_ids(connection, delivery_ids) if e.source != WEBHOOK]
            gone = self._delete(connection, left)
            event_counts.change(connection, self._backend, deleted=gone)
        return len(gone)


def delete_unverified(connection: Connection, keys: Sequence[tuple[bytes, bytes]]) -> None:
    """Delete calls that no longer wait to be verified."""
    key = tuple_(tables.unverified.c.delivery_id, tables.unverified.c.digest)
    connection.execute(tables.unverified.delete().where(key.in_(keys)))
