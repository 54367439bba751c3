"""How many events there are, by hour, type, mailing and source: kept with them, so that nobody has to count them.

Whoever adds, deletes or changes events says so here, at the end of the same transaction; so the numbers are exact
whatever is late, recovered, superseded, upgraded, erased or too old. A row that is changed in place counts as one
that was deleted (`Deleted.of_row`, as it was) and added (as it is).

What was stored before there were such numbers is counted bit by bit, in the order of delivery ids (`count_more`).
Until that is done, only events below the mark in `fillings` are in the numbers, and whoever asks for them has to
count the events themselves.

Each change also adds a random number to `changes`, of the rows it touches and of their mailings: whoever derives
something from events (`workers.mailings`) finds out by it what is out of date. It is random so that a row which
is forgotten and made anew never looks like the one from before.

In PostgreSQL several transactions add to the same numbers at once. Each takes a shard that no other is using, so
none waits for another; the number is the sum of all shards.
"""

import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

from sqlalchemy import Connection, delete, func, select, tuple_, update

from workers.store.backend import PERIODS, Backend, Row, Transactions
from workers.store.mailing_tables import mailing_changes
from workers.store.rows import KEY, KIND, MAILING, MOMENT, SOURCE, micros, stored_time
from workers.store.tables import event_counts, events, fillings

#: The name under which those who add events, those who delete them and those who count what was there take turns.
TURNS = "ingest tombstones"
#: Stands for events that name no mailing.
NO_MAILING = -1
#: Stands, in `mailing_changes`, for what is known of which messages are of which mailing.
DESTINATIONS = -2
#: The shard of `mailing_changes` of those who do not change `event_counts`.
OWN_SHARD = -1
#: What is told as the part that is done while anything is left, even if all of that is of the last second.
NEARLY = 0.999
#: Events that are counted at a time: as long as others wait that want to store some, a third of a second.
STEP_EVENTS = 100_000
#: Bits of what a change adds to `changes`: two thousand million changes of one row fit.
STAMP_BITS = 32

_HOUR = PERIODS["hour"]
_COUNTS = event_counts.c

#: A number of events by hour, type, mailing (None if they name none) and source.
Numbers = Counter[tuple[str, str, int | None, str]]


class Deleted(NamedTuple):
    """What the numbers hold of an event that was deleted."""

    delivery_id: bytes
    hour: str
    type: str
    mailing: int | None
    source: str

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> Self:
        """The same for a row of `events`, as it is stored or as it is read."""
        at = row[MOMENT] if isinstance(row[MOMENT], str) else stored_time(micros(row[MOMENT]))
        return cls(bytes(row[KEY]), at[:_HOUR], row[KIND], row[MAILING], row[SOURCE])


def counted_below(connection: Connection) -> bytes | None:
    """The delivery id below which events are in the numbers; None if all are.

    It stands still until the end of a transaction that shares turns.
    """
    mark = connection.execute(select(fillings.c.done).where(fillings.c.name == event_counts.name)).scalar()
    return None if mark is None else bytes(mark)


def of_rows(rows: Iterable[Row]) -> Numbers:
    """The numbers of rows of `events`."""
    return Counter([(row[MOMENT][:_HOUR], row[KIND], row[MAILING], row[SOURCE]) for row in rows])


def change(
    connection: Connection, backend: Backend, added: Sequence[Row] = (), deleted: Sequence[Deleted] = ()
) -> None:
    """Note which events were added and deleted; the last thing that a transaction that shares turns does.

    Last, since it may hold a shard from here on, and nobody who holds one may wait for anything else.
    """
    if not added and not deleted:
        return
    if (below := counted_below(connection)) is not None:
        added = [row for row in added if row[KEY] < below]
        deleted = [event for event in deleted if event.delivery_id < below]
    numbers = of_rows(added)
    numbers.subtract(event[1:] for event in deleted)
    add(connection, backend, numbers)


