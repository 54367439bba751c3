"""Events of a mailing by type and hour, also of one that goes on for years: tens of thousands of numbers.

They are read in the order of an index and added up by the database, a row for each hour. What was read is kept
with the mailing's `changes`, which each change of its events makes another number in the commit of that change: as
long as that is the same, so are the hours, and nothing is read again.
"""

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from weakref import WeakKeyDictionary

from sqlalchemy import BigInteger, Connection, case, cast, func, select

from workers.mailings.part import KINDS
from workers.store import tables
from workers.store.mailing_tables import mailing_changes
from workers.store.store import Store

#: By type, how many events each hour of `event_counts` has: only hours that have some.
Hours = Mapping[str, Mapping[str, int]]

#: Mailings whose hours a process keeps, those that were asked for last: up to 2 MB each.
KEPT = 8

_COUNTS = tables.event_counts.c
_KINDS = [kind.value for kind in KINDS]
_kept: WeakKeyDictionary[Store, OrderedDict[int, tuple[int, Hours]]] = WeakKeyDictionary()
_lock = Lock()


def changes_of(connection: Connection, mailing: int) -> int:
    """A number that is another one after each change of a mailing's events."""
    columns = mailing_changes.c
    summed = select(func.coalesce(func.sum(columns.changes), 0)).where(columns.mailing == mailing)
    return int(connection.execute(summed).scalar_one())


def hours_of(store: Store, connection: Connection, mailing: int, changes: int) -> Hours:
    """The events that name a mailing; its `changes` were read before, so what comes in between is read again."""
    with _lock:
        kept = _kept.setdefault(store, OrderedDict())
        if mailing in kept and kept[mailing][0] == changes:
            kept.move_to_end(mailing)
            return kept[mailing][1]
    found = _read(connection, mailing)
    with _lock:
        kept[mailing] = changes, found
        kept.move_to_end(mailing)
        while len(kept) > KEPT:
            kept.popitem(last=False)
    return found


def _read(connection: Connection, mailing: int) -> Hours:
    """By the hour alone the numbers are in order already: grouped by type as well, they take twice the time."""
    numbers = [
        cast(func.sum(case((_COUNTS.type == kind, _COUNTS.number), else_=0)), BigInteger) for kind in _KINDS
    ]
    query = select(_COUNTS.hour, *numbers).where(_COUNTS.mailing == mailing).group_by(_COUNTS.hour)
    rows = connection.execute(query).all()  # at once: a fetch for each takes far longer
    columns = zip(*rows, strict=True) if rows else iter([()] * (1 + len(_KINDS)))
    names = next(columns)
    by_kind = zip(_KINDS, columns, strict=True)
    found = {kind: {hour: n for hour, n in zip(names, each, strict=True) if n} for kind, each in by_kind}
    return {kind: hours for kind, hours in found.items() if hours}
