"""The load: calls that each carry an id of their own, and a journal of what became of every one of them.

Like Copernica it sends as events happen, at a steady pace whatever the endpoint does, over connections that stay
open, and it does not repeat a call that found no answer. In runs with signatures some calls are sent again, byte
for byte, acknowledged ones among them: each must still be one row.
"""

import asyncio
import hashlib
import random
import time
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import cast

import httptools

from ingest.simulation.calls import Call, Simulator
from ingest.simulation.records import Record
from ingest.simulation.report import percentile
from ingest.simulation.signer import Signer
from ingest.simulation.target import Target

#: Seconds to wait for an answer: longer than anything that should happen while nothing is stopped.
ANSWER_TIMEOUT = 10.0
#: Seconds to wait for a connection; then the next place is tried.
CONNECT_TIMEOUT = 3.0
#: Most connections at once; calls that find none free are not sent, and counted.
CONNECTIONS_MAX = 256
#: Seconds between two looks at the clock.
TICK = 0.005
#: Share of acknowledged calls that are sent again, and of calls without an answer or with a 503 that are.
AGAIN_AFTER_200 = 0.01
AGAIN_AFTER_TROUBLE = 0.5
#: Seconds until a call is sent again, from and to: signatures are good for 300.
AGAIN_IN = (0.2, 4.0)


#: Host and port.
Place = tuple[str, int]


def proof(seed: int, call: int) -> str:
    """What a call carries besides its id, so that a row can be told from one that nobody sent."""
    return hashlib.sha256(b"%d:%d" % (seed, call)).hexdigest()[:24]


@dataclass
class Journal:
    """What became of the calls; times are in seconds since the load began."""

    seed: int
    #: Calls due per second, and for how long.
    rate: int = 0
    seconds: float = 0.0
    #: When each call was first sent, and when each was acknowledged first.
    sent: dict[int, float] = field(default_factory=dict)
    acknowledged: dict[int, float] = field(default_factory=dict)
    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    refused: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    sent_again: int = 0
    #: Calls that were due and not sent, for want of a connection; their events have happened all the same.
    held_back: int = 0

    def service(self) -> str:
        """A character per second of the load: `#` nearly all that was due was acknowledged, `+` some, `.` none."""
        taken = Counter(int(at) for at in self.acknowledged.values())
        shares = [taken[second] / self.rate for second in range(int(self.seconds))]
        return "".join("#" if share > 0.9 else "+" if share else "." for share in shares)

    def as_dict(self) -> dict[str, object]:
        """For the summary."""
        ordered = sorted(self.latencies)
        return {
            "sent": len(self.sent),
            "acknowledged": len(self.acknowledged),
            "refused": {str(status): number for status, number in sorted(self.refused.items())},
            "unanswered": self.unanswered,
            "sent_again": self.sent_again,
            "held_back": self.held_back,
            "acknowledged_ms": {
                name: round(percentile(ordered, share) * 1000, 1)
                for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
            },
            "service": self.service(),
            "seconds_without_service": self.service().count("."),
        }


@dataclass(slots=True)
class Sent:
    """A call on its way."""

    call: int
    request: bytes
    again: bool = False


