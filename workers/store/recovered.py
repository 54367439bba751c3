"""Late calls of recovered events, and calls that come while a comparison is under way.

Who stores calls asks `look` once in the transaction. Nearly always nothing that old was recovered, and nothing is
compared: then that is all. Else `Recovered.late` finds the calls whose events are there already, and
`comparisons.note` tells comparisons of what they cannot have seen. See docs/decisions/three-sources.md.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zlib import crc32

from sqlalchemy import Connection, bindparam, select, text

from ingest.copernica.events import DAY, MICROS, WEBHOOK, Event
from ingest.copernica.message_ids import bare
from workers.store import tables
from workers.store.backend import Row
from workers.store.late_calls import MAX_OFFSET, Known, pair
from workers.store.merging import merged
from workers.store.rows import KEY, KIND, MESSAGE, MOMENT, RECEIVED, event_of, event_of_new, stored_time

#: Seconds for which it is noted that an event was recovered: a call that waits longer, in a spool, say, or for its
#: signer's key, is stored beside its event, until the day is reconciled again.
KEPT = 60 * DAY
#: Keys in one statement.
PORTION = 1000
#: Bits of the map of messages of which something was recovered: 2 MiB. With a million of them, one call in
#: seventeen is looked up in vain.
MAP_BITS = 2**24

_LOOK = text(
    "SELECT number, type, since, until, began FROM comparisons UNION ALL "
    "SELECT NULL, NULL, (SELECT max(latest) FROM recovered), (SELECT max(number) FROM recovered), NULL"
)


class Comparing(NamedTuple):
    """A comparison that is under way, as of its table."""

    number: int
    type: str
    since: int
    until: int
    began: int


class Look(NamedTuple):
    """What a transaction that stores calls has to heed: the last second that a late call can tell, and more."""

    latest: int | None
    newest: int
    comparisons: list[Comparing]


class Upgrade(NamedTuple):
    """A stored event with what its call tells, a row; `number` is that of its row in `recovered`."""

    number: int
    event: Event
    call: Row
    handed_on: bool


@dataclass(slots=True)
class Late:
    """Of the calls of a commit: those that are new, and what becomes of events that were recovered before."""

    rows: Sequence[Row]
    upgrades: list[Upgrade] = field(default_factory=list)


def message_hash(message_id: str | None) -> int:
    """A hash of the id of a message, which is the same in every process."""
    return crc32(bare(message_id).encode("utf-8", "replace")) if message_id else 0


def message_hashes(message_ids: Sequence[str]) -> list[int]:
    """The same of many at once."""
    text = "".join(message_ids)
    if text.isascii() and text.isalnum() and text == text.lower():  # nothing to strip, and in lower case
        return list(map(crc32, map(str.encode, message_ids)))
    return list(map(message_hash, message_ids))


def look(connection: Connection) -> Look | None:
    """What is to be heeded; None if there is nothing."""
    *comparisons, (_, _, latest, newest, _) = connection.execute(_LOOK).all()
    if latest is None and not comparisons:
        return None
    return Look(latest, newest or 0, [Comparing._make(row) for row in comparisons])


class Recovered:
    """What one process knows of recovered events."""

    def __init__(self, hide: Callable[[Event], Event]) -> None:
        """`hide` makes of an event what would be stored of it now: it may have been stored otherwise."""
        self._hide = hide
        #: One bit for each hash, by its lower bits, of the rows through this number.
        self._map = bytearray()
        self._through = 0

    def late(self, connection: Connection, now: Look, rows: Sequence[Row]) -> Late:
        """Find the calls of a commit, as rows, whose events were recovered before."""
        if now.latest is None:
            return Late(rows)
        last = stored_time((now.latest + 1) * MICROS)
        old = [row for row in rows if (row[MOMENT] < last or row[MOMENT] == row[RECEIVED]) and row[MESSAGE]]
        if not old:
            return Late(rows)
        self._learn(connection, now.newest)
        known, mask = self._map, MAP_BITS - 1
        messages = message_hashes([row[MESSAGE] for row in old])
        by_message: defaultdict[int, list[Row]] = defaultdict(list)
        for at, message in enumerate(messages):
            if known[(message & mask) >> 3] >> (message & 7) & 1:
                by_message[message].append(old[at])
        return _late(connection, rows, by_message, self._hide) if by_message else Late(rows)

    def _learn(self, connection: Connection, newest: int) -> None:
        """Bring the map up to date. What is gone since stays on it, which costs a look in vain."""
        if newest <= self._through:
            return
        self._map = self._map or bytearray(MAP_BITS // 8)
        columns = tables.recovered.c
        query = select(columns.message).where(columns.number > self._through)
        known, mask = self._map, MAP_BITS - 1
        for messages in connection.execute(query).scalars().partitions(PORTION):
            for message in messages:
                known[(message & mask) >> 3] |= 1 << (message & 7)
        self._through = newest


def _late(
    connection: Connection,
    rows: Sequence[Row],
    by_message: dict[int, list[Row]],
    hide: Callable[[Event], Event],
) -> Late:
    noted = _noted(connection, list(by_message))
    if not noted:
        return Late(rows)
    taken = _taken(connection, noted, by_message)
    free: defaultdict[tuple[int, str], list[Any]] = defaultdict(list)
    for one in noted:
        if one.call_id is None:
            free[one.message, one.type].append(one)
    calls: dict[bytes, tuple[Row, int]] = {}
    for message, some in by_message.items():
        for row in some:
            if row[KEY] not in taken and any(_may_be(row, one) for one in free.get((message, row[KIND]), ())):
                calls.setdefault(row[KEY], (row, message))
    for stored in _ids_among(connection, calls):
        del calls[stored]
    upgrades = _paired(connection, calls, free, hide) if calls else []
    used = taken | {upgrade.call[KEY] for upgrade in upgrades}
    return Late([row for row in rows if row[KEY] not in used], upgrades)


def _taken(connection: Connection, noted: Sequence[Any], by_message: dict[int, list[Row]]) -> set[bytes]:
    """The calls among these that events were upgraded with before, as far as those are still there."""
    given = {row[KEY] for rows in by_message.values() for row in rows}
    calls = {bytes(one.delivery_id): bytes(one.call_id) for one in noted if one.call_id is not None}
    events = [event for event, call in calls.items() if call in given]
    return {calls[event] for event in _ids_among(connection, events)}


def _noted(connection: Connection, messages: Sequence[int]) -> list[Any]:
    """What is noted of messages. Nobody else changes that before the end of the transaction."""
    table = tables.recovered
    found: list[Any] = []
    messages = sorted(messages)
    for at in range(0, len(messages), PORTION):
        same = table.c.message.in_(messages[at : at + PORTION])
        # In one order across all portions, so that two drains wait for each other rather than deadlock.
        in_order = select(table).where(same).order_by(table.c.message, table.c.number)
        found += connection.execute(in_order.with_for_update()).all()
    return found


def _may_be(row: Row, noted: Any) -> bool:
    """Whether the times allow that a call is a recovered event's."""
    if row[MOMENT] == row[RECEIVED]:
        return True
    reach = MAX_OFFSET if noted.spread is None else noted.spread
    first, last = (noted.second - reach) * MICROS, (noted.second + reach + 1) * MICROS
    return bool(stored_time(first) <= row[MOMENT] < stored_time(last))


