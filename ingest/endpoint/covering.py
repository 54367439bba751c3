"""Tells Redis what this process surely takes, and the disk, where another process finds it after a kill.

In the rounds of maintenance Redis is told, as long as it serves; at every tick the folder of the spool is, so that
neither an outage of Redis nor a kill makes a gap of what was taken. Nothing of this happens when a call comes in.
A thread of its own writes the notes: the event loop wakes it and does not wait for it, as a disk may hang. It also
sees whether others have left something in that folder.
"""

import asyncio
import logging
import threading
import time
from contextlib import AbstractAsyncContextManager
from secrets import token_hex
from types import TracebackType

from ingest.endpoint.coverage import TICK, EndpointCoverage, Measured
from ingest.endpoint.intake import Intake
from ingest.spool import Spool
from ingest.spool.notes import Notes
from ingest.stream.coverage import Coverage, Statement
from ingest.stream.uptime import boot, up

log = logging.getLogger(__name__)

#: Seconds between two times that a note is forced to disk while Redis is not told: a crash of the machine takes so
#: much with it at most.
SYNC_EVERY = 5.0
#: Seconds that a stopping process waits for a disk that does not answer.
CLOSE_TIMEOUT = 2.0


class Covering(AbstractAsyncContextManager["Covering"]):
    """What one process tells of its coverage. At the end of its block, a note of what Redis was not told stays."""

    def __init__(self, name: str, intake: Intake, table: Coverage, spool: Spool | None) -> None:
        """`name` is that of the process; another one may have it later."""
        self._coverage = EndpointCoverage(f"{name}:{token_hex(4)}", intake.under_way, intake.losses, boot())
        self._table = table
        self._spool = spool
        self._notes = None if spool is None else Notes(spool.folder)
        self._noting: threading.Thread | None = None
        #: Set when there is something to note.
        self._note_is_due = threading.Event()
        self._is_closing = False
        self._synced_at = self._told_at = time.monotonic()
        self._is_trimmed = False
        self._telling = threading.Lock()
        #: Whether all is said that there is, and whether Redis was told.
        self._has_ended = self._is_known = False

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._noting is None:
            return
        self._is_closing = True
        self._note_is_due.set()
        await asyncio.to_thread(self._noting.join, CLOSE_TIMEOUT)

    # --- in the event loop ---

    async def run(self) -> None:
        """Calls are taken from now on: tick and note, until cancelled."""
        self._coverage.start()
        while True:
            try:
                self._coverage.tick()
                self._take_damages()
                if self._notes is not None and self._noting is None:
                    self._noting = self._start_noting(self._notes)
                self._note_is_due.set()
            except Exception:  # the next tick must come, whatever is wrong with this one
                log.exception("what was taken could not be noted")
            await asyncio.sleep(TICK)

    def stop(self) -> None:
        """No new calls are taken from now on."""
        self._coverage.stop()

    def end(self) -> None:
        """All calls are answered that will be."""
        self._coverage.end()
        self._has_ended = True

    def told(self, statements: list[Statement]) -> None:
        """Redis knows this, if anything."""
        if statements:
            self._coverage.told(statements)
            self._is_known = self._has_ended

    def _take_damages(self) -> None:
        if self._spool is None:
            return
        damages, self._spool.damages = self._spool.damages, []
        for since, through in damages:
            self._coverage.damaged(since, through)

    # --- in threads ---

    def _start_noting(self, notes: Notes) -> threading.Thread:
        thread = threading.Thread(target=self._keep_noting, args=(notes,), name="coverage-notes", daemon=True)
        thread.start()
        return thread

    def _keep_noting(self, notes: Notes) -> None:
        """Note how things stand after every tick, and at last what Redis does not know."""
        is_last = False
        while not is_last:
            self._note_is_due.wait()
            self._note_is_due.clear()
            is_last = self._is_closing
            try:
                if not (is_last and self._is_known):
                    self._note(notes)
                if self._spool is not None:
                    self._spool.peek()
            except Exception:  # the next note must come, whatever is wrong with this one
                log.exception("what was taken could not be noted")
        notes.close(remove=self._is_known)

    def _note(self, notes: Notes) -> None:
        now = time.monotonic()
        is_due = min(now - self._told_at, now - self._synced_at) >= SYNC_EVERY
        text = b"\n".join(one.as_json() for one in self._coverage.statements())
        if text and notes.write(text, sync=is_due) and is_due:
            self._synced_at = now

    def tell(self) -> list[Statement]:
        """Tell Redis, first what dead processes had noted; returns what was told, for `told`.

        Raises:
            redis.RedisError: Redis failed; the next round tells all that was not.
        """
        with self._telling:  # what a stop has to say must not be overtaken by what a round had to say before it
            if not self._is_trimmed:
                self._table.trim()
                self._is_trimmed = True
            self._tell_of_the_dead()
            before = up()
            now = self._table.time()
            self._coverage.measured(Measured(now, before, up()))
            statements = self._coverage.statements()
            self._table.state(statements)
            self._told_at = time.monotonic()
            return statements

    def _tell_of_the_dead(self) -> None:
        if self._notes is None:
            return
        for note in self._notes.found():
            lines = (Statement.from_json(line) for line in note.text.split(b"\n"))
            found = [one._replace(is_found=True) for one in lines if one is not None]
            self._table.state(found)
            self._notes.remove(note.path)
