"""Who fills a gap: one process at a time, under a lease that ends by itself when its holder dies.

    due ─▶ begin ─▶ renew … ─▶ close      everything is in the store
                       │
                       └─────▶ failed     another attempt later, or none any more

A holder whose lease has ended may still `close`, since what it found is in the store; it can no longer say that
the gap has `failed`, which somebody else may be filling by now.
"""

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection

from ingest.copernica.events import MICROS
from workers.gaps.gap import TURNS, Cut, Gap, State, cuts, together
from workers.store import tables
from workers.store.store import Store

#: Seconds after its end from which a gap is filled: until then calls may be on their way. Results may be
#: later: no look that begins before `workers.catch_up.closing.SETTLED` closes a gap.
AFTER = 60
#: Seconds for which a gap is one process's, unless it renews that, which it does beside all that it waits for:
#: short enough for the next to begin soon after a kill. Who loses it for being slow only does some work twice.
LEASE = 120
#: Days for which gaps are listed that nothing waits for: as long as days are looked back at.
KEPT_DAYS = 400


def due(store: Store, now: int | None = None) -> list[Gap]:
    """Gaps to be filled now (µs since 1970), the oldest first; rows that are near each other are one gap."""
    now = shared_time(store) if now is None else now
    with store.reading() as connection:
        return together(row for row in _unfilled(connection) if _is_due(row, now))


def _unfilled(connection: Connection) -> list[Cut]:
    state = tables.gaps.c.state
    return cuts(connection, state.in_([State.ENDED.value, State.CATCHING_UP.value]))


def _is_due(row: Cut, now: int) -> bool:
    if row.until is None or row.until > now - AFTER * MICROS or _retry_at(row) > now:
        return False
    return row.state is State.ENDED or not is_leased(row, now)


def _retry_at(row: Cut) -> int:
    return int(row.details.get("retry_at", 0))


def is_leased(row: Cut, now: int) -> bool:
    """Whether a living process fills this gap."""
    return row.state is State.CATCHING_UP and int(row.details.get("lease_until", 0)) > now


def begin(store: Store, gap: Gap, now: int | None = None) -> Gap | None:
    """Take the lease of a gap that is due; returns the gap to be filled, which may have changed since.

    None if there is nothing of it left to fill, or while another process fills any gap.
    """
    now = shared_time(store) if now is None else now
    holder = f"{os.uname().nodename}:{os.getpid()}:{uuid4().hex[:8]}"
    with store.writing() as connection:
        store.take_turns(connection, TURNS)
        unfilled = _unfilled(connection)
        if any(is_leased(row, now) for row in unfilled):
            return None
        wanted = [row for row in unfilled if _is_due(row, now) and row.since <= gap.until]
        wanted = [row for row in wanted if gap.since <= (row.until or row.since)]
        if not wanted:
            return None
        taken = [
            row.turned(
                State.CATCHING_UP,
                now,
                attempts=int(row.details.get("attempts", 0)) + 1,
                holder=holder,
                lease_until=now + LEASE * MICROS,
            )
            for row in wanted
        ]
        for row in taken:
            row.put(store, connection)
    return replace(Gap.of(taken), holder=holder)


def renew(store: Store, gap: Gap, now: int | None = None) -> bool:
    """Keep the lease of a gap for another while; False if it is no longer ours, and filling it should end."""
    now = shared_time(store) if now is None else now
    return _change(store, gap, lambda row: row.turned(row.state, now, lease_until=now + LEASE * MICROS))


def note(store: Store, gap: Gap, now: int | None = None, **details: Any) -> bool:
    """Keep something about a gap that is being filled, such as how far; False if it is no longer ours."""
    now = shared_time(store) if now is None else now
    return _change(store, gap, lambda row: row.turned(row.state, now, **details))


def failed(store: Store, gap: Gap, reason: str, retry_at: int | None, now: int | None = None) -> bool:
    """A gap could not be filled, for a reason in one sentence: it is due again at `retry_at` (µs since 1970).

    With None, never: only log files can close it then. False if the lease was no longer ours.
    """
    now = shared_time(store) if now is None else now
    state = State.CANNOT_BE_CLOSED if retry_at is None else State.ENDED
    ended: Mapping[str, Any] = {"holder": None, "lease_until": None, "error": reason, "retry_at": retry_at}
    return _change(store, gap, lambda row: row.turned(state, now, **ended))


def _change(store: Store, gap: Gap, turned: Any) -> bool:
    with store.writing() as connection:
        store.take_turns(connection, TURNS)
        ours = [row for row in _unfilled(connection) if row.details.get("holder") == gap.holder and gap.holder]
        for row in ours:
            turned(row).put(store, connection)
    return bool(ours)


def close(store: Store, gap: Gap, details: Mapping[str, Any], now: int | None = None) -> int:
    """A gap is filled: all that Copernica has of it is in the store. `details` say what came of it.

    Returns how many rows that closes: those of the gap, and others that have ended and lie wholly within it.
    """
    return filled(store, gap.since, gap.until, details, now, gap.rows)


def filled(
    store: Store,
    since: int,
    until: int,
    details: Mapping[str, Any],
    now: int | None = None,
    rows: Iterable[tuple[int, str]] = (),
) -> int:
    """Everything that Copernica has of a period (µs since 1970) is in the store: close the gaps within it.

    Returns how many rows that closes. What goes on is not closed, nor what another process fills, which will say
    so itself; `rows` are not another's.
    """
    now = shared_time(store) if now is None else now
    own = {(since, str(cause)) for since, cause in rows}
    columns = tables.gaps.c
    within = columns.since >= since, columns.until <= min(until, now)
    closed = 0
    with store.writing() as connection:
        store.take_turns(connection, TURNS)
        for row in cuts(connection, *within):
            if row.state is State.CLOSED or (row.key not in own and is_leased(row, now)):
                continue
            gone = {"holder": None, "lease_until": None, "error": None, "retry_at": None}
            row.turned(State.CLOSED, now, **{**gone, **details}).put(store, connection)
            closed += 1
    return closed


def forget(store: Store, before: int) -> int:
    """Delete gaps that ended before a time (µs since 1970) and that nothing waits for; returns how many."""
    columns = tables.gaps.c
    waits = [State.OPEN.value, State.ENDED.value, State.CATCHING_UP.value]
    with store.writing() as connection:
        store.take_turns(connection, TURNS)
        old = tables.gaps.delete().where(columns.until < before, columns.state.not_in(waits))
        return int(connection.execute(old).rowcount)


def shared_time(store: Store) -> int:
    """µs since 1970 by the clock that all users of this database share: its own, or that of its only machine."""
    of_database = store.time()
    return time.time_ns() // 1000 if of_database is None else of_database