#: Given the ids when it is executed: a condition that has them in it would be a cycle that keeps them in memory.
_AMONG = tables.events.c.delivery_id.in_(bindparam("ids", expanding=True))
_IDS_AMONG, _EVENTS_AMONG = select(tables.events.c.delivery_id).where(_AMONG), select(tables.events).where(_AMONG)


def _ids_among(connection: Connection, ids: Iterable[bytes]) -> list[bytes]:
    """Those of some delivery ids of which there are events."""
    found: list[bytes] = []
    for some in _portions(ids):
        found += map(bytes, connection.execute(_IDS_AMONG, {"ids": some}).scalars())
    return found


def _paired(
    connection: Connection,
    calls: dict[bytes, tuple[Row, int]],
    free: dict[tuple[int, str], list[Any]],
    hide: Callable[[Event], Event],
) -> list[Upgrade]:
    groups: defaultdict[tuple[int, str], list[Row]] = defaultdict(list)
    for row, message in calls.values():
        groups[message, row[KIND]].append(row)
    wanted = [bytes(one.delivery_id) for key in groups for one in free[key]]
    there = with_ids(connection, wanted)
    events = {event.delivery_id: hide(event) for event in there if event.source != WEBHOOK}
    upgrades = []
    for key, rows in groups.items():
        by_name: defaultdict[str, list[Row]] = defaultdict(list)  # two messages may share a hash
        for row in rows:
            by_name[bare(row[MESSAGE])].append(row)
        for name, same in by_name.items():
            some = list(map(event_of_new, same))
            noted = [one for one in free[key] if _is_of(events.get(bytes(one.delivery_id)), name)]
            known = [Known(events[bytes(one.delivery_id)], one.second, one.spread) for one in noted]
            for call, event in pair(some, known):
                one = noted[event]
                whole = merged(known[event].event, some[call])
                upgrades.append(Upgrade(one.number, whole, same[call], bool(one.handed_on)))
    return upgrades


