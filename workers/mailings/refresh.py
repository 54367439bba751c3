"""Brings parts and figures up to date: the newest mailings first, for about as long as it may take.

What it was ended at is kept, and what it did not come to is found again by the next one: killed at any line, it
costs nothing. Two at once do the same work twice, and come to the same.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update

from ingest.copernica.events import DAY
from workers.mailings import merging
from workers.mailings.part import KINDS, Key
from workers.mailings.reading import Parts, begin_of, parts_of
from workers.store import tables
from workers.store.backend import Row
from workers.store.event_counts import DESTINATIONS, NO_MAILING
from workers.store.mailing_tables import mailing_changes, mailing_figures, mailing_parts
from workers.store.store import Store

#: Mailings that are looked at together: their parts of an hour are made by one read.
TOGETHER = 100
#: Events whose parts are kept in one transaction, unless an hour has more: less than a second's work, that is done
#: again if it ends before that.
KEPT_TOGETHER = 50_000
#: Stands, as the `changes` of a part, for a state that its events never had.
UNKNOWN = -1
#: The name under which those who keep parts and figures take turns.
TURNS = "ingest mailings"

_COUNTS, _PARTS = tables.event_counts.c, mailing_parts.c
_KINDS = [kind.value for kind in KINDS]
_OWNER, _HOUR, _MAILING = 0, 1, 3


class Refreshed(NamedTuple):
    """What was done: parts that were made, mailings whose figures were, and mailings that are left.

    Of those, parts are left of hours up to `left_from`; None if none are.
    """

    parts: int
    mailings: int
    left: int
    left_from: str | None = None

    def is_old(self, now: float) -> bool:
        """Whether what is left is of more than a day ago (`now` in Unix seconds): not of new calls."""
        return self.left_from is not None and now - begin_of(self.left_from).timestamp() > DAY


def refresh(
    store: Store, seconds: float, breathe: Callable[[], object] = lambda: None, first: Collection[int] = ()
) -> Refreshed:
    """Bring what is stale up to date for about so many `seconds`; of the mailings, those named `first` first.

    `breathe` is called now and then; what it raises ends this.

    Raises:
        Unavailable: the database cannot be used now; what was done stays done.
    """
    if not store.is_counted:  # every number is about to change
        return Refreshed(0, 0, 0)
    ends, parts, mailings = time.monotonic() + seconds, 0, 0
    while stale := stale_mailings(store, first):
        some = dict(list(stale.items())[:TOGETHER])
        made, waiting, left_from = _make_parts(store, some, breathe, ends)
        parts += made
        for mailing, changes in some.items():
            # Of one that has stale parts left, what is known so far.
            _make_figures(store, mailing, UNKNOWN if mailing in waiting else changes)
            mailings += mailing not in waiting
            breathe()
        if waiting or time.monotonic() >= ends:
            return Refreshed(parts, mailings, len(stale) - len(some) + len(waiting), left_from)
    return Refreshed(parts, mailings, 0)


def stale_mailings(store: Store, first: Collection[int] = ()) -> dict[int, int]:
    """The mailings whose figures are out of date, with what their `changes` are now: the newest first."""
    changes, figures = mailing_changes.c, mailing_figures.c
    now = select(changes.mailing, func.sum(changes.changes).label("now")).group_by(changes.mailing).subquery()
    query = select(now.c.mailing, now.c.now, figures.last_hour).outerjoin_from(
        now, mailing_figures, figures.mailing == now.c.mailing
    )
    with store.reading() as connection:
        found = connection.execute(query.where(func.coalesce(figures.changes, -1) != now.c.now)).all()
    ordered = sorted(
        found, key=lambda row: (row.mailing in first, row.last_hour or "9", row.mailing), reverse=True
    )
    return {row.mailing: int(row.now) for row in ordered}


def _make_parts(
    store: Store, mailings: Collection[int], breathe: Callable[[], object], ends: float
) -> tuple[int, set[int], str | None]:
    """Make the stale parts of some mailings; returns how many, which mailings have some left, up to which hour.

    Those of the last hour are made in any case, and of one before it: however fast events come in, it gets on.
    """
    if DESTINATIONS in mailings:
        with store.writing() as connection:
            store.take_turns(connection, TURNS)
            # Its events may be of other mailings now. What they were is found out when they are counted again.
            connection.execute(update(mailing_parts).where(_PARTS.owner <= 0).values(changes=UNKNOWN))
            store.note_change(connection, NO_MAILING)
            store.note_change(connection, 0)
    stale, gone = _stale_keys(store, mailings)
    if gone:
        _replace(store, gone, [])
    by_hour: defaultdict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for key, changes in stale.items():
        by_hour[key.hour, key.type][key.owner] = changes
    made, waiting, before, left_from = 0, set[int](), False, None
    newest = max((hour for hour, _ in by_hour), default="")
    ready = _Ready(store)
    for (hour, kind), owners in sorted(by_hour.items(), reverse=True):
        if before and time.monotonic() >= ends:
            waiting |= owners.keys()
            left_from = left_from or hour
            continue
        before = hour != newest
        parts = parts_of(store, hour, kind, owners, breathe)
        ready.add(hour, kind, owners, parts)
        made += len(parts)
        breathe()
    ready.keep()
    return made, waiting, left_from


class _Ready:
    """Parts that are made and not kept yet: each commit waits for the disk, and most hours have few events."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys, self._rows, self._events = list[Key](), list[Row](), 0

    def add(self, hour: str, kind: str, owners: Mapping[int, int], parts: Parts) -> None:
        """Some more, of owners with the `changes` that they were made from; keeps all if they are enough."""
        self._keys += [Key(owner, hour, kind) for owner in owners]
        for (owner, mailing), part in parts.items():
            self._rows.append(part.row(Key(owner, hour, kind), mailing, owners[owner]))
            self._events += part.number
        if self._events >= KEPT_TOGETHER or len(self._keys) >= TOGETHER:
            self.keep()

    def keep(self) -> None:
        """Keep them, in one transaction."""
        if self._keys:
            _replace(self._store, self._keys, self._rows)
        self._keys, self._rows, self._events = [], [], 0


