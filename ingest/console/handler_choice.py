"""Which handlers there are to choose from, found out without importing users' code into the console."""

import asyncio
import time
from dataclasses import dataclass

from aiohttp import web

from ingest.console.reading import reading_of
from ingest.errors import Unavailable
from ingest.stream.pauses import HANDLER, QUEUE, Pauses
from workers.handlers.listing import Described, Registered, registered
from workers.operations.event.handing import letters, waiting

#: Seconds for which what was found is shown again: a new release restarts the workers, and people look again then.
FRESH = 30.0
#: Seconds that importing all modules of handlers may take before a page says so.
PATIENCE = 8.0


class Handlers:
    """What handlers there are, as it was found out last."""

    def __init__(self) -> None:
        self._found: tuple[float, Registered] | None = None
        self._asking = asyncio.Lock()

    async def of(self, request: web.Request) -> Registered:
        """The handlers that the settings name, and why others are missing.

        Raises:
            Unavailable: that takes too long.
        """
        reading = reading_of(request)
        async with self._asking:  # one process that imports them at a time, however often the page is loaded
            if self._found is None or time.monotonic() - self._found[0] > FRESH:
                found = await reading.run(lambda: registered(reading.settings, PATIENCE), PATIENCE + 2)
                self._found = time.monotonic(), found
            return self._found[1]


HANDLERS = web.AppKey("handlers", Handlers)


@dataclass(frozen=True, slots=True)
class Choice:
    """A handler to which one event may be handed."""

    handler: Described
    #: Whether it asks for events of this type.
    takes: bool
    #: None where Redis cannot say it.
    is_paused: bool | None
    #: Whether the event waits for it already, and whether it gave the event up.
    waits: bool
    gave_up: bool

    @property
    def name(self) -> str:
        """What it is called."""
        return self.handler.name


@dataclass(frozen=True, slots=True)
class Choices:
    """All of them, and sentences on why some may be missing."""

    choices: tuple[Choice, ...]
    problems: tuple[str, ...]


async def choices(request: web.Request, delivery_id: bytes, kind: str) -> Choices:
    """The handlers to which an event of a type may be handed.

    Raises:
        Unavailable: the database cannot be used now.
    """
    reading = reading_of(request)
    found = await request.app[HANDLERS].of(request)
    pending = await reading.store(lambda store: waiting(store, delivery_id))
    given_up = await reading.store(lambda store: letters(store, delivery_id))
    paused = await _paused(request)
    waits, gave_up = {one.handler for one in pending.waits}, {one.handler for one in given_up}
    return Choices(
        tuple(
            Choice(
                handler,
                handler.types is None or kind in handler.types,
                None if paused is None else HANDLER + handler.name in paused or f"{QUEUE}handlers" in paused,
                handler.name in waits,
                handler.name in gave_up,
            )
            for handler in found.handlers
        ),
        found.problems,
    )


async def _paused(request: web.Request) -> frozenset[str] | None:
    try:
        pauses = await reading_of(request).redis(lambda client: Pauses(client).all())
    except Unavailable:
        return None
    return frozenset(pause.name for pause in pauses)