def _is_of(event: Event | None, name: str) -> bool:
    return event is not None and event.message_id is not None and bare(event.message_id) == name


def with_ids(connection: Connection, delivery_ids: Iterable[bytes]) -> list[Event]:
    """The events with these delivery ids."""
    found: list[Event] = []
    for some in _portions(delivery_ids):
        found += map(event_of, connection.execute(_EVENTS_AMONG, {"ids": some}).all())
    return found


def mark(connection: Connection, upgrades: Sequence[Upgrade]) -> None:
    """Note which calls events were upgraded with."""
    this = tables.recovered.update().where(tables.recovered.c.number == bindparam("upgraded"))
    values = [{"upgraded": upgrade.number, "call": upgrade.call[KEY]} for upgrade in upgrades]
    connection.execute(this.values(call_id=bindparam("call")), values)


def note_recovered(connection: Connection, events: Sequence[Event], spread: int | None, handed_on: bool) -> None:
    """Note that events were recovered, so that their calls are known for theirs."""
    reach = MAX_OFFSET if spread is None else spread
    noted: list[dict[str, Any]] = [
        {
            "message": message_hash(event.message_id),
            "type": event.type.value,
            "second": event.occurred_at // MICROS,
            "spread": spread,
            "latest": event.occurred_at // MICROS + reach,
            "handed_on": handed_on,
            "delivery_id": event.delivery_id,
        }
        for event in events
        if event.message_id
    ]
    if noted:
        # Of events that somebody has deleted by hand since, something may be noted still.
        forget(connection, [row["delivery_id"] for row in noted])
        connection.execute(tables.recovered.insert(), noted)


def forget(connection: Connection, delivery_ids: Iterable[bytes]) -> None:
    """Note no longer that these were recovered."""
    these = tables.recovered.c.delivery_id.in_(bindparam("ids", expanding=True))
    for some in _portions(delivery_ids):
        connection.execute(tables.recovered.delete().where(these), {"ids": some})


def expire(connection: Connection, now: int) -> None:
    """Forget what is too old to matter; `now` in Unix seconds."""
    connection.execute(tables.recovered.delete().where(tables.recovered.c.latest < now - KEPT))


def _portions(keys: Iterable[bytes]) -> Iterable[list[bytes]]:
    every = list(keys)
    return (every[at : at + PORTION] for at in range(0, len(every), PORTION))
