"""`ingest events --follow`: the events in the store, then new ones as they are stored."""

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

#: Seconds that one read from Redis waits for an announcement.
WAIT = 1.0
#: Delivery ids to remember, so that a call that came twice is shown once.
REMEMBERED = 100_000


def followed(settings: Settings, store: Store, wanted: Filter) -> Iterator[Event]:
    """Events as they are stored, without end; those already stored come first if `wanted` has a `since`.

    Raises:
        Unavailable: Redis or the database became unavailable.
    """
    seen: dict[bytes, None] = {}
    try:
        with redis_client.connect(settings.redis) as client:
            redis_client.require(client, settings.redis)
            announced = Announcements(client).listen(WAIT)
            next(announced)  # from here on nothing is missed
            if wanted.since is not None:
                yield from _remembering(store.find(wanted), seen)
            for delivery_ids in announced:
                new = [delivery_id for delivery_id in delivery_ids if delivery_id not in seen]
                for at in range(0, len(new), FETCH_SIZE):
                    stored = store.with_ids(new[at : at + FETCH_SIZE])
                    yield from _remembering((event for event in stored if wanted.fits(event)), seen)
    except redis.RedisError as error:
        raise Unavailable(f"The connection to Redis was lost ({error}): run the command again.") from None


def _remembering(events: Iterable[Event], seen: dict[bytes, None]) -> Iterator[Event]:
    """The events, whose delivery ids are added to `seen`; the oldest are forgotten."""
    for event in events:
        seen[event.delivery_id] = None
        if len(seen) > REMEMBERED:
            del seen[next(iter(seen))]
        yield event
