"""One run of the whole, from its set-up to what is noted of it."""

from collections import deque

from tests.simulation.history import History, Look
from tests.simulation.parameters import Setup
from tests.simulation.parts import Database, Endpoint, Handlers, StreamServer, Worker
from tests.simulation.timeline import Timeline

#: Seconds after the last call for which a run may go on.
PATIENCE = 4 * 3600.0


class Sender:
    """Sends calls at a rate, or as fast as they are answered, over so many connections to each endpoint."""

    def __init__(self, timeline: Timeline, setup: Setup, endpoint: Endpoint) -> None:
        self._timeline, self._setup, self._endpoint = timeline, setup, endpoint
        self._free = setup.connections
        self._due, self._looked = 0.0, 0.0
        #: Calls that are written to connections, one after the other, and whether that is going on.
        self._sending = 0
        self._busy = False
        endpoint.answer = self._answered
        if setup.rates:
            self._tick()
        else:
            self._free = 0
            self._send(setup.connections)

    def _tick(self) -> None:
        """All that has become due since the last look at the clock."""
        setup, now = self._setup, self._timeline.now
        if now >= setup.until:
            return
        rate = next((rate.per_second for rate in reversed(setup.rates) if rate.since <= now), 0.0)
        self._due += rate * (max(now - self._looked, setup.grain)) / setup.endpoints
        self._looked = now
        self._hand_over()
        self._timeline.after(setup.grain, self._tick)

    def _hand_over(self) -> None:
        calls = int(self._due)
        if self._setup.connections:
            calls = min(calls, self._free)
            self._free -= calls
        self._due -= calls
        self._send(calls)

    def _send(self, calls: int) -> None:
        """Write calls: together where there are no connections to write to."""
        if not self._setup.connections:
            if calls:
                self._endpoint.arrive(calls)
            return
        self._sending += calls
        if self._sending and not self._busy:
            self._busy = True
            self._timeline.after(self._setup.send, self._sent)

    def _sent(self) -> None:
        self._busy = False
        self._sending -= 1
        self._endpoint.arrive(1)
        self._send(0)

    def _answered(self, calls: int) -> None:
        if self._setup.rates:
            self._free += calls
            if self._setup.connections:
                self._hand_over()
        elif self._timeline.now < self._setup.until:
            self._send(calls)


class Model:
    """All parts, connected."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.timeline, self.history = Timeline(), History()
        self.servers = [StreamServer(self.timeline, setup, self.history) for _ in range(setup.servers)]
        self.database, self.handlers = Database(self.timeline, setup), Handlers(self.timeline, setup)
        self.workers = [
            Worker(self.timeline, setup, self._from(number), self.database, self.history)
            for number in range(setup.workers)
        ]
        for worker in self.workers:
            worker.stored = self.handlers.take
        self._turn = deque(self.workers)
        for server in self.servers:
            server.wake = self._wake
        self.endpoints = [
            Endpoint(self.timeline, setup, self.servers, self.history) for _ in range(setup.endpoints)
        ]
        for endpoint in self.endpoints:
            Sender(self.timeline, setup, endpoint)

    def _from(self, number: int) -> list[StreamServer]:
        """All servers: each worker begins with another."""
        first = number % len(self.servers)
        return self.servers[first:] + self.servers[:first]

    def _wake(self) -> None:
        """As many workers as there is work for: the first, and each that a drain wakes beside it."""
        batches = sum(len(server.entries) for server in self.servers)
        for worker in self.workers[: 1 + batches // self.setup.sibling_batches]:
            worker.wake()

    def look(self) -> Look:
        """How things stand now."""
        oldest = min((server.oldest for server in self.servers if server.oldest is not None), default=None)
        backlog = sum(server.events for server in self.servers)
        now = self.timeline.now
        return Look(
            now,
            backlog,
            0.0 if oldest is None else now - oldest,
            backlog * self.setup.figures.stream_bytes,
            sum(endpoint.spooled for endpoint in self.endpoints),
            self.history.stored,
            self.handlers.waiting,
        )

    def run(self) -> History:
        """Until all is stored, and all handlers are done."""
        setup, history = self.setup, self.history
        last = max([setup.until, *(until for _, until in setup.outages)])
        while self.timeline.now < last + PATIENCE:
            self.timeline.run(self.timeline.now + setup.every)
            look = self.look()
            history.looks.append(look)
            if look.at > last and not look.backlog and not look.spooled and not look.for_handlers:
                break
        return history


def simulated(setup: Setup) -> History:
    """One run."""
    return Model(setup).run()
