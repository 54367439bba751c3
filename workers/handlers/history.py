"""What became of calls at handlers: kept for a while, for whoever asks why or how fast.

A row of `handler_runs` is written in the transaction that settles the calls, so it is there if and only if that
is. Calls that succeed are a row for each settlement, some hundreds of calls when a handler is busy; those that
fail are a row for each error. Each handler has room for so many bytes of either (`ROOM`): when that is used up,
the oldest go. So a handler that is called a thousand times a second has an hour or so, one that is called now and
then has `KEPT_DAYS`, and what succeeds never displaces what failed.

The runs of one event are found by a number, `node`: of the spans of seconds that are a power of two long and begin
at a multiple of that, it stands for the shortest that holds all delivery ids of a run. A second is in 33 of them,
and that many are looked up, however many runs there are.
"""

import json
import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select
from sqlalchemy.sql import func

from ingest.copernica.events import DAY, MICROS
from workers.handlers.run_notes import Outcome, Run, counted
from workers.store.console_tables import handler_runs
from workers.store.rows import clean
from workers.store.store import Store

#: Days after which a run is forgotten, or with the events if those go sooner: who asks does so within a week.
KEPT_DAYS = 14
#: Bytes that the runs of one handler may take: those that succeeded, and those that failed.
ROOM = 32 * 1024 * 1024
#: About what a row takes beside its texts and ids, its places in three indexes included.
ROW_BYTES = 250
#: Characters of a traceback that are kept: its end. A dead letter keeps more.
MAX_TRACEBACK = 4000
#: Of how many settlements one looks whether there is room: the look reads an index of what is kept.
LOOK_ONE_IN = 100
#: Runs that are looked at for one event.
MOST_OF_EVENT = 500
#: Runs that are gone through in one transaction.
PORTION = 500

_RUNS = handler_runs.c
#: What is read of a run for lists: not its ids.
_SHOWN = [column for column in handler_runs.columns if column.name not in ("ids", "size", "node")]


@dataclass(frozen=True, slots=True)
class Attempt:
    """Calls that a handler was given, and what it did with them. Times are µs since 1970."""

    number: int
    handler: str
    outcome: Outcome
    #: Whether that was a failure, and whether the calls became dead letters.
    failed: bool
    final: bool
    #: The first is 1.
    attempt: int
    #: From the first of these calls to the end of the last; each by itself is not kept.
    began_at: int
    ended_at: int
    #: How many calls came to the same, this one included.
    calls: int
    #: Seconds that the handler took for one of them, or for one batch, on average; None where nobody measured it.
    seconds: float | None
    error: str
    traceback: str
    #: What a forward target answered with.
    status: int | None
    first_id: bytes


# --- writing ---


def write(connection: Connection, handler: str, attempt: int, runs: Sequence[Run], now: int) -> None:
    """Keep runs of calls at their n-th attempt, within the transaction that settles them; `now` in µs."""
    clock = time.perf_counter()
    rows = [_row(handler, attempt, run, now, clock) for run in runs if run.ids]
    if rows:
        connection.execute(handler_runs.insert(), rows)


def _row(handler: str, attempt: int, run: Run, now: int, clock: float) -> dict[str, object]:
    ids = sorted(set(run.ids)) if len(run.ids) > 1 else run.ids
    packed = pack_ids(ids)
    error, traceback = clean(run.error), clean(run.traceback[-MAX_TRACEBACK:])
    return {
        "handler": handler,
        "failed": run.outcome not in (Outcome.DONE, Outcome.UNWANTED),
        "outcome": run.outcome.value,
        "final": run.final,
        "attempt": attempt,
        "began_at": now - int((clock - run.began) * MICROS),
        "ended_at": now - int((clock - run.ended) * MICROS),
        "micros": int(sum(run.took) * MICROS),
        "calls": len(run.ids),
        "status": run.status,
        "size": ROW_BYTES + len(packed) + len(error) + len(traceback),
        "node": node_of(ids[0], ids[-1]),
        "first_id": ids[0],
        "last_id": ids[-1],
        "durations": json.dumps(counted(run.took), separators=(",", ":")),
        "error": error,
        "traceback": traceback,
        "ids": packed,
    }


def pack_ids(ids: Sequence[bytes]) -> bytes:
    """Delivery ids in order, without what they all begin with; nothing of a single one."""
    shared = _shared(ids[0], ids[-1])
    return b"".join([one[shared:] for one in ids]) if len(ids) > 1 else b""


def unpack_ids(first: bytes, last: bytes, packed: bytes) -> list[bytes]:
    """The ids that `pack_ids` packed, of which these are the first and the last."""
    shared = _shared(first, last)
    step = len(first) - shared
    if not packed or not step:
        return [first]
    return [first[:shared] + packed[at : at + step] for at in range(0, len(packed), step)]


def _ids(row: Row[Any]) -> list[bytes]:
    return unpack_ids(bytes(row.first_id), bytes(row.last_id), bytes(row.ids))


def _shared(first: bytes, last: bytes) -> int:
    return next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))


def node_of(first: bytes, last: bytes) -> int:
    """The node of ids from one to another."""
    since, through = _second(first), _second(last)
    level = (since ^ through).bit_length()
    return (since >> level) << 6 | level


def nodes_over(delivery_id: bytes) -> list[int]:
    """The nodes of all runs that may have this id."""
    second = _second(delivery_id)
    return [(second >> level) << 6 | level for level in range(33)]


