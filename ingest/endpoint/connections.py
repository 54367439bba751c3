"""All connections of one process, whoever serves them: how many there may be, and who has to go if there are more.

Strangers come first: those who have never sent a call that was kept, idle or with a request that does not come to
its end. So they can take places from each other, and hardly from Copernica. A call that is complete is never given
up.
"""

import asyncio
import logging
import time
from collections import Counter
from typing import Protocol, cast

from ingest.endpoint.answers import BUSY, Answer
from ingest.endpoint.descriptors import TURNED_AWAY
from ingest.endpoint.limits import CROWDED_INTERVAL, DEADLINE_CHECK_INTERVAL, LINGER, WRITE_DEADLINE
from ingest.endpoint.memory import Memory, give_back
from ingest.endpoint.turns import MUCH, Turns

log = logging.getLogger(__name__)

#: The part of all connections, or of what they hold, that is given up at once, so that it is rarely looked for.
SHARE = 16

#: Who is given up, in this order: an idle stranger, a request that is incomplete, either of them if it has only
#: just begun, somebody idle and known.
STRANGER, INCOMPLETE, FRESH, KNOWN = range(4)
#: Seconds for which a connection or a request counts as fresh: the rest may have arrived here, and only not been
#: read, or be on its way. Otherwise strangers who come anew all the time would have genuine calls given up.
FRESH_FOR = 1.0


class Served(Protocol):
    """A connection, as its protocol knows it."""

    @property
    def at_work(self) -> bool:
        """Whether a request is being received or answered."""

    @property
    def held(self) -> int:
        """Bytes that it holds of requests that are incomplete or not begun with."""

    @property
    def since(self) -> float:
        """When what it does now began (monotonic)."""

    def rank(self) -> int | None:
        """How early it is given up; None: never."""

    def give_up(self) -> None:
        """Answer 503 if a request is arriving, and close; a call that is being kept is still answered."""

    def close_if_late(self, now: float) -> None:
        """Close if a deadline has passed."""

    def close_if_idle(self) -> None:
        """Close unless a request is being received or answered."""

    def abort(self) -> None:
        """Close at once."""


