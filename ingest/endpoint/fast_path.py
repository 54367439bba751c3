"""The fast path: plain calls, which nearly all are, reach the intake without a web framework in between.

A plain call is a POST to our path with one Content-Length and nothing that asks for special treatment. Anything
else (another method or path, chunks, `Expect`, a large body, what is not HTTP) is handed to aiohttp together with
its connection, every byte as it arrived: aiohttp knows all of HTTP, so this module does not have to. Only a head
that is too long is answered here, since nobody need understand it. `make bench` measures what this gains.
"""

import asyncio
import time
from typing import cast

from ingest.copernica.header_fields import HeaderFields
from ingest.endpoint import heads
from ingest.endpoint.answers import BAD_REQUEST, BUSY, KEPT, TOO_SLOW, Answer
from ingest.endpoint.connections import INCOMPLETE, KNOWN, STRANGER, TurnedAway
from ingest.endpoint.fast_shared import Shared
from ingest.endpoint.heads import HEAD_END, TARGET_MAX
from ingest.endpoint.limits import AHEAD_MAX, ANSWERS_MAX, BODY_DEADLINE, HEAD_DEADLINE, KEEPALIVE, WRITE_DEADLINE
from ingest.endpoint.plain import may_become_plain
from ingest.endpoint.turns import PIECES


