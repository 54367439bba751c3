"""A worker for handlers inside a test: the code, the tables and the rules of a real one, and a clock that stands.

What is given is stored in a SQLite file as the drain stores it, and handed on, claimed, called and settled by the
same code as in production. Only what needs Redis is not there: rates and pauses hold nothing up.
"""

import asyncio
import importlib
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any, Self

from ingest.batch import unpack
from ingest.copernica.events import EPOCH, MICROS, Event
from ingest.errors import SettingsError
from ingest.simulation.calls import SEEDED_START
from ingest.testing.notes import Notes
from ingest.testing.results import HandlerCall, Summary, Waiting
from ingest.testing.surroundings import alarm_kept, require_no_loop
from workers.handlers import dead_letters, registry
from workers.handlers.batches import BatchRun
from workers.handlers.calls import ClaimRun
from workers.handlers.clock import SharedClock
from workers.handlers.dead_letters import DeadLetter, Wanted
from workers.handlers.outcomes import Outcomes
from workers.handlers.registry import ASYNC_CONCURRENCY, Handler
from workers.handlers.runner import CLAIM_CALLS
from workers.handlers.time_limits import Watchdog
from workers.handlers.turn import Turn
from workers.handlers.work_queue import WorkQueue
from workers.records import read, record_of
from workers.store.filters import Filter
from workers.store.store import Store
from workers.store.tables import handoffs

#: Times that `wait_out` moves the clock, before it takes what waits for endless.
MOST_WAITS = 1000


class _Clock(SharedClock):
    """Stands still until it is moved; in µs since 1970."""

    def __init__(self, micros: int) -> None:
        self.micros = micros

    def now(self) -> int:
        return self.micros


