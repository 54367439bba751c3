"""`ingest events --follow`: what is in the store, then what comes in."""

from collections.abc import Iterable, Iterator

import redis

from ingest import redis_client
from ingest.copernica.events import Event
from ingest.errors import Unavailable
from ingest.settings import Settings
from ingest.stream.announcements import Announcements
from workers.store.database import FETCH_SIZE
from workers.store.filters import Filter
from workers.store.store import Store

#: Seconds that one look at Redis waits.
WAIT = 1.0
#: Delivery ids that are remembered, so that a call that came twice is shown once.
REMEMBERED = 100_000


def followed(settings: Settings, store: Store, wanted: Filter) -> Iterator[Event]:
    """Events as they are stored, without end; those that are there already only if `wanted` says since when.

    Raises:
        Unavailable: Redis or the database gave out.
    """
    client = redis_client.connect(settings.redis)
    redis_client.require(client, settings.redis)
    seen: dict[bytes, None] = {}
    announced = Announcements(client).listen(WAIT)
    try:
        next(announced)  # from here on nothing is missed
        if wanted.since is not None:
            yield from _remembered(store.find(wanted), seen)
        for ids in announced:
            new = [delivery_id for delivery_id in ids if delivery_id not in seen]
            for at in range(0, len(new), FETCH_SIZE):
                found = store.with_ids(new[at : at + FETCH_SIZE])
                yield from _remembered((event for event in found if wanted.fits(event)), seen)
    except redis.RedisError as error:
        raise Unavailable(f"Redis gave out ({error}): run it again to go on.") from None
    finally:
        client.close()


def _remembered(events: Iterable[Event], seen: dict[bytes, None]) -> Iterator[Event]:
    for event in events:
        seen[event.delivery_id] = None
        if len(seen) > REMEMBERED:
            del seen[next(iter(seen))]
        yield event
