"""Copernica's REST API for handlers that write back: the fake of `ingest fake-api`, on a socket of its own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from aiohttp import web

from ingest.simulation import profiles
from ingest.simulation.api_faults import Faults
from ingest.simulation.calls import DATABASE
from ingest.simulation.fake_api import FakeCopernica, serve
from ingest.simulation.profiles import Entity

#: What the fake takes for a token.
TOKEN = "test-token"  # noqa: S105  # of a fake
#: Seconds for which it may take to start and to stop.
PATIENCE = 30.0


class FakeApi:
    """Copernica's REST API, as far as `ingest fake-api` has it: profiles above all."""

    def __init__(self, fake: FakeCopernica, url: str) -> None:
        self._fake = fake
        #: The settings with which the client of this program finds it.
        self.environ = {
            "COPERNICA_API_URL": f"{url}/v4",
            "COPERNICA_AUTH_URL": url,
            "COPERNICA_TOKEN": fake.token,
        }

    @property
    def requests(self) -> list[str]:
        """What was asked so far, as `GET /profile/1`."""
        return list(self._fake.seen)

    def add_profile(self, number: int, database: int = DATABASE, **fields: str) -> None:
        """Have a profile with these fields."""
        with self._fake.truth.writing() as db:
            profiles.save(db, Entity("profile", number, database, None, fields, {}, 0, 0, None))

    def fields_of(self, number: int) -> dict[str, Any]:
        """The fields of a profile.

        Raises:
            KeyError: there is no such profile.
        """
        with self._fake.truth.writing() as db:
            found = profiles.found(db, "profile", number)
        if found is None:
            raise KeyError(number)
        return found.fields

    def fail(self, plan: str) -> None:
        """Have the next requests fail as `ingest fake-api --fail` has it: `503*9@profile`, say."""
        self._fake.faults = Faults(plan)


@contextmanager
def fake_api() -> Iterator[FakeApi]:
    """The API, while the block runs."""
    fake = FakeCopernica(None, TOKEN)
    with serving(fake.app()) as url:
        yield FakeApi(fake, url)


@contextmanager
def serving(app: web.Application) -> Iterator[str]:
    """Serve an application from a thread while the block runs; gives its URL."""
    began = threading.Event()
    said: list[str] = []
    failed: list[Exception] = []
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    def ready(url: str) -> None:
        said.append(url)
        began.set()

    async def run() -> None:
        task = asyncio.create_task(serve(app, "127.0.0.1", 0, ready))
        running.append((asyncio.get_running_loop(), task))
        with suppress(asyncio.CancelledError):
            await task

    def work() -> None:
        try:
            asyncio.run(run())
        except Exception as error:
            failed.append(error)
        finally:
            began.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        began.wait(PATIENCE)
        if not said:
            why = f": {failed[0]}" if failed else ""
            raise RuntimeError(f"the fake API does not come up{why}") from next(iter(failed), None)
        yield said[0]
    finally:
        for loop, task in running:
            with suppress(RuntimeError):  # it has ended already
                loop.call_soon_threadsafe(task.cancel)
        thread.join(PATIENCE)
