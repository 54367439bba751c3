"""Which event a delivery id names, or why there is none, and where to look instead."""

import re
import time
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import func, select

from ingest.batch import DELIVERY_ID_SIZE
from ingest.copernica.events import DAY, Event
from workers.store import tables
from workers.store.store import Store

#: Seconds after its signing for which a call that is not in the store may be on its way there: longer than a
#: backlog lasts, unless somebody has paused the drains.
UNDER_WAY = 3600

_WRITTEN = re.compile(rf"[0-9a-fA-F]{{{2 * DELIVERY_ID_SIZE}}}")


class Where(StrEnum):
    """What a delivery id names."""

    #: An event of the store.
    STORE = "store"
    #: A call whose event had been recovered before it came: that has another id, and says now what the call does.
    UPGRADED = "upgraded"
    #: A call that could not be read or stored, or proved false.
    QUARANTINE = "quarantine"
    #: A call whose signer's key is not known yet.
    UNVERIFIED = "unverified"
    #: Nothing in the store but what a handler did not take.
    DEAD_LETTER = "dead-letter"
    #: It is older than what is kept.
    EXPIRED = "expired"
    #: Somebody was erased after it came in: it may have been about them.
    PERHAPS_ERASED = "perhaps-erased"
    #: It is young enough to be on its way.
    PERHAPS_UNDER_WAY = "perhaps-under-way"
    #: Nobody knows of it. Reconciling may have removed it, since its call was stored beside it.
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of a delivery id."""

    delivery_id: bytes
    where: Where
    event: Event | None = None
    #: The delivery id of the event that it has become part of.
    other: bytes | None = None
    #: Why it is in quarantine, or whose key is waited for.
    reason: str = ""
    #: Handlers that did not take it.
    handlers: tuple[str, ...] = ()


def parsed(text: str) -> bytes | None:
    """A delivery id as it is written, 24 hex digits; None if that is none."""
    return bytes.fromhex(text) if _WRITTEN.fullmatch(text) else None


def find(store: Store, delivery_id: bytes, retention_days: int = 0) -> Found:
    """The event of a delivery id, or what is known of why there is none.

    `retention_days` is the setting of that name; 0 means that events are kept for ever.

    Raises:
        Unavailable: the database cannot be used now.
    """
    if events := store.with_ids([delivery_id]):
        return Found(delivery_id, Where.STORE, events[0])
    recovered, quarantine, unverified = tables.recovered.c, tables.quarantine.c, tables.unverified.c
    letters = tables.dead_letters.c
    with store.reading() as connection:
        query = select(recovered.delivery_id).where(recovered.call_id == delivery_id)
        if (other := connection.execute(query).scalar()) is not None:
            return Found(delivery_id, Where.UPGRADED, other=bytes(other))
        query = select(quarantine.reason).where(quarantine.delivery_id == delivery_id)
        if (reason := connection.execute(query).scalar()) is not None:
            return Found(delivery_id, Where.QUARANTINE, reason=reason)
        query = select(unverified.key_id).where(unverified.delivery_id == delivery_id).limit(1)
        if (key := connection.execute(query).scalar()) is not None:
            return Found(delivery_id, Where.UNVERIFIED, reason=key)
        query = select(letters.handler).where(letters.delivery_id == delivery_id).order_by(letters.handler)
        if handlers := connection.execute(query).scalars().all():
            return Found(delivery_id, Where.DEAD_LETTER, handlers=tuple(handlers))
        erased_at = connection.execute(select(func.max(tables.tombstones.c.erased_at))).scalar()
    return Found(delivery_id, _why_not(delivery_id, retention_days, erased_at))


def _why_not(delivery_id: bytes, retention_days: int, erased_at: int | None) -> Where:
    second, now = int.from_bytes(delivery_id[:4], "big"), time.time()
    if retention_days and second < now - retention_days * DAY:
        return Where.EXPIRED
    if now - UNDER_WAY < second <= now + UNDER_WAY:
        return Where.PERHAPS_UNDER_WAY
    if erased_at is not None and second <= erased_at:
        return Where.PERHAPS_ERASED
    return Where.NOWHERE