def _stale_keys(store: Store, mailings: Collection[int]) -> tuple[dict[Key, int], list[Key]]:
    """Which parts are out of date, with the `changes` of their events; and of which the events are gone."""
    counted = select(_COUNTS.mailing, _COUNTS.hour, _COUNTS.type, func.sum(_COUNTS.changes))
    counted = counted.where(_COUNTS.mailing.in_(mailings), _COUNTS.type.in_(_KINDS))
    made = select(_PARTS.owner, _PARTS.hour, _PARTS.type, _PARTS.changes)
    made = made.where(_PARTS.owner.in_(mailings), _PARTS.mailing == _PARTS.owner)
    with store.reading() as connection:
        now = {
            Key(owner, hour, kind): int(changes)
            for owner, hour, kind, changes in connection.execute(
                counted.group_by(_COUNTS.mailing, _COUNTS.hour, _COUNTS.type)
            )
        }
        known = {Key(owner, hour, kind): changes for owner, hour, kind, changes in connection.execute(made)}
    stale = {key: changes for key, changes in now.items() if known.get(key) != changes}
    return stale, sorted(known.keys() - now.keys())


def _replace(store: Store, keys: Sequence[Key], rows: Sequence[Row]) -> None:
    """Put parts in place of those that there are of these keys."""
    with store.writing() as connection:
        store.take_turns(connection, TURNS)
        store.overwrite(connection)  # of who was erased, a hash of each message was in them
        for at in range(0, len(keys), TOGETHER):
            these = or_(*map(_is_of, keys[at : at + TOGETHER]))
            unnamed = _PARTS.owner <= 0
            before = connection.execute(select(_PARTS.mailing, _PARTS.hour).where(these, unnamed).distinct())
            changed = {merging.unit_of(mailing, hour) for mailing, hour in before.all()}
            for mailing in sorted(changed):
                store.note_change(connection, mailing)
            connection.execute(delete(mailing_parts).where(these))
        store.insert(connection, mailing_parts, sorted(rows))
        units = {merging.unit_of(row[_MAILING], row[_HOUR]) for row in rows if row[_OWNER] <= 0}
        for mailing in sorted(units):
            store.note_change(connection, mailing)


def _is_of(key: Key) -> ColumnElement[bool]:
    return and_(_PARTS.owner == key.owner, _PARTS.hour == key.hour, _PARTS.type == key.type)


def _make_figures(store: Store, mailing: int, changes: int) -> None:
    """Make the figures of a mailing from its parts.

    They are read before anything is locked: drains wait for nothing. If parts change meanwhile, so have `changes`.
    """
    with store.reading() as connection:
        merged = merging.merge(connection, mailing)
    with store.writing() as connection:
        store.take_turns(connection, TURNS)
        merging.save(connection, mailing, changes, merged, time.time_ns() // 1000)