def _second(delivery_id: bytes) -> int:
    return int.from_bytes(delivery_id[:4], "big")


# --- reading ---


def of_event(store: Store, delivery_id: bytes, received_at: int | None = None) -> list[Attempt]:
    """What handlers did with an event, in the order of time; at most `MOST_OF_EVENT` runs are looked at.

    That includes what they did when it was replayed. With `received_at` (µs since 1970), nothing from before that.
    """
    query = select(handler_runs).where(
        _RUNS.node.in_(nodes_over(delivery_id)), _RUNS.first_id <= delivery_id, _RUNS.last_id >= delivery_id
    )
    if received_at is not None:
        # Two clocks may tell these times.
        query = query.where(_RUNS.ended_at >= received_at - 60 * MICROS)
    with store.reading() as connection:
        rows = connection.execute(query.order_by(_RUNS.number.desc()).limit(MOST_OF_EVENT)).all()
    found = [
        row for row in rows if delivery_id in unpack_ids(bytes(row.first_id), bytes(row.last_id), bytes(row.ids))
    ]
    return [_attempt(row) for row in sorted(found, key=lambda row: (row.began_at, row.number))]


def last(
    store: Store, handler: str, limit: int, *, failed: bool | None = None, before: int | None = None
) -> list[Attempt]:
    """The last runs of a handler, the newest first; those `before` a number, to go on."""
    found: list[Attempt] = []
    with store.reading() as connection:
        for kind in (False, True) if failed is None else (failed,):
            query = select(*_SHOWN).where(_RUNS.handler == handler, _RUNS.failed == kind)
            if before is not None:
                query = query.where(_RUNS.number < before)
            found += map(_attempt, connection.execute(query.order_by(_RUNS.number.desc()).limit(limit)))
    return sorted(found, key=lambda run: -run.number)[:limit]


def _attempt(row: Row[Any]) -> Attempt:
    times = sum(number for _, number in json.loads(row.durations))
    return Attempt(
        row.number,
        row.handler,
        Outcome(row.outcome),
        row.failed,
        row.final,
        row.attempt,
        row.began_at,
        row.ended_at,
        row.calls,
        row.micros / MICROS / times if times else None,
        row.error,
        row.traceback,
        row.status,
        bytes(row.first_id),
    )


# --- forgetting ---


def make_room(store: Store, handler: str) -> int:
    """Now and then, forget the oldest runs of a handler that has more than its room; returns how many."""
    return 0 if random.randrange(LOOK_ONE_IN) else keep_to_room(store, handler)  # noqa: S311


def keep_to_room(store: Store, handler: str, room: int = ROOM) -> int:
    """Forget the oldest runs of a handler that has more than its room; returns how many."""
    gone = 0
    taken = func.sum(_RUNS.size).over(order_by=_RUNS.number.desc()).label("taken")
    for failed in (False, True):
        these = (_RUNS.handler == handler) & (_RUNS.failed == failed)
        sizes = select(_RUNS.number, taken).where(these).subquery()
        too_old = select(func.max(sizes.c.number)).where(sizes.c.taken > room)
        with store.reading() as connection:
            newest = connection.execute(too_old).scalar()
        if newest is not None:
            with store.writing() as connection:
                gone += connection.execute(handler_runs.delete().where(these, _RUNS.number <= newest)).rowcount
    return gone


def expire(store: Store, now: int, days: int = KEPT_DAYS) -> int:
    """Forget runs that ended more than so many days before `now` (Unix seconds); returns how many."""
    before, gone = (now - days * DAY) * MICROS, 0
    oldest = select(_RUNS.number, _RUNS.ended_at).order_by(_RUNS.number).limit(PORTION)
    while True:
        with store.writing() as connection:
            store.overwrite(connection)
            rows = connection.execute(oldest).all()
            old = [row.number for row in rows if row.ended_at < before]
            connection.execute(handler_runs.delete().where(_RUNS.number.in_(old)))
        gone += len(old)
        if len(old) < PORTION:  # they are numbered as they end, about
            return gone


def forget(store: Store, ids: Collection[bytes], mentions: Callable[[str], bool]) -> int:
    """Forget a person: the ids of their events, and whatever errors of runs say of them; returns how many runs.

    A run of theirs says nothing any more of what it failed with: that may be about them in other words.
    """
    known, found = frozenset(ids), 0
    for keys in store.keys(handler_runs, PORTION):
        within = _RUNS.number.between(keys[0].number, keys[-1].number)
        with store.writing() as connection:
            store.overwrite(connection)
            for row in connection.execute(select(handler_runs).where(within).order_by(_RUNS.number)).all():
                found += _forget_in_row(connection, row, known, mentions)
    return found


def _forget_in_row(
    connection: Connection, row: Row[Any], known: frozenset[bytes], mentions: Callable[[str], bool]
) -> bool:
    there = _ids(row)
    kept = [one for one in there if one not in known]
    if len(kept) == len(there) and not any(mentions(text) for text in (row.error, row.traceback) if text):
        return False
    this = _RUNS.number == row.number
    if not kept:
        connection.execute(handler_runs.delete().where(this))
        return True
    rest = {
        "error": "",
        "traceback": "",
        "node": node_of(kept[0], kept[-1]),
        "first_id": kept[0],
        "last_id": kept[-1],
        "ids": pack_ids(kept),
    }
    connection.execute(handler_runs.update().where(this).values(rest))
    return True