class FastPath(Shared):
    """Makes the connections of one process, and has what they share."""

    def __call__(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        return FastPathProtocol(self) if self.connections.has_place() else TurnedAway(self.connections.turns)


class FastPathProtocol(asyncio.Protocol):
    """One connection, until something arrives that is not plain."""

    __slots__ = (
        "_advancing", "_ahead", "_busy", "_closes", "_ended", "_fast_path", "_known", "_lesson", "_more",
        "_needs", "_paused", "_pieces", "_transport", "_unfetched_since", "held", "since",
    )  # fmt: skip  # a list to be read across

    def __init__(self, fast_path: Shared) -> None:
        self._fast_path = fast_path
        self._transport: asyncio.Transport | None = None
        #: Bytes that are not a whole request yet, or arrived before the previous one was answered.
        self._ahead = b""
        #: What of these counts in the memory of all connections.
        self.held = 0
        #: Length of the request in `_ahead` in bytes; 0 while its head is incomplete.
        self._needs = 0
        #: In how many pieces it has arrived so far.
        self._pieces = 0
        #: When the first byte of `_ahead` arrived; without any, since when this has been idle (monotonic).
        self.since = time.monotonic()
        #: Whether `_advance` runs: an answer that is given meanwhile must not call it again.
        self._advancing = False
        #: Whether a request is with the intake, or those that have arrived wait until others have had their turn.
        self._busy = False
        #: Whether that request asked for its connection to be closed.
        self._closes = False
        #: Whether the sender has sent its last byte.
        self._ended = False
        #: Whether a call of this connection has been kept.
        self._known = False
        #: The head of the request that is being answered, if its shape is not known yet.
        self._lesson = b""
        #: Whether something has arrived behind the request that is being answered.
        self._more = False
        #: Whether reading is paused: too much has arrived ahead of our answers, or they are not fetched.
        self._paused = False
        #: Since when answers have not been fetched (monotonic); 0 when they are.
        self._unfetched_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A sender has connected."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(ANSWERS_MAX)
        self._fast_path.connections.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; a call that is on its way to Redis is kept all the same."""
        connections = self._fast_path.connections
        if self._transport is not None:
            connections.see_off(self._transport)
        self._transport = None
        connections.served.discard(self)
        self._hold(b"")
        if self._unfetched_since:
            connections.memory.hold(-ANSWERS_MAX)

    def pause_writing(self) -> None:
        """The sender does not fetch its answers: take nothing more until it does."""
        self._unfetched_since = time.monotonic()
        self._pause()
        self._fast_path.connections.memory.hold(ANSWERS_MAX)

    def resume_writing(self) -> None:
        """The sender has fetched its answers."""
        self._unfetched_since = 0.0
        self._fast_path.connections.memory.hold(-ANSWERS_MAX)
        if not (self._busy or self._advancing):
            self._go_on()

    def data_received(self, data: bytes) -> None:
        """Take the bytes that arrived: nearly always one whole request."""
        if self._ahead:
            data = self._ahead + data
        if self._busy or len(data) < self._needs or self._unfetched_since:
            self._keep(data)
            return
        self._advance(data)

    def eof_received(self) -> bool:
        """The sender will send no more, but may still be waiting for its answer: then stay open (True)."""
        self._ended = True
        if not (waits := self._busy or bool(self._unfetched_since)):
            self._end()
        return waits

    def _end(self) -> None:
        """Close, as nothing more will arrive and nothing is being answered."""
        if self._transport is None:
            return
        if self._ahead:  # less arrived than was announced
            self._refuse(BAD_REQUEST)
        self._close()

    def _refuse(self, answer: Answer) -> None:
        """Answer what is no whole request, before this is closed."""
        if self._transport is not None:
            self._transport.write(answer.raw(close=True))
            self._fast_path.connections.refused[answer.status] += 1

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._fast_path.connections.leave(self, self._transport)
        self._hold(b"")

    def _keep(self, data: bytes) -> None:
        if not self._ahead:
            self.since = time.monotonic()
        self._hold(data)
        self._pieces += 1
        if self._has_enough():
            self._pause()
        elif self._pieces > PIECES and not self._paused:
            self._pause()
            self._fast_path.connections.turns.wait_a_while(self._read_on)

    def _hold(self, data: bytes) -> None:
        """Keep bytes for later, and count them."""
        connections = self._fast_path.connections
        connections.memory.hold(len(data) - self.held)
        self._ahead, self.held = data, len(data)
        if data and connections.memory.is_crowded:
            connections.make_room()

    def _has_enough(self) -> bool:
        """Whether nothing more is to be read before the sender has been answered, or has fetched its answers."""
        return bool(self._unfetched_since) or (self._busy and len(self._ahead) > AHEAD_MAX)

    def _pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._transport.pause_reading()
            self._paused = True

    def _advance(self, data: bytes) -> None:
        """Take the requests in `data` one after the other, each when the previous one has been answered."""
        self._advancing = True
        try:
            at = self._take_one(data, 0)
            while at:
                at = self._take_one(data, at)
        finally:
            self._advancing = False

    def _take_one(self, data: bytes, at: int) -> int:
        """Take the request that begins at `at`; keep what is incomplete, hand over what is not plain.

        Returns where the next one begins that can be taken; 0 if there is none or if an answer comes first.
        """
        fast_path = self._fast_path
        head_end = data.find(HEAD_END, at)
        if (head_end < 0 or head_end - at > TARGET_MAX) and self._is_put_off(data, at, head_end):
            return 0
        # Not for a head that is incomplete: one that arrives byte by byte would be read as often.
        read = fast_path.plain.read(data, at) if head_end >= 0 else None
        has_room = fast_path.intake.memory.has_room
        if read is None or (len(data) < read[2] + read[3] and not has_room):
            self._hand_over(data[at:])
            return 0
        target, headers, begin, size, is_new = read
        end = begin + size
        if len(data) < end:
            self._keep(data[at:])
            self._needs = end - at
            return 0
        self._needs = self._pieces = 0
        if self.held:
            self._hold(b"")
        if is_new:
            self._lesson = data[at:begin]
        self._busy = True
        self._more = end < len(data)
        self._closes = headers.get(b"connection", b"").lower() == b"close"
        if has_room:
            fast_path.intake.submit(target, HeaderFields(headers), data[begin:end], self._answer)
        else:
            self._answer(fast_path.intake.busy_answer())
        if end == len(data) or self._transport is None or self._transport.is_closing():
            return 0
        if self._busy or self._unfetched_since:
            self._keep(data[end:])
            return 0
        return end

    def _is_put_off(self, data: bytes, at: int, head_end: int) -> bool:
        """Whether no request can be taken at `at`: its head is too long, or may become a plain one."""
        end = len(data) if head_end < 0 else head_end + len(HEAD_END)
        if (refusal := heads.refusal(data[at:end])) is not None:
            self._turn_away(refusal)
        elif head_end < 0 and may_become_plain(data[at:]):
            self._keep(data[at:])
        else:
            return False
        return True

    def _answer(self, answer: Answer) -> None:
        """Write the answer of the intake, and go on with what has arrived meanwhile."""
        self._busy = False
        self.since = time.monotonic()
        if answer is not KEPT:
            self._fast_path.intake.refusals.came_from(self._transport)
        if self._lesson:
            if answer is KEPT:
                self._fast_path.plain.learn(self._lesson)
            self._lesson = b""
        if self._transport is None:
            return
        # Nobody who is taken seriously sends more before an answer that is none of success; who does not look at
        # the answers could have us make thousands of them, and keep the others waiting.
        is_kept = answer is KEPT
        unwanted = not is_kept and (self._more or bool(self._ahead))
        closes = self._closes or self._fast_path.closing or unwanted
        self._transport.write(self._fast_path.kept(closes) if is_kept else answer.raw(closes))
        if closes:
            self._close()
            return
        self._known |= is_kept
        if not (self._advancing or self._unfetched_since):
            self._go_on()  # otherwise `_advance` or `resume_writing` does

    def _go_on(self) -> None:
        """Take what has arrived meanwhile."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._ahead:
            self._advance(self._ahead)
        self._read_on()
        if self._ended and not (self._busy or self._unfetched_since):
            self._end()

    def _read_on(self) -> None:
        """Read again unless there is a reason not to."""
        transport = self._transport
        if self._paused and transport is not None and not (transport.is_closing() or self._has_enough()):
            transport.resume_reading()
            self._paused = False

    def _turn_away(self, refusal: Answer) -> None:
        """Give a last answer to a head that is too long; no more is taken."""
        if (transport := self._let_go()) is not None:
            self._fast_path.connections.turn_away(self, transport, refusal, self._ended)

    def _let_go(self) -> asyncio.Transport | None:
        """The transport, which another protocol is to serve now; None if the connection is lost already."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return None
        self._read_on()
        self._transport = None
        self._hold(b"")
        self._fast_path.connections.served.discard(self)
        return transport

    def _hand_over(self, data: bytes) -> None:
        """Let aiohttp serve this connection from `data` on."""
        if (transport := self._let_go()) is None:
            return
        successor = self._fast_path.fallback()
        successor.known = self._known
        transport.set_protocol(successor)
        successor.connection_made(transport)
        successor.data_received(data)
        if self._ended and not successor.eof_received():
            transport.close()

    @property
    def at_work(self) -> bool:
        """Whether a request is being received or answered."""
        return self._busy or (bool(self._ahead) and not self._unfetched_since)

    def rank(self) -> int | None:
        """How early this is given up; None: never."""
        if self._busy:
            return None
        if self._ahead or self._unfetched_since:
            return INCOMPLETE
        return KNOWN if self._known else STRANGER

    def give_up(self) -> None:
        """Answer 503 if a request is arriving, and close; a call that is being kept is still answered."""
        if self._busy:
            self._closes = True
            self._pause()
            self._hold(b"")
        elif self._unfetched_since:
            self.abort()
        elif self._transport is not None:
            if self._ahead:
                self._refuse(BUSY)
            self._close()

    def close_if_late(self, now: float) -> None:
        """Close if a deadline has passed: answered 408 within a request, without a word when idle."""
        if self._transport is None:
            return
        if self._unfetched_since:
            if now - self._unfetched_since > WRITE_DEADLINE:
                self.abort()
        elif self._busy:
            return
        elif self._ahead:
            if now - self.since > (BODY_DEADLINE if self._needs else HEAD_DEADLINE):
                self._refuse(TOO_SLOW)
                self._close()
        elif now - self.since > KEEPALIVE:
            self._close()

    def close_if_idle(self) -> None:
        """Close unless a request is being received or answered."""
        if not self.at_work:
            self._close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
        self._hold(b"")
