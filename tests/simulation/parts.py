"""The parts of the whole, each in the words of its real counterpart."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ingest.endpoint.limits import MAINTENANCE_INTERVAL
from ingest.stream.consumer import RECLAIM_IDLE_MS
from tests.simulation.history import History
from tests.simulation.parameters import (
    CLAIM_MAX,
    COMMIT_CALLS,
    LINGER_MS,
    MOST_WRITES,
    RETRY_FIRST,
    RETRY_MOST,
    SLICE,
    Setup,
)
from tests.simulation.timeline import Timeline

#: Share of a stream server's memory that the backlog may use (`INGEST_BUFFER_MAX`).
BACKLOG_SHARE = 0.6
#: Seconds between two tries to send a spool on, and most events of one.
SEND_ON_EVERY, SEND_ON_MOST = 1.0, 100_000
#: Seconds after which what a drain had claimed that broke off is taken over.
RECLAIM = RECLAIM_IDLE_MS / 1000


class Entry(NamedTuple):
    """A batch in a stream: its events, and when the first of them came."""

    events: int
    since: float


class StreamServer:
    """Redis: does all that has come since it last looked, then one fsync, then confirms."""

    def __init__(self, timeline: Timeline, setup: Setup, history: History) -> None:
        self._timeline, self._setup, self._history = timeline, setup, history
        self._asked: list[tuple[Entry, Callable[[], object]]] = []
        self._busy = False
        self._on_the_way = 0
        self.entries: deque[Entry] = deque()
        #: Entries that a drain has claimed, and the events of both.
        self.claimed: dict[int, Entry] = {}
        self.events = 0
        #: Told when something has come.
        self.wake: Callable[[], object] = lambda: None

    @property
    def load(self) -> int:
        """Events in it and on their way to it: a batch goes where there are the fewest."""
        return self.events + self._on_the_way

    @property
    def is_full(self) -> bool:
        """Whether the backlog uses as much of the memory as it may."""
        return self.load * self._setup.figures.stream_bytes >= self._setup.memory * BACKLOG_SHARE

    @property
    def oldest(self) -> float | None:
        """When the event came that has waited longest."""
        claimed = min((entry.since for entry in self.claimed.values()), default=None)
        waiting = self.entries[0].since if self.entries else None
        return min((each for each in (claimed, waiting) if each is not None), default=None)

    def append(self, entry: Entry, confirm: Callable[[], object]) -> None:
        """Keep a batch, and say so once it is on disk."""
        self._asked.append((entry, confirm))
        self._on_the_way += entry.events
        if not self._busy:
            self._work()

    def _work(self) -> None:
        asked, self._asked = self._asked, []
        self._busy = bool(asked)
        if not asked:
            return
        events = sum(entry.events for entry, _ in asked)
        busy = events * self._setup.figures.append_us / 1e6
        self._timeline.after(busy + self._setup.fsync, lambda: self._done(asked))

    def _done(self, asked: list[tuple[Entry, Callable[[], object]]]) -> None:
        for entry, _ in asked:
            self.entries.append(entry)
            self._on_the_way -= entry.events
            self.events += entry.events
            self._history.batches += 1
            self._history.batched += entry.events
        for _, confirm in asked:
            confirm()
        self.wake()
        self._work()

    def claim(self) -> tuple[int, Entry] | None:
        """Give as much as makes one commit; its number, and what it holds together."""
        events, batches, since = 0, 0, self._timeline.now
        while self.entries and batches < CLAIM_MAX and events < COMMIT_CALLS:
            entry = self.entries.popleft()
            events, batches, since = events + entry.events, batches + 1, min(since, entry.since)
        if not batches:
            return None
        number = max(self.claimed, default=0) + 1
        self.claimed[number] = Entry(events, since)
        return number, self.claimed[number]

    def take_over(self, number: int) -> None:
        """What a drain had claimed that broke off is there for the next one."""
        self.entries.appendleft(self.claimed.pop(number))
        self.wake()

    def acknowledge(self, number: int) -> None:
        """Forget what was claimed."""
        self.events -= self.claimed.pop(number).events


class Endpoint:
    """Takes what has come since its last turn, and writes it as `ingest.stream.producer` does."""

    def __init__(self, timeline: Timeline, setup: Setup, servers: list[StreamServer], history: History) -> None:
        self._timeline, self._setup, self._servers, self._history = timeline, setup, servers, history
        self._inbox: deque[tuple[float, int]] = deque()
        self._in_turn = False
        self._waiting = 0
        self._since = 0.0
        self._writes = self._on_the_way = 0
        self.spooled = 0
        self._spooled_since = 0.0
        #: Told how many calls were answered.
        self.answer: Callable[[int], object] = lambda _: None
        timeline.after(SEND_ON_EVERY, self._send_on)

    def arrive(self, calls: int) -> None:
        """So many calls have come."""
        self._inbox.append((self._timeline.now, calls))
        if not self._in_turn:
            self._turn()

    def _turn(self) -> None:
        """One turn of the event loop: all that has come by now."""
        self._in_turn = bool(self._inbox)
        if not self._inbox:
            return
        since, calls = self._inbox[0][0], sum(number for _, number in self._inbox)
        self._inbox.clear()
        busy = calls * self._setup.figures.endpoint_us / 1e6
        self._timeline.after(busy, lambda: self._read(since, calls))

    def _read(self, since: float, calls: int) -> None:
        if not self._waiting:
            self._since = since
        self._waiting += calls
        self._write()
        self._turn()

    def _write(self) -> None:
        while self._waiting and (
            not self._writes or (self._writes < MOST_WRITES and self._waiting >= self._on_the_way)
        ):
            entry, self._waiting = Entry(self._waiting, self._since), 0
            server = min(self._servers, key=lambda one: one.load)
            if server.is_full:
                self._spool(entry)
                continue
            self._writes += 1
            self._on_the_way += entry.events
            server.append(entry, partial(self._confirmed, entry))

    def _confirmed(self, entry: Entry) -> None:
        self._writes -= 1
        self._on_the_way -= entry.events
        self._history.answered += entry.events
        self.answer(entry.events)
        self._write()

    def _spool(self, entry: Entry) -> None:
        if not self.spooled:
            self._spooled_since = entry.since
        self.spooled += entry.events
        self._history.answered += entry.events
        self._timeline.after(self._setup.fsync, lambda: self.answer(entry.events))

    def _send_on(self) -> None:
        """Put what is in the spool into the stream once there is room again."""
        server = min(self._servers, key=lambda one: one.load)
        if self.spooled and not server.is_full:
            entry = Entry(min(self.spooled, SEND_ON_MOST), self._spooled_since)
            self.spooled -= entry.events
            server.append(entry, lambda: None)
        self._timeline.after(SEND_ON_EVERY, self._send_on)


class Database:
    """Commits on so many processors, unless it is away."""

    def __init__(self, timeline: Timeline, setup: Setup) -> None:
        self._timeline, self._setup = timeline, setup
        self._free = setup.database_processors
        self._queue: deque[tuple[float, Callable[[], object]]] = deque()

    @property
    def is_away(self) -> bool:
        """Whether it is away now."""
        return any(since <= self._timeline.now < until for since, until in self._setup.outages)

    def commit(self, events: int, done: Callable[[], object]) -> None:
        """Store events, and say so."""
        own = self._setup.figures.server_us * events / 1e6 if self._setup.postgresql else 0.0
        self._queue.append((own + self._setup.commit, done))
        self._work()

    def _work(self) -> None:
        while self._free and self._queue:
            busy, done = self._queue.popleft()
            self._free -= 1
            self._timeline.after(busy, partial(self._done, done))

    def _done(self, done: Callable[[], object]) -> None:
        self._free += 1
        done()
        self._work()


class Worker:
    """Drains in turn all stream servers; waits for the database as `workers.runtime.patiently` does."""

    def __init__(
        self, timeline: Timeline, setup: Setup, servers: list[StreamServer], database: Database, history: History
    ) -> None:
        self._timeline, self._setup, self._servers = timeline, setup, servers
        self._database, self._history = database, history
        self._awake = False
        self._next = 0
        self._delay, self._until = RETRY_FIRST, 0.0
        self._lingers_until = self._claimed_at = 0.0
        #: Told how many events were stored.
        self.stored: Callable[[int], object] = lambda _: None

    def wake(self) -> None:
        """A batch has come: a drain that lingers takes it at once, else a job begins."""
        if self._awake:
            return
        self._awake = True
        lingers = self._timeline.now < self._lingers_until
        if lingers:
            self._begin()
        else:
            self._timeline.after(self._setup.wake, self._begin)

    def _begin(self) -> None:
        self._until = self._timeline.now + SLICE
        self._delay = RETRY_FIRST
        self._open()

    def _open(self) -> None:
        if not self._database.is_away:
            self._delay = RETRY_FIRST
            self._claim()
        elif not self._try_again(self._open):
            self._end()

    def _try_again(self, do: Callable[[], object]) -> bool:
        """Do something later; False if the job's time is over by then."""
        delay, self._delay = self._delay, min(self._delay * 2, RETRY_MOST)
        if self._timeline.now + delay > self._until:
            return False
        self._timeline.after(delay, do)
        return True

    def _end(self) -> None:
        """The job broke off; the next sweep begins another."""
        sweep = MAINTENANCE_INTERVAL / 2  # on average
        self._timeline.after(sweep, lambda: self._timeline.after(self._setup.wake, self._begin))

    def _claim(self) -> None:
        if self._timeline.now >= self._until:  # the job gives way; the next one follows at once
            self._timeline.after(self._setup.wake, self._begin)
            return
        for _ in self._servers:
            server = self._servers[self._next % len(self._servers)]
            self._next += 1
            if (claimed := server.claim()) is not None:
                self._drain(server, *claimed)
                return
        self._awake = False
        self._lingers_until = self._timeline.now + LINGER_MS / 1000

    def _drain(self, server: StreamServer, number: int, entry: Entry) -> None:
        figures = self._setup.figures
        cost = figures.claim_us + (figures.postgresql_us if self._setup.postgresql else figures.sqlite_us)
        self._claimed_at = self._timeline.now
        self._timeline.after(entry.events * cost / 1e6, lambda: self._store(server, number, entry.events))

    def _store(self, server: StreamServer, number: int, events: int) -> None:
        if not self._database.is_away:
            self._delay = RETRY_FIRST
            self._database.commit(events, lambda: self._committed(server, number, events))
        elif not self._try_again(lambda: self._store(server, number, events)):
            silent = self._timeline.now - self._claimed_at
            self._timeline.after(max(0.0, RECLAIM - silent), lambda: server.take_over(number))
            self._end()

    def _committed(self, server: StreamServer, number: int, events: int) -> None:
        server.acknowledge(number)
        self._history.stored += events
        self.stored(events)
        self._claim()


class Handlers:
    """Workers of the queue `handlers`: each gives events to handlers, as many at a time as a handoff holds."""

    #: Calls in one handoff.
    PORTION = 1000

    def __init__(self, timeline: Timeline, setup: Setup) -> None:
        self._timeline, self._setup = timeline, setup
        self._idle = setup.handler_workers
        self.waiting = 0

    def take(self, events: int) -> None:
        """Events were stored."""
        self.waiting += events * self._setup.handlers
        self._work()

    def _work(self) -> None:
        free = self.waiting
        while self._idle and free > 0:
            portion = min(free, self.PORTION)
            free -= portion
            self._idle -= 1
            busy = portion * self._setup.figures.handler_us / 1e6
            self._timeline.after(busy, partial(self._done, portion))

    def _done(self, portion: int) -> None:
        self._idle += 1
        self.waiting -= portion
        self._work()
