"""Calls in quarantine, as people look at them: pages of many, one in full, and what can be done with it."""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import func, select

from ingest.copernica.events import MICROS
from workers.handlers import dead_letters
from workers.handlers.dead_letters import STORE, DeadLetter, Wanted
from workers.records import NOT_COPERNICAS
from workers.store import tables
from workers.store.rows import micros
from workers.store.store import Store

#: Calls that are looked up, or dropped, together.
PORTION = 200
#: Characters of a path and of a reason in a list.
LONGEST = 300

_COLUMNS = tables.quarantine.c


class Listed(NamedTuple):
    """One of many. Its time is Unix seconds."""

    delivery_id: bytes
    received_at: float
    path: str
    content_type: str
    size: int
    reason: str


class Page(NamedTuple):
    """Some of them, the newest first, and the ids beside which newer and older ones begin; None without any."""

    calls: Sequence[Listed]
    newer: bytes | None
    older: bytes | None


def page(store: Store, size: int, before: bytes | None = None, after: bytes | None = None) -> Page:
    """Calls in quarantine that came in before one, or after one; without either, the newest.

    Raises:
        Unavailable: the database cannot be used now.
    """
    query = select(
        _COLUMNS.delivery_id,
        _COLUMNS.received_at,
        func.substr(_COLUMNS.path, 1, LONGEST),
        func.substr(_COLUMNS.content_type, 1, LONGEST),
        store.backend.length(_COLUMNS.body),
        func.substr(_COLUMNS.reason, 1, LONGEST),
    ).limit(size + 1)
    if after is not None:
        query = query.where(_COLUMNS.delivery_id > after).order_by(_COLUMNS.delivery_id)
    else:
        if before is not None:
            query = query.where(_COLUMNS.delivery_id < before)
        query = query.order_by(_COLUMNS.delivery_id.desc())
    with store.reading() as connection:
        rows = connection.execute(query).all()
    calls = [_listed(row) for row in rows[:size]]
    has_more = len(rows) > size
    if after is not None:
        calls.reverse()
        newer, older = has_more, bool(calls)
    else:
        newer, older = before is not None and bool(calls), has_more
    return Page(
        calls,
        calls[0].delivery_id if newer and calls else None,
        calls[-1].delivery_id if older and calls else None,
    )


def _listed(row: Any) -> Listed:
    delivery_id, received_at, path, content_type, size, reason = row
    return Listed(bytes(delivery_id), micros(received_at) / MICROS, path, content_type, size, reason)


def one(store: Store, delivery_id: bytes) -> DeadLetter | None:
    """A call in full; None if it is not in quarantine, or not any more.

    Raises:
        Unavailable: the database cannot be used now.
    """
    return next(dead_letters.find(store, Wanted(handler=STORE, delivery_id=delivery_id)), None)


def proved_false(call: DeadLetter) -> bool:
    """Whether Copernica did not sign it: then nothing ever stores it."""
    return call.error.startswith(NOT_COPERNICAS)


class Retried(StrEnum):
    """What came of storing a call again."""

    STORED = "stored"
    #: It cannot be stored by now either.
    STILL = "still"
    #: It was not in quarantine any more: nothing was done.
    GONE = "gone"


def retry(store: Store, delivery_id: bytes, has_handlers: bool) -> Retried:
    """Store a call after all if that is possible by now; returns what came of it.

    Raises:
        Unavailable: the database cannot be used now.
    """
    call = one(store, delivery_id)
    if call is None:
        return Retried.GONE
    dead_letters.retry(store, [call], has_handlers)
    return Retried.STORED if one(store, delivery_id) is None else Retried.STILL


def drop(store: Store, delivery_id: bytes) -> int:
    """Delete a call; returns how many that were: none if it was gone.

    Raises:
        Unavailable: the database cannot be used now.
    """
    call = one(store, delivery_id)
    return 0 if call is None else dead_letters.drop(store, [call])


def portions(store: Store, newest: bytes) -> Iterator[list[bytes]]:
    """The ids of all calls in quarantine up to one, the newest first; some at a time, as they are then.

    Raises:
        Unavailable: the database cannot be used now.
    """
    query = select(_COLUMNS.delivery_id).order_by(_COLUMNS.delivery_id.desc()).limit(PORTION)
    condition = _COLUMNS.delivery_id <= newest
    while True:
        with store.reading() as connection:
            found = [bytes(one) for one in connection.execute(query.where(condition)).scalars()]
        if not found:
            return
        yield found
        condition = _COLUMNS.delivery_id < found[-1]


def drop_many(store: Store, delivery_ids: Sequence[bytes]) -> int:
    """Delete calls; returns how many of them were still there.

    Raises:
        Unavailable: the database cannot be used now.
    """
    with store.writing() as connection:
        return connection.execute(
            tables.quarantine.delete().where(_COLUMNS.delivery_id.in_(delivery_ids))
        ).rowcount


def hex_lines(body: bytes, most: int) -> Iterable[str]:
    """The first bytes as people read them who look for one that should not be there."""
    for at in range(0, min(len(body), most), 16):
        some = body[at : min(at + 16, most)]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in some)
        yield f"{at:06x}  {some.hex(' '):<47}  {text}"
