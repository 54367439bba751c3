"""`ingest events --follow`: the events in the store, then new ones as they are stored."""

import logging
import time
from collections.abc import Iterable, Iterator

import redis

from ingest import redis_client
from ingest.copernica.events import Event
from ingest.redis_errors import Outage
from ingest.settings import Settings
from ingest.stream.announcements import Announcements
from workers.store.database import FETCH_SIZE
from workers.store.filters import Filter
from workers.store.store import Store

log = logging.getLogger(__name__)

#: Seconds that one read from Redis waits for an announcement.
WAIT = 1.0
#: Delivery ids to remember, so that a call that came twice is shown once.
REMEMBERED = 100_000
#: Seconds before the loss of Redis from which on calls may have been stored without our hearing of it: longer than
#: a call usually waits in the backlog.
UNHEARD = 300


def followed(settings: Settings, store: Store, wanted: Filter) -> Iterator[Event]:
    """Events as they are stored, without end; those already stored come first if `wanted` has a `since`.

    A Redis that is lost on the way is waited for. What was stored meanwhile is looked up, unless its call is older
    than `UNHEARD` seconds before that: then it is not shown.

    Raises:
        Unavailable: Redis cannot be used at the start, or the database became unavailable.
    """
    wanted = store.known(wanted)
    seen: dict[bytes, None] = {}
    outage = Outage(log, "new events are shown once Redis serves again")
    began = time.time()
    stored = store.find(wanted) if wanted.since is not None else iter(())
    with redis_client.connect(settings.redis) as client:
        redis_client.require(client, settings.redis)
    while True:
        try:
            with redis_client.connect(settings.redis) as client:
                announced = Announcements(client).listen(WAIT)
                next(announced)  # from here on nothing is missed
                yield from _remembering(stored, seen)  # the first time: then it is used up
                if outage.is_on:
                    yield from _unseen(_since(store, wanted, max(began, outage.began - UNHEARD)), seen)
                    outage.served()
                yield from _announced(announced, store, wanted, seen)
                return
        except redis.RedisError as error:
            outage.failed(error)
        time.sleep(outage.pause)


def _announced(
    announced: Iterator[list[bytes]], store: Store, wanted: Filter, seen: dict[bytes, None]
) -> Iterator[Event]:
    for delivery_ids in announced:
        new = [delivery_id for delivery_id in delivery_ids if delivery_id not in seen]
        for at in range(0, len(new), FETCH_SIZE):
            stored = store.with_ids(new[at : at + FETCH_SIZE])
            yield from _remembering((event for event in stored if wanted.fits(event)), seen)


def _since(store: Store, wanted: Filter, moment: float) -> Iterator[Event]:
    """The events whose calls came in at that Unix time or later: a delivery id begins with its time."""
    for page in store.pages(wanted, int(moment).to_bytes(4, "big"), FETCH_SIZE):
        yield from page


def _unseen(events: Iterable[Event], seen: dict[bytes, None]) -> Iterator[Event]:
    yield from _remembering((event for event in events if event.delivery_id not in seen), seen)


def _remembering(events: Iterable[Event], seen: dict[bytes, None]) -> Iterator[Event]:
    """The events, whose delivery ids are added to `seen`; the oldest are forgotten."""
    for event in events:
        seen[event.delivery_id] = None
        if len(seen) > REMEMBERED:
            del seen[next(iter(seen))]
        yield event
