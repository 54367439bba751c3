"""New events as they are stored, for whoever watches: one listener for the whole process, however many watch.

It listens to what drains announce only while somebody watches. Twice a second, what was announced since is read
once, and each visitor gets what fits their question. However many come in, no more than `SAMPLE` are read at a
time: the newest, and what was left out is told.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

import redis
from aiohttp import web

from ingest import redis_client
from ingest.console.reading import READING, Reading
from ingest.errors import IngestError, Unavailable
from ingest.stream.announcements import Announcements
from workers.store.filters import Filter
from workers.store.lines import Line, with_ids

log = logging.getLogger(__name__)

#: Seconds between two looks at what came in.
EVERY = 0.5
#: Events that are read at each look: a list shows no more, and at any rate they are gone from it soon.
SAMPLE = 300
#: Rows that a visitor is sent at once.
ROWS = 25
#: Announced events of which the newest are remembered until the next look.
REMEMBERED = 5000
#: Seconds that one read from Redis waits; an end of the last visitor is noticed after that.
WAIT = 1.0
#: Seconds after which a Redis that is away is tried again.
RETRY = 2.0
#: Seconds over which the rate is measured.
RATE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class News:
    """What came in since the last look."""

    #: The newest of what fits, the newest first.
    lines: list[Line] = field(default_factory=list)
    #: How many fit, of those that were read.
    fitting: int = 0
    #: How many came in that were not read.
    left_out: int = 0
    #: Events per second, of all kinds.
    rate: float = 0.0
    #: `on`, or `away` while Redis cannot be asked.
    state: str = "on"


@dataclass(slots=True, eq=False)
class _Watching:
    wanted: Filter
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    news: News | None = None


class Tail:
    """Tells visitors of new events. All of it belongs to the event loop, but for `_listen`."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._watching: set[_Watching] = set()
        self._looking: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._announced: deque[bytes] = deque(maxlen=REMEMBERED)
        self._count = 0
        self._state = "on"
        self._told = News()

    async def watched(self, wanted: Filter) -> AsyncIterator[News]:
        """What comes in from now on and fits; the latest of it where a visitor is slow."""
        if wanted.recipient is not None:  # who may be stored under a pseudonym
            given = wanted
            with suppress(IngestError):  # the page itself says why
                wanted = await self._reading.store(lambda store: store.known(given))
        watching = _Watching(wanted)
        self._watching.add(watching)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            yield News(rate=self._told.rate, state=self._state)
            while True:
                await watching.changed.wait()
                watching.changed.clear()
                news, watching.news = watching.news, None
                if news is not None:
                    yield news
        finally:
            self._watching.discard(watching)

    async def close(self) -> None:
        """Tell nobody any more."""
        self._watching.clear()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look(self) -> None:
        """Look at what came in, until nobody watches any more."""
        over = threading.Event()
        thread = threading.Thread(target=self._listen, args=(over,), name="tail", daemon=True)
        thread.start()
        counts: deque[tuple[float, int]] = deque([(time.monotonic(), self._count)])
        try:
            while self._watching:
                await asyncio.sleep(EVERY)
                with self._lock:
                    ids, count = list(self._announced), self._count
                    self._announced.clear()
                came = count - counts[-1][1]
                counts.append((time.monotonic(), count))
                while counts[-1][0] - counts[0][0] > RATE_SECONDS:
                    counts.popleft()
                (began, before), (now, _) = counts[0], counts[-1]
                rate = (count - before) / max(EVERY, now - began)
                await self._tell(ids[-SAMPLE:], came, rate)
        finally:
            over.set()

    async def _tell(self, ids: list[bytes], came: int, rate: float) -> None:
        lines: list[Line] = []
        state = self._state
        if ids:
            try:
                lines = await self._reading.store(lambda store: with_ids(store, ids))
            except Unavailable:
                state = "away"
            except Exception:  # nobody who watches must be left without news for one event that cannot be read
                log.exception("new events cannot be shown")
                state = "away"
        lines.reverse()
        told = News(rate=rate, state=state)
        if not ids and told == self._told:
            return  # nothing has changed for anybody
        self._told = told
        for watching in self._watching:
            fitting = [line for line in lines if watching.wanted.fits(line)]
            earlier = watching.news or News()
            watching.news = News(
                (fitting + earlier.lines)[:ROWS],
                len(fitting) + earlier.fitting,
                max(0, came - len(ids)) + earlier.left_out,
                rate,
                state,
            )
            watching.changed.set()

    def _listen(self, over: threading.Event) -> None:
        """In its thread: note what is announced."""
        url = self._reading.settings.redis
        while not over.is_set():
            try:
                with redis_client.connect(url) as client:
                    for ids in Announcements(client).listen(WAIT):
                        self._state = "on"
                        if over.is_set():
                            return
                        with self._lock:
                            self._announced.extend(ids)
                            self._count += len(ids)
            except redis.RedisError as error:
                if self._state == "on":
                    log.warning("new events cannot be watched: %s", redis_client.unavailable(url, error))
                self._state = "away"
            except Exception:
                log.exception("new events cannot be watched")
                self._state = "away"
            over.wait(RETRY)


_TAIL = web.AppKey("tail", Tail)


def prepare(app: web.Application) -> None:
    """Have an application tell of new events."""
    app[_TAIL] = tail = Tail(app[READING])

    async def close(_app: web.Application) -> None:
        await tail.close()

    app.on_shutdown.append(close)


def tail_of(app: web.Application) -> Tail:
    """What tells the visitors of an application."""
    return app[_TAIL]
