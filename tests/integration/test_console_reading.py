"""The threads in which the console asks the store, and acts in it."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.console import reading as module
from ingest.console.reading import THREADS, Reading
from ingest.errors import Unavailable
from ingest.settings import Settings
from workers.store.schema import upgrade
from workers.store.store import Store


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    upgrade(url := f"sqlite:///{tmp_path}/ingest.db")
    return Reading(Settings.read({"DATABASE_URL": url, "REDIS_URL": "redis://127.0.0.1:1/0"}))


def waiting_for(over: threading.Event, began: threading.Semaphore) -> Callable[[Store], int]:
    def act(_store: Store) -> int:
        began.release()
        over.wait(20)
        return 1

    return act


async def test_pages_are_served_while_actions_take_long(reading: Reading) -> None:
    over, began, done = threading.Event(), threading.Semaphore(0), list[int]()
    long = waiting_for(over, began)
    acting = [asyncio.create_task(reading.store(long, 20, stops=False)) for _ in range(THREADS)]
    try:
        for _ in acting:
            assert await asyncio.to_thread(began.acquire, timeout=10)
        assert [await reading.store(Store.stored, 10) for _ in range(THREADS + 1)] == [0] * (THREADS + 1)
        with pytest.raises(Unavailable, match="not begun: nothing is done"):
            await reading.store(lambda _: done.append(1), 0.05, stops=False)
    finally:
        over.set()
    assert await asyncio.gather(*acting) == [1] * THREADS
    await reading.store(lambda _: None, stops=False)
    assert done == [], "it is not done later either"
    reading.close()


@pytest.mark.slow
async def test_an_action_that_takes_longer_than_its_page_waits_goes_on(reading: Reading) -> None:
    over, began = threading.Event(), threading.Semaphore(0)
    ended = threading.Event()

    def act(store: Store) -> None:
        waiting_for(over, began)(store)
        ended.set()

    acting = asyncio.create_task(reading.store(act, 2.0, stops=False))
    try:
        assert await asyncio.to_thread(began.acquire, timeout=10)
        with pytest.raises(Unavailable, match=module.GOES_ON[:20]):
            await acting
    finally:
        over.set()
    assert await asyncio.to_thread(ended.wait, 10)
    reading.close()