class Workbench:
    """Runs handlers as a worker does. Its clock begins at 2026-11-20 09:00 UTC, and stands still."""

    def __init__(self, database_url: str) -> None:
        """`database_url` is an empty database with our tables; the fixture `copernica` has one made."""
        #: Where events are stored, for code that reads them: an SQLAlchemy URL.
        self.database_url = database_url
        self._handlers: dict[str, Handler] = {}
        #: The functions that these call, by the same names.
        self._functions: dict[str, Callable[..., Any]] = {}
        self._clock = _Clock(SEEDED_START * MICROS)
        self._store = Store.open(database_url)
        self._queue = WorkQueue(self._store, clock=self._clock)
        self._queue.jitter = 0.0
        self._notes = Notes(lambda: self.now)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    # --- which handlers ---

    def use(self, *handlers: str | ModuleType | Callable[..., Any]) -> None:
        """Have these handlers called: of modules, by name or imported, or single functions.

        Raises:
            ValueError: there is no handler.
            SettingsError: two handlers have the same name.
        """
        for one in handlers:
            found = _handlers_of(one)
            if not found:
                raise ValueError(f"{getattr(one, '__name__', one)} has no handler: mark a function with @on(…)")
            for name, handler in found.items():
                self._add(name, handler)

    def _add(self, name: str, handler: Handler) -> None:
        if self._functions.setdefault(name, handler.call) is not handler.call:
            raise SettingsError(registry.same_name(name))  # which is what a worker with both would say
        self._handlers[name] = self._notes.watched(handler)

    def change(self, handler: str, **options: Any) -> None:
        """Give a handler other options than it has: `timeout=0.1`, `retries=1`, `backoff=(1, 2)` and so on.

        Raises:
            ValueError: there is no such handler.
        """
        if handler not in self._handlers:
            raise ValueError(f"there is no handler {handler!r}, but {', '.join(self._handlers) or 'none at all'}")
        if "backoff" in options:  # as `on` has it
            options.setdefault("retries", len(options["backoff"]))
        self._handlers[handler] = replace(self._handlers[handler], **options)

    # --- what happens ---

    def give(self, *events: Event, check: bool = True) -> Summary:
        """Have events come in, and the handlers called that want them; returns what became of them.

        An event that came in before does so in vain, as when Copernica repeats a call.

        Raises:
            Exception: with `check`, what a handler raised, other than `TryLater` and `GiveUp`. It has been dealt
                with by then as a worker does: the events wait to be tried again, or are dead letters.
        """
        self._require_handlers("give")
        self._store.add(events, hand_on={event.delivery_id: record_of(event) for event in events})
        return self._work(check)

    def give_again(self, *events: Event, check: bool = True) -> Summary:
        """Call the handlers with events once more, as when a worker was killed before it had noted the first time.

        Raises:
            Exception: as `give`.
        """
        self._require_handlers("give_again")
        with self._store.writing() as connection:
            for event in events:
                for name in registry.wanting(self._handlers, event.type):
                    self._queue.give(connection, name, [record_of(event)])
        return self._work(check)

    def advance(self, seconds: float | timedelta, check: bool = True) -> Summary:
        """Move the clock, and have called again what is due by then, each at its time.

        Raises:
            ValueError: it would go back, or for ever.
            Exception: as `give`.
        """
        self._require_handlers("advance")
        given = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        if not 0 <= given < math.inf:
            raise ValueError(f"the clock goes on by seconds, 0 or more: {given:g}")
        until, summary = self._clock.micros + int(given * MICROS), Summary()
        while (due := self._next_due()) is not None and due <= until:
            self._clock.micros = max(self._clock.micros, due)
            summary += self._work(check)
        self._clock.micros = until
        return summary

    def wait_out(self, check: bool = False) -> Summary:
        """Move the clock until nothing waits any more: all is done with, or a dead letter.

        Raises:
            RuntimeError: that does not come to an end.
            Exception: with `check`, as `give`.
        """
        summary = Summary()
        for _ in range(MOST_WAITS):
            if (due := self._next_due()) is None:
                return summary
            summary += self.advance(max(0, due - self._clock.micros) / MICROS, check)
        raise RuntimeError(f"after {MOST_WAITS} waits there is still something to try again")

    def retry_dead_letters(self, check: bool = True) -> Summary:
        """Give dead letters to their handlers again, as `ingest failed retry` does.

        Raises:
            Exception: as `give`.
        """
        self._require_handlers("retry_dead_letters")
        for letter in self.dead_letters:
            self._queue.retry(letter.handler, [letter.record])
        return self._work(check)

    # --- what can be looked at ---

    @property
    def now(self) -> datetime:
        """The time by the clock of this test, in UTC."""
        return EPOCH + timedelta(microseconds=self._clock.micros)

    @property
    def calls(self) -> list[HandlerCall]:
        """All calls of handlers so far, the first one first."""
        return self._notes.calls

    @property
    def events(self) -> list[Event]:
        """What is stored, in the order of the delivery ids."""
        return list(self._store.find(Filter()))

    @property
    def waiting(self) -> list[Waiting]:
        """What is tried again later, the next first; events whose handlers are still to be called do not count."""
        found = []
        for row in self._store.rows(handoffs):
            events = [event for record in unpack(bytes(row.packed)) if isinstance(event := read(record), Event)]
            seconds = (row.due_at - self._clock.micros) / MICROS
            found.append(Waiting(row.handler, events, row.attempt, seconds, row.error or ""))
        return sorted(found, key=lambda one: one.seconds)

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """What handlers did not take after their last attempt, or gave up on, the oldest failure first."""
        return list(dead_letters.letters(self._store, Wanted()))

    # --- the worker ---

    def _require_handlers(self, method: str) -> None:
        """Make sure, before anything is changed, that handlers can be called by this method."""
        if not self._handlers:
            raise RuntimeError("there is no handler to call: begin with copernica.use('your_module')")
        require_no_loop(method)

    def _next_due(self) -> int | None:
        """When the next call is due that waits; in µs since 1970."""
        seconds = self._queue.next_due(self._handlers)
        return None if seconds is None else self._clock.micros + math.ceil(seconds * MICROS)

    def _work(self, check: bool) -> Summary:
        """Hand on what was stored, and call the handlers for which something is due."""
        self._notes.forget_errors()
        summary = Summary()
        self._queue.dispatch(self._handlers)
        with alarm_kept():
            while due := [name for name in self._queue.due() if name in self._handlers]:
                for name in due:
                    summary += self._run(self._handlers[name])
        if check:
            self._notes.raise_first()
        return summary

    def _run(self, handler: Handler) -> Summary:
        turn = Turn(math.inf)
        outcomes = Outcomes(handler, None, turn, self._notes)
        self._notes.running = handler.name
        slots = (handler.concurrency or ASYNC_CONCURRENCY) if handler.is_async and handler.batch is None else 1
        kind = ClaimRun if handler.batch is None else BatchRun
        with asyncio.Runner() as runner:
            while (claim := self._queue.claim(handler, max(CLAIM_CALLS, handler.batch or 0), slots)) is not None:
                # The real one ends the process, which is that of all tests here.
                watchdog = Watchdog(handler.name, handler.timeout, end=lambda: None)
                kind(handler, self._queue, claim, turn, None, outcomes, False, watchdog=watchdog).run(runner)
            if handler.finish is not None:
                runner.run(handler.finish())
        found = outcomes.summary
        return Summary(found.done, found.unwanted, found.failed)


def _handlers_of(one: str | ModuleType | Callable[..., Any]) -> dict[str, Handler]:
    if isinstance(one, str):
        one = importlib.import_module(one)
    if isinstance(one, ModuleType):
        return registry.imported([one.__name__])
    return registry.marked(one)
