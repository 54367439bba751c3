"""What goes on now, asked once for all who look: ten open consoles cost as much as one.

Five questions, each asked by a thread of its own, never twice at a time, and except for the first only while
somebody looks:

    pulse      the counters of the stream: one round trip. Also while nobody looks, though less often, so that the
               chart is there when somebody opens the page
    redis      what `ingest status` knows of Redis: reports, workers, pauses
    store      what it knows of the database
    speeds     how fast handlers are, from what is kept of their last runs
    days       how the last days stand

Whoever looks is given the latest picture. Nobody is waited for: who is slow misses pictures.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, NamedTuple, TypeVar

import redis
from aiohttp import web

from ingest import partitions, redis_client
from ingest.console.threads import Threads
from ingest.errors import IngestError, SchemaMissing, Unavailable
from ingest.settings import Settings
from ingest.stream.consumer import Consumer, Pulse
from ingest.stream.partitions import Partitions, together
from workers.handlers.speed import Speed, seen, speed
from workers.operations import status
from workers.operations.calendar import DayStanding, standings
from workers.operations.figures import StatusFigures
from workers.operations.warnings import Level
from workers.store.store import Store

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Questions that are asked, each by a thread.
QUESTIONS = 5
#: Seconds between two questions while somebody looks. Reports come every 3 s; the database is spared.
PULSE_EVERY, REDIS_EVERY, STORE_EVERY, SPEEDS_EVERY, DAYS_EVERY = 1.0, 3.0, 10.0, 10.0, 60.0
#: Seconds between two pulses while nobody does: 17,000 round trips a day.
QUIET_PULSE_EVERY = 5.0
#: A question that takes long is asked rarely: for each second of its answer, so many of silence.
SPARE = 4.0
#: Seconds after which it is said that there is no answer; it is waited for all the same.
PATIENCE = 8.0
#: Seconds after a page was loaded for which somebody still looks.
LINGER = 20.0
#: Seconds that a page waits for answers that nobody has yet.
PAGE_WAITS = 2.0
#: Seconds of history, and points that it may have: one a second.
HISTORY, MOST_POINTS = 900.0, 1000
#: Seconds that a stream server may take to say how it stands.
PULSE_PATIENCE = 2.0
#: Seconds for which what is known counts on pages that do not wait for anything newer.
STALE = 120.0
#: Handlers whose speed is looked up.
MOST_HANDLERS = 50
#: Days of the strip.
DAYS = 30


class Point(NamedTuple):
    """A point of the chart: Unix time in seconds, events per second since the point before, and the backlog."""

    at: float
    taken: float
    stored: float
    backlog: int


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known at a moment; None: nobody has asked yet."""

    number: int = 0
    figures: StatusFigures | None = None
    pulse: Pulse | Unavailable | None = None
    days: list[DayStanding] | Unavailable | None = None
    speeds: Mapping[str, Speed] | Unavailable | None = None
    #: Whether the database was asked yet, and why it does not answer.
    store_asked: bool = False


class Trouble(NamedTuple):
    """How much is wrong."""

    alarms: int
    warnings: int


class Question(Generic[T]):
    """Something that is asked again and again, by one thread at a time."""

    def __init__(self, name: str, ask: Callable[[], T], every: float, quiet: float | None = None) -> None:
        """It is asked `every` so many seconds while somebody looks, else each `quiet` ones; None: not at all."""
        self.name, self.every, self.quiet = name, every, quiet
        self._ask = ask
        self.answer: T | Unavailable | None = None
        #: When it was answered (monotonic seconds).
        self.at = float("-inf")
        #: Seconds after that for which it is not asked again, since the answer took long.
        self.spared = 0.0

    def asked(self) -> T | Unavailable:
        """The answer, or why there is none; whatever goes wrong, it can be asked again."""
        try:
            return self._ask()
        except IngestError as error:
            return error if isinstance(error, Unavailable) else Unavailable(str(error))
        except Exception as error:
            log.exception("%s cannot be looked at", self.name)
            return Unavailable(f"That failed ({type(error).__name__}): the log of the console says more.")