class Load:
    """Sends calls until it is told to stop."""

    def __init__(
        self,
        seed: int,
        places: Sequence[Place],
        rate: int,
        connections: int,
        signer: Signer | None,
        logs: Record | None = None,
    ) -> None:
        """`places` are where endpoints listen, one or several behind one name.

        `logs` is where Copernica keeps what happened, whatever becomes of its calls.
        """
        self.journal = Journal(seed, rate)
        self._places = cycle(places)
        self._rate = rate
        self._connections = connections
        host, port = places[0]
        self._target = Target(f"http://{host}:{port}/copernica", signer)
        self._signed = signer is not None
        self._simulator = Simulator(seed, now=time.time)
        self._logs = logs
        self._chance = random.Random(seed)
        self._idle: deque[_Connection] = deque()
        self._all: set[_Connection] = set()
        self._opening = 0
        self._again: list[tuple[float, Sent]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._began = 0.0

    @property
    def now(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self._began

    async def run(self, seconds: float) -> None:
        """Send for so long, then wait until every call is answered or given up."""
        self._began = time.monotonic()
        self.journal.seconds = seconds
        for _ in range(self._connections):
            self._open_one()
        due = 0
        while (now := self.now) < seconds:
            wanted = int(now * self._rate)
            while due < wanted:
                due += 1
                self._send_new()
            self._send_again()
            self._give_up()
            await asyncio.sleep(TICK)
        while self._busy() and self.now < seconds + ANSWER_TIMEOUT + 1:
            self._give_up()
            await asyncio.sleep(TICK)
        for connection in list(self._all):
            connection.close()
        for task in self._tasks:
            task.cancel()

    def _busy(self) -> bool:
        return any(connection.sent for connection in self._all)

    def _send_new(self) -> None:
        if not self._idle:
            if len(self._all) + self._opening < CONNECTIONS_MAX:
                self._open_one()
            self.journal.held_back += 1
            self._happens(self._simulator.call())
            return
        number = len(self.journal.sent) + 1
        call = self._simulator.call()
        body = call.body + f"&call={number}&proof={proof(self.journal.seed, number)}".encode()
        request = self._target.request(call._replace(body=body)).data
        self.journal.sent[number] = self.now
        self._happens(call)
        self._idle.popleft().send(Sent(number, request))

    def _happens(self, call: Call) -> None:
        if self._logs is not None:
            self._logs.event(call.type, call.fields)

    def _send_again(self) -> None:
        while self._again and self._idle and self._again[0][0] <= self.now:
            self.journal.sent_again += 1
            self._idle.popleft().send(self._again.pop(0)[1])

    def _give_up(self) -> None:
        """On answers that do not come."""
        now = time.monotonic()
        for connection in [c for c in self._all if c.sent and c.since < now - ANSWER_TIMEOUT]:
            connection.close()

    def _open_one(self) -> None:
        self._opening += 1
        task = asyncio.create_task(self._open())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self) -> None:
        try:
            with suppress(OSError):
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    await asyncio.get_running_loop().create_connection(
                        lambda: _Connection(self), *next(self._places)
                    )
        finally:
            self._opening -= 1

    # --- what connections tell ---

    def opened(self, connection: "_Connection") -> None:
        """It can take a call."""
        self._all.add(connection)
        self._idle.append(connection)

    def closed(self, connection: "_Connection", sent: Sent | None) -> None:
        """It is gone, perhaps with a call that was not answered."""
        self._all.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)
        if sent is not None:
            self.journal.unanswered += 1
            self._perhaps_again(sent, AGAIN_AFTER_TROUBLE)

    def answered(self, connection: "_Connection", sent: Sent, status: int, latency: float, stays: bool) -> None:
        """A call has its answer."""
        if status == 200:
            self.journal.acknowledged.setdefault(sent.call, self.now)
            self.journal.latencies.append(latency)
            if not sent.again:
                self._perhaps_again(sent, AGAIN_AFTER_200)
        else:
            self.journal.refused[status] += 1
            if status == 503:
                self._perhaps_again(sent, AGAIN_AFTER_TROUBLE)
        if stays:
            self._idle.append(connection)

    def _perhaps_again(self, sent: Sent, share: float) -> None:
        if self._signed and self._chance.random() < share:
            due = self.now + self._chance.uniform(*AGAIN_IN)
            self._again.append((due, Sent(sent.call, sent.request, again=True)))
            self._again.sort(key=lambda one: one[0])


class _Connection(asyncio.Protocol):
    """One keep-alive connection. httptools calls `on_message_complete` when an answer is whole."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self.sent: Sent | None = None
        self.since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._load.opened(self)

    def send(self, sent: Sent) -> None:
        assert self._transport is not None
        self.sent = sent
        self.since = time.monotonic()
        self._transport.write(sent.request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_message_complete(self) -> None:
        sent, self.sent = self.sent, None
        if sent is None:  # a 408 to a connection that said nothing
            self.close()
            return
        stays = self._parser.should_keep_alive()
        self._load.answered(self, sent, self._parser.get_status_code(), time.monotonic() - self.since, stays)
        if not stays:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        sent, self.sent = self.sent, None
        self._load.closed(self, sent)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
