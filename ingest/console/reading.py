"""The store and Redis, asked in threads: the event loop waits for neither.

The threads are few, so that ten people who search do not take all connections of a small plan. Redis has its own:
where it does not answer, nobody waits for the database because of that, nor the other way round. What is not
answered in time is given up: the page says so, and the database stops working on it.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import TypeVar

from aiohttp import web
from redis import Redis, RedisError

from ingest import redis_client
from ingest.console.threads import Threads
from ingest.errors import Unavailable
from ingest.settings import Settings
from workers.store.patience import within
from workers.store.store import Store

T = TypeVar("T")

#: Questions that are asked of each at the same time.
THREADS = 4
#: What is said of an action that takes longer than its page waits, and of one that other actions keep waiting.
GOES_ON = "It takes longer than a page waits, and goes on: the audit shows when it has ended."
_NOT_BEGUN = "Other actions take long, so this one was not begun: nothing is done. Try again in a minute."
#: Seconds that a page waits for an answer.
PATIENCE = 10.0


class Reading:
    """Asks the store and Redis. Close it at the end."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._of_store, self._of_redis = Threads(THREADS, "reading"), Threads(THREADS, "redis")
        self._of_actions = Threads(THREADS, "acting")
        self._lock = threading.Lock()
        self._store: Store | None = None

    async def store(self, ask: Callable[[Store], T], patience: float = PATIENCE, stops: bool = True) -> T:
        """What a function of the store returns, called in a thread.

        Where that is an action, it does not stop when nobody waits for it any more: it `stops` not. Actions have
        threads of their own, so that pages are served however long those take.

        Raises:
            Unavailable: the database cannot be used now, or does not answer in time.
        """
        began = threading.Event()

        def asked() -> T:
            began.set()
            with within(patience) if stops else nullcontext():
                return ask(self._opened())

        threads = self._of_store if stops else self._of_actions
        try:
            return await asyncio.wait_for(threads.run(asked), patience)
        except TimeoutError:
            if stops:
                raise Unavailable(_late("The database", patience)) from None
            raise Unavailable(GOES_ON if began.is_set() else _NOT_BEGUN) from None

    async def redis(self, ask: Callable[[Redis], T], patience: float = PATIENCE) -> T:
        """What a function of a client of Redis returns, called in a thread.

        Raises:
            Unavailable: Redis cannot be used now, or does not answer in time.
        """
        return await self._of_redis_in_time(lambda: self._with_client(ask), patience, "Redis")

    async def run(self, ask: Callable[[], T], patience: float = PATIENCE) -> T:
        """What a function returns that asks Redis, or disks, for itself; called in a thread.

        Raises:
            Unavailable: there is no answer in time, or as `ask` says.
        """
        return await self._of_redis_in_time(ask, patience, "What was asked")

    def close(self) -> None:
        """Ask nothing any more; what is still asked is not waited for."""
        for threads in (self._of_store, self._of_actions, self._of_redis):
            threads.close()
        if not self._lock.acquire(blocking=False):  # a thread waits for a database that does not answer
            return
        with suppress(Unavailable):
            if self._store is not None:
                self._store.close()
        self._lock.release()

    async def _of_redis_in_time(self, ask: Callable[[], T], patience: float, what: str) -> T:
        try:
            return await asyncio.wait_for(self._of_redis.run(ask), patience)
        except TimeoutError:
            raise Unavailable(_late(what, patience)) from None

    def _opened(self) -> Store:
        with self._lock:
            if self._store is None:
                store = Store.of(self.settings)
                store.hurry()
                self._store = store
            return self._store

    def _with_client(self, ask: Callable[[Redis], T]) -> T:
        url = self.settings.redis
        with redis_client.connect(url) as client:
            try:
                return ask(client)
            except RedisError as error:
                raise redis_client.unavailable(url, error) from None


def _late(what: str, patience: float) -> str:
    return f"{what} did not answer within {patience:.0f} s."


READING = web.AppKey("reading", Reading)


def reading_of(request: web.Request) -> Reading:
    """What a request's page asks."""
    return request.app[READING]