class Hub:
    """The latest picture, and the history of the last minutes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened = ExitStack()
        self._streams: Partitions | None = None
        #: The last of each stream.
        self._pulses: dict[str, Pulse] = {}
        self._threads = Threads(QUESTIONS + 1, "hub")
        self._figures: StatusFigures | None = None
        self._composing = asyncio.Lock()
        self.points: deque[Point] = deque(maxlen=MOST_POINTS)
        self._last_pulse: Pulse | None = None
        self.picture = Picture()
        self._news = asyncio.Event()
        self._looked = asyncio.Event()
        self._watching, self._looked_at = 0, float("-inf")
        self.pulse = Question("the stream", self._ask_pulse, PULSE_EVERY, QUIET_PULSE_EVERY)
        self.redis = Question("Redis", lambda: status.redis_figures(settings), REDIS_EVERY)
        self.store = Question("the database", lambda: status.store_figures(settings), STORE_EVERY)
        self.speeds = Question("the handlers", self._ask_speeds, SPEEDS_EVERY)
        self.days = Question("the days", self._ask_days, DAYS_EVERY)
        self._questions = (self.pulse, self.redis, self.store, self.speeds, self.days)

    # --- for those who look ---

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Somebody looks for as long as this lasts."""
        self._watching += 1
        self._looked.set()
        try:
            yield
        finally:
            self._watching -= 1
            self._looked_at = _now()

    async def looked_at(self) -> Picture:
        """What a page shows that was just asked for: young answers, or what there is after `PAGE_WAITS`."""
        began = self._looked_at = _now()
        self._looked.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(PAGE_WAITS):
                for question in self._questions:
                    while question.at < began - 2 * question.every:
                        await self._news.wait()
        return self.picture

    def glance(self) -> Trouble | None:
        """What is wrong, by what is known already, for any page. None: nobody has asked lately."""
        self._looked_at = _now()
        self._looked.set()
        if self.picture.figures is None or self._looked_at - self.redis.at > STALE:
            return None
        levels = [warning.level for warning in self.picture.figures.warnings]
        return Trouble(levels.count(Level.ALARM), levels.count(Level.WARNING))

    async def changes(self) -> AsyncIterator[Picture]:
        """The picture of now, and each later one that whoever asks is quick enough for."""
        with self.watched():
            while True:
                news = self._news
                yield self.picture
                await news.wait()

    # --- asking ---

    async def run(self) -> None:
        """Ask, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for question in self._questions:
                group.create_task(self._keep_asking(question))

    def close(self) -> None:
        """Ask nothing any more; what is still asked is not waited for."""
        self._threads.close()
        self._opened.close()

    @property
    def is_watched(self) -> bool:
        """Whether somebody looks."""
        return self._watching > 0 or _now() - self._looked_at < LINGER

    async def _keep_asking(self, question: Question[Any]) -> None:
        while True:
            await self._until_due(question)
            began = _now()
            asked = self._threads.run(question.asked)
            while not (await asyncio.wait([asked], timeout=PATIENCE))[0]:
                silence = Unavailable(f"There is no answer for {_now() - began:.0f} s.")
                await self._note(question, silence)
            await self._note(question, asked.result())
            question.spared = SPARE * (question.at - began)

    async def _note(self, question: Question[Any], answer: object) -> None:
        """Take an answer into the picture; the spool and the disks are looked at, too."""
        question.answer = answer
        if isinstance(answer, Pulse):
            self._add_point(answer)
        elif question in (self.redis, self.store):
            async with self._composing:  # one after the other: the last one knows of all answers
                figures = await self._threads.run(Question("the spool", self._compose, 0.0).asked)
                self._figures = None if isinstance(figures, Unavailable) else figures
        number = self.picture.number + 1
        self.picture = Picture(
            number,
            self._figures,
            self.pulse.answer,
            self.days.answer,
            self.speeds.answer,
            self.store.answer is not None,
        )
        question.at = _now()  # only now: who waits for it sees it in the picture
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _until_due(self, question: Question[Any]) -> None:
        while True:
            every = question.every if self.is_watched else question.quiet
            left = None if every is None else question.at + max(every, question.spared) - _now()
            if left is not None and left <= 0:
                return
            self._looked.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._looked.wait()

    def _compose(self) -> StatusFigures | None:
        in_redis = self.redis.answer
        return None if in_redis is None else status.together(self._settings, in_redis, self.store.answer)

    # --- the questions, in threads ---

    def _ask_pulse(self) -> Pulse:
        if self._streams is None:
            self._streams = self._opened.enter_context(partitions.opened(self._settings, patience=PULSE_PATIENCE))
        try:
            # One that is away counts as it was: else its return would look like a flood.
            self._pulses |= self._streams.each(Consumer.pulse)
            return together(list(self._pulses.values()))
        except redis.RedisError as error:
            raise redis_client.unavailable(self._settings.redis, error) from None

    def _ask_speeds(self) -> Mapping[str, Speed]:
        now = time.time_ns() // 1000
        try:
            with Store.of(self._settings) as store:
                return {name: speed(store, name, now) for name in seen(store, MOST_HANDLERS)}
        except SchemaMissing:
            return {}

    def _ask_days(self) -> list[DayStanding]:
        today = datetime.now(UTC).date()
        try:
            with Store.of(self._settings) as store:
                return standings(store, today - timedelta(days=DAYS - 1), today)
        except SchemaMissing:
            return []

    def _add_point(self, pulse: Pulse) -> None:
        """Keep a point of the history."""
        before, self._last_pulse = self._last_pulse, pulse
        if before is None or pulse.at <= before.at:
            return
        seconds = pulse.at - before.at
        # Counts that fall were set right, or those of a Redis that was emptied.
        taken, stored = max(0, pulse.accepted - before.accepted), max(0, pulse.drained - before.drained)
        self.points.append(Point(pulse.at, round(taken / seconds, 1), round(stored / seconds, 1), pulse.backlog))
        while self.points[0].at < pulse.at - HISTORY:
            self.points.popleft()


def _now() -> float:
    return asyncio.get_running_loop().time()


HUB = web.AppKey("hub", Hub)


def hub_of(request: web.Request) -> Hub:
    """What a request's page looks at."""
    return request.app[HUB]


async def running(app: web.Application) -> AsyncIterator[None]:
    """Have an application's hub ask for as long as that runs."""
    hub = app[HUB]
    task = asyncio.create_task(hub.run())
    task.add_done_callback(_say_if_failed)
    yield
    task.cancel()
    await asyncio.wait([task])
    hub.close()


def _say_if_failed(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("nothing is looked at any more", exc_info=error)