class Connections:
    """The connections of one process."""

    def __init__(self, limit: int, memory: Memory) -> None:
        self.limit = limit
        self.memory = memory
        self.turns = Turns()
        self.served: set[Served] = set()
        #: How many were answered before they were whole or served, by the status of their answer.
        self.refused: Counter[int] = Counter()
        #: Connections that are closed as soon as their last answer is fetched, and when that has to be.
        self._leaving: dict[asyncio.Transport, float] = {}
        self._nobody_until = 0.0
        #: Set from when somebody has come on.
        self._entered = asyncio.Event()

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self.served) + len(self._leaving)

    def enter(self, one: Served) -> None:
        """A connection is open from now on."""
        self.served.add(one)
        self._entered.set()

    def has_place(self) -> bool:
        """Whether another one may be served; if there are too many, some are given up."""
        if self.count < self.limit or self._make_places():
            return True
        self.refused[BUSY.status] += 1
        return False

    def _make_places(self) -> bool:
        now = time.monotonic()
        if now < self._nobody_until:
            return False
        wanted = max(1, self.limit // SHARE)
        leaving = list(self._leaving)[:wanted]
        for transport in leaving:
            self.see_off(transport)
            transport.abort()
        ranked = [(rank, one.since, id(one), one) for one in self.served if (rank := _rank(one, now)) is not None]
        given_up = sorted(ranked)[: wanted - len(leaving)]
        for *_, one in given_up:
            one.give_up()
        if leaving or given_up:
            return True
        self._nobody_until = now + CROWDED_INTERVAL
        return False

    def make_room(self) -> None:
        """Give up what has not arrived wholly, the oldest first, until it takes less than its share of memory."""
        wanted = self.memory.partial // SHARE
        for one in sorted((one for one in self.served if one.held), key=lambda one: one.since):
            if wanted <= 0:
                break
            wanted -= one.held
            one.give_up()

    def leave(self, one: Served, transport: asyncio.Transport, seconds: float = WRITE_DEADLINE) -> None:
        """A connection is being closed: its sender has `seconds` to fetch what it was sent."""
        self.served.discard(one)
        self._leaving[transport] = time.monotonic() + seconds

    def turn_away(self, one: Served, transport: asyncio.Transport, answer: Answer, has_ended: bool) -> None:
        """Give a last answer to a request that nobody may send; what else it sends is read and thrown away."""
        self.refused[answer.status] += 1
        self.leave(one, transport, LINGER)
        transport.set_protocol(Refused(self, transport))
        say_goodbye(transport, answer)
        if has_ended:
            transport.close()

    def see_off(self, transport: asyncio.Transport) -> None:
        """A connection that was being closed is gone."""
        self._leaving.pop(transport, None)

    async def watch(self) -> None:
        """Close connections that are too slow or have been idle too long; runs until cancelled."""
        while True:
            if not self.count and self.memory.is_settled:
                self._entered.clear()
                await self._entered.wait()
            await asyncio.sleep(DEADLINE_CHECK_INTERVAL)
            try:
                self._close_late(time.monotonic())
                if self.memory.is_to_be_trimmed():
                    await asyncio.to_thread(give_back)
            except Exception:  # the next look must come, whatever is wrong with one connection
                log.exception("connections could not be looked after")

    def _close_late(self, now: float) -> None:
        for one in list(self.served):
            one.close_if_late(now)
        for transport, deadline in list(self._leaving.items()):
            if now > deadline:
                self.see_off(transport)
                transport.abort()

    def close_idle(self) -> None:
        """Close the connections that neither receive a request nor wait for an answer."""
        for one in list(self.served):
            one.close_if_idle()

    def abort(self) -> None:
        """Close all connections at once."""
        for one in list(self.served):
            one.abort()
        for transport in list(self._leaving):
            transport.abort()
        self._leaving.clear()

    @property
    def busy(self) -> bool:
        """Whether any connection is receiving a request or waiting for its answer."""
        return any(one.at_work for one in self.served)


def _rank(one: Served, now: float) -> int | None:
    rank = one.rank()
    return FRESH if rank in (STRANGER, INCOMPLETE) and now - one.since < FRESH_FOR else rank


class _Answered(asyncio.Protocol):
    """A connection that was given its last answer."""

    _transport: asyncio.Transport

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def data_received(self, data: bytes) -> None:
        """Read on, so that the answer arrives, but only when it is its turn."""
        if len(data) >= MUCH and not self._transport.is_closing():
            self._transport.pause_reading()
            self._turns.wait(self._read_on)

    def _read_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()


class TurnedAway(_Answered):
    """A connection beyond the limit: answered 503 and closed."""

    #: How many there are in this process. A few may be read out while they learn it; the others are just closed.
    count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer 503, and close a moment later."""
        self._transport = cast(asyncio.Transport, transport)
        TurnedAway.count += 1
        say_goodbye(self._transport, BUSY)
        patience = LINGER if TurnedAway.count <= TURNED_AWAY else 0.0
        self._timer = asyncio.get_running_loop().call_later(patience, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        TurnedAway.count -= 1
        self._timer.cancel()


class Refused(_Answered):
    """A connection of a request that nobody may send; `Connections.leave` has been told."""

    def __init__(self, connections: Connections, transport: asyncio.Transport) -> None:
        super().__init__(connections.turns)
        self._connections = connections
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._connections.see_off(self._transport)


def say_goodbye(transport: asyncio.Transport, answer: Answer) -> None:
    """Give a last answer, but read on: closing while more arrives would take the answer away."""
    transport.write(answer.raw(close=True))
    if transport.can_write_eof():
        transport.write_eof()
