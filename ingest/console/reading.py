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
#: Seconds that a page waits for an answer.
PATIENCE = 10.0


class Reading:
    """Asks the store and Redis. Close it at the end."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._of_store, self._of_redis = Threads(THREADS, "reading"), Threads(THREADS, "redis")
        self._lock = threading.Lock()
        self._store: Store | None = None

    async def store(self, ask: Callable[[Store], T], patience: float = PATIENCE, stops: bool = True) -> T:
        """What a function of the store returns, called in a thread.

        Where that is an action, it does not stop when nobody waits for it any more: it `stops` not.

        Raises:
            Unavailable: the database cannot be used now, or does not answer in time.
        """

        def asked() -> T:
            with within(patience) if stops else nullcontext():
                return ask(self._opened())

        return await self._in_thread(self._of_store, asked, patience, "The database")

    async def redis(self, ask: Callable[[Redis], T], patience: float = PATIENCE) -> T:
        """What a function of a client of Redis returns, called in a thread.

        Raises:
            Unavailable: Redis cannot be used now, or does not answer in time.
        """
        return await self._in_thread(self._of_redis, lambda: self._with_client(ask), patience, "Redis")

    async def run(self, ask: Callable[[], T], patience: float = PATIENCE) -> T:
        """What a function returns that asks Redis, or disks, for itself; called in a thread.

        Raises:
            Unavailable: there is no answer in time, or as `ask` says.
        """
        return await self._in_thread(self._of_redis, ask, patience, "What was asked")

    def close(self) -> None:
        """Ask nothing any more; what is still asked is not waited for."""
        self._of_store.close()
        self._of_redis.close()
        if not self._lock.acquire(blocking=False):  # a thread waits for a database that does not answer
            return
        with suppress(Unavailable):
            if self._store is not None:
                self._store.close()
        self._lock.release()

    async def _in_thread(self, threads: Threads, ask: Callable[[], T], patience: float, what: str) -> T:
        answer = threads.run(ask)
        try:
            return await asyncio.wait_for(answer, patience)
        except TimeoutError:
            raise Unavailable(f"{what} did not answer within {patience:.0f} s.") from None

    def _opened(self) -> Store:
        with self._lock:
            if self._store is None:
                store = Store.open(self.settings.database)
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


READING = web.AppKey("reading", Reading)


def reading_of(request: web.Request) -> Reading:
    """What a request's page asks."""
    return request.app[READING]
