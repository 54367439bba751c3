"""Sessions that were ended by hand: they are remembered until they would have ended by themselves.

In memory and, where sessions outlast this process (`INGEST_CONSOLE_SECRET`), in a table, too: so one that was
ended stays so after a restart, and is so within seconds for consoles beside this one. While the database is
away, what others ended is not known, and the console goes on: it is needed most then.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from ingest.console.reading import Reading
from ingest.console.sessions import Session
from ingest.errors import IngestError
from workers.operations import ended_sessions

log = logging.getLogger(__name__)

#: Seconds between two looks at what others have ended.
LOOK_EVERY = 10.0
#: Seconds that a request waits for the first look.
PATIENCE = 2.0
#: Sessions that are remembered at most: more than anybody ends by hand in a week.
MOST = 10_000


class Ended:
    """The sessions that were ended."""

    def __init__(self, reading: Reading, lasting: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._reading, self._lasting, self._clock = reading, lasting, clock
        self._until: dict[bytes, int] = {}
        self._looked: float | None = None
        self._look: asyncio.Task[None] | None = None

    def __contains__(self, session: Session) -> bool:
        return session.id in self._until

    async def look(self) -> None:
        """Find out what others have ended, if that was not done lately; only the first look is waited for."""
        if not self._lasting:
            return
        if self._look is None and (self._looked is None or self._clock() - self._looked >= LOOK_EVERY):
            self._look = asyncio.create_task(self._look_now())
        if self._looked is None and self._look is not None:
            await asyncio.wait([self._look], timeout=PATIENCE)
            self._looked = self._clock()  # nobody waits twice

    async def add(self, session: Session) -> None:
        """End one."""
        self._remember({session.id: session.until})
        if self._lasting:
            try:
                await self._reading.store(partial(ended_sessions.add, session_id=session.id, until=session.until))
            except IngestError as error:
                log.warning("a session that was ended is remembered only until this process stops: %s", error)

    async def close(self) -> None:
        """Look no more."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.gather(self._look, return_exceptions=True)

    async def _look_now(self) -> None:
        try:
            self._remember(await self._reading.store(ended_sessions.all_of))
        except IngestError as error:
            log.debug("which sessions were ended is not known: %s", error)
        finally:
            self._looked = self._clock()
            self._look = None

    def _remember(self, more: dict[bytes, int]) -> None:
        now = time.time()
        both = {**self._until, **more}
        kept = sorted(((until, one) for one, until in both.items() if until > now), reverse=True)[:MOST]
        self._until = {one: until for until, one in kept}