def add(connection: Connection, backend: Backend, numbers: Numbers) -> None:
    """Add numbers, which may be negative, as the last thing that a transaction does.

    A number of 0 is that of events which are as many as before, but not the same.
    """
    # In order, so that there is no deadlock where several use one shard.
    changed = sorted(
        (hour, kind, NO_MAILING if mailing is None else mailing, source, number)
        for (hour, kind, mailing, source), number in numbers.items()
    )
    if changed:
        backend.add_counts(connection, changed, stamp())


def stamp() -> int:
    """What a change adds to `changes`."""
    return secrets.randbits(STAMP_BITS) + 1


def note_change(connection: Connection, backend: Backend, mailing: int) -> None:
    """Note, within a transaction, that what is derived from a mailing's events is out of date otherwise."""
    columns = mailing_changes.c
    backend.insert(connection, mailing_changes, [(mailing, OWN_SHARD, 0)])
    this = update(mailing_changes).where(columns.mailing == mailing, columns.shard == OWN_SHARD)
    connection.execute(this.values(changes=columns.changes + stamp()))


def forget_zeros(transactions: Transactions, backend: Backend) -> None:
    """Delete numbers that have become zero, as most do when events expire."""
    key = _COUNTS.hour, _COUNTS.type, _COUNTS.mailing, _COUNTS.source
    zeros = select(*key).group_by(*key).having(func.sum(_COUNTS.number) == 0).subquery()
    with transactions() as connection:
        backend.take_turns(connection, TURNS)
        connection.execute(delete(event_counts).where(tuple_(*key).in_(select(*zeros.c))))


# --- what was there before ---


def begin_anew(transactions: Transactions, backend: Backend) -> None:
    """Forget all numbers; `count_more` makes them again."""
    with transactions() as connection:
        backend.take_turns(connection, TURNS)
        connection.execute(delete(event_counts))
        connection.execute(update(mailing_changes).values(changes=mailing_changes.c.changes + stamp()))
        connection.execute(delete(fillings).where(fillings.c.name == event_counts.name))
        connection.execute(fillings.insert().values(name=event_counts.name, done=b""))


def count_more(transactions: Transactions, backend: Backend) -> float:
    """Count the next `STEP_EVENTS` events that are not counted yet; returns which part of all is, from 0 to 1."""
    this = fillings.c.name == event_counts.name
    with transactions() as connection:
        backend.take_turns(connection, TURNS)
        begin = counted_below(connection)
        if begin is None:
            return 1.0
        uncounted = select(events.c.delivery_id).where(events.c.delivery_id >= begin)
        in_order = uncounted.order_by(events.c.delivery_id)
        end = connection.execute(in_order.offset(STEP_EVENTS).limit(1)).scalar()
        within = [events.c.delivery_id >= begin, *([] if end is None else [events.c.delivery_id < end])]
        hour = backend.period("hour")
        key = hour, events.c.type, events.c.mailing, events.c.source
        found = connection.execute(select(*key, func.count()).where(*within).group_by(*key)).all()
        if end is None:
            connection.execute(delete(fillings).where(this))
        else:
            connection.execute(update(fillings).where(this).values(done=end))
        ids = select(events.c.delivery_id).limit(1)
        first = connection.execute(ids.order_by(events.c.delivery_id)).scalar() or b""
        last = connection.execute(ids.order_by(events.c.delivery_id.desc())).scalar() or b""
        add(
            connection,
            backend,
            Numbers({(at, kind, mailing, source): number for at, kind, mailing, source, number in found}),
        )
    return 1.0 if end is None else min(_part(bytes(first), bytes(end), bytes(last)), NEARLY)


def _part(first: bytes, at: bytes, last: bytes) -> float:
    """How far an id is on the way from one to another, by their times."""
    start, here, end = (int.from_bytes(each[:4], "big") for each in (first, at, last))
    return (here - start) / max(1, end - start)
