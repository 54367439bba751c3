"""The connections that aiohttp serves, with what aiohttp lacks: deadlines, and errors that quote no input.

Whatever is not a plain call (`ingest.endpoint.fast_path`) ends up here.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, cast

from aiohttp import StreamReader, web

from ingest.endpoint import answers, heads, limits
from ingest.endpoint.aiohttp_compat import RequestHandler, heads_parsed, newest_body, wants_to_read
from ingest.endpoint.answers import Answer
from ingest.endpoint.connections import INCOMPLETE, KNOWN, STRANGER, Connections, say_goodbye
from ingest.endpoint.framing import Body
from ingest.endpoint.turns import MUCH, PIECES

log = logging.getLogger(__name__)


class Connection(RequestHandler):
    """A connection whose requests must arrive in time, and whose error answers quote no input.

    aiohttp gets one request at a time: its head when it is complete and judged, its body as it arrives.
    """

    __slots__ = (
        "_ahead", "_arriving", "_body", "_connections", "_ended", "_head_timer", "_is_http", "_judged",
        "_pieces", "_reading_stopped", "_refused", "_serving", "_stream", "_unfetched_since", "_waits_for_turn",
        "_wire", "cut_off", "held", "known", "since",
    )  # fmt: skip  # a list to be read across

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connections: Connections, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, loop=loop, **kwargs)
        self._connections = connections
        self._wire: asyncio.Transport | None = None
        #: Bytes of a head that is incomplete, or that arrived before the previous request was answered.
        self._ahead = b""
        #: How many of them are known to be the beginning of a head.
        self._judged = 0
        #: In how many pieces it has arrived so far.
        self._pieces = 0
        #: Bytes that have arrived of the body of a request which is being served.
        self._arriving = 0
        #: What of these counts in the memory of all connections.
        self.held = 0
        #: When the first byte of a request arrived; without one, since when this has been idle (monotonic).
        self.since = time.monotonic()
        #: The body that is arriving, or arrived last: where it ends, and how aiohttp reads it.
        self._body: Body | None = None
        self._stream: StreamReader | None = None
        #: Whether aiohttp has a request that it has not answered.
        self._serving = False
        #: Whether what arrives is HTTP; if not, aiohttp judges it as it comes.
        self._is_http = True
        #: Whether the last answer has been given.
        self._refused = False
        #: Whether so much has arrived ahead of our answers that no more is read.
        self._reading_stopped = False
        #: Whether so much has arrived in one go that others are read first.
        self._waits_for_turn = False
        #: Whether the sender has sent its last byte.
        self._ended = False
        #: Whether a call of this connection has been kept.
        self.known = False
        self._head_timer: asyncio.TimerHandle | None = None
        #: Since when answers have not been fetched (monotonic); 0 when they are.
        self._unfetched_since = 0.0
        #: The answer to a request whose body ended before it was complete.
        self.cut_off: Answer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A sender has connected, or sent to the fast path what is not for it."""
        super().connection_made(transport)
        self._wire = cast(asyncio.Transport, transport)
        self._wire.set_write_buffer_limits(limits.ANSWERS_MAX)
        self._connections.enter(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""
        self._stop_timer()
        if self._wire is not None:
            self._connections.see_off(self._wire)
            self._wire = None
        self._connections.served.discard(self)
        self._ahead, self._arriving, self._body, self._stream = b"", 0, None, None
        self._count()
        if self._unfetched_since:
            self._connections.memory.hold(-limits.ANSWERS_MAX)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The sender does not fetch its answers: take nothing more until it does."""
        super().pause_writing()
        self._unfetched_since = time.monotonic()
        self._connections.memory.hold(limits.ANSWERS_MAX)

    def resume_writing(self) -> None:
        """The sender has fetched its answers."""
        super().resume_writing()
        self._unfetched_since = 0.0
        self._connections.memory.hold(-limits.ANSWERS_MAX)
        self._go_on()

    def data_received(self, data: bytes) -> None:
        """Give aiohttp what has arrived: bodies at once, heads when it is their turn."""
        if not data or not self._is_http:  # no data: aiohttp goes on with what it has
            self._feed(data)
        elif not self._refused:
            self._take(data)
        if len(data) >= MUCH:
            self._wait_for_turn(self._connections.turns.wait)
        elif self._pieces > PIECES:
            self._wait_for_turn(self._connections.turns.wait_a_while)

    def _take(self, data: bytes) -> None:
        if not self._ahead and (self._body is None or self._body.ended):
            self.since = time.monotonic()
        data, self._ahead = self._ahead + data, b""
        while data and not self._refused:
            if self._body is not None and not self._body.ended:
                end = self._body.take(data)
                if self._serving:  # otherwise aiohttp throws it away
                    self._arriving += end
                self._feed(data[:end])
                data = data[end:]
                if self._body.wasteful:
                    self._cut_off(answers.BAD_REQUEST)
            elif self._has_to_wait():
                self._ahead, data = data, b""
                if len(self._ahead) > limits.AHEAD_MAX:
                    self._stop_reading()
            else:
                data = self._take_head(data)
        self._count()

    def _take_head(self, data: bytes) -> bytes:
        """Take a head, or as much of it as there is; returns what follows it."""
        if self._head_timer is None:
            loop = asyncio.get_running_loop()
            self._head_timer = loop.call_later(limits.HEAD_DEADLINE, self._refuse, answers.TOO_SLOW)
        judged, self._judged, self._pieces = self._judged, 0, self._pieces + 1
        end = data.find(heads.HEAD_END, max(0, judged - 3))
        head = data if end < 0 else data[: end + len(heads.HEAD_END)]
        if refusal := heads.refusal(head):
            self._refuse(refusal)
            return b""
        if end < 0 and heads.may_become_head(data, judged):
            self._ahead, self._judged = data, len(data)
            return b""
        self._stop_timer()
        self._pieces = 0
        if end < 0:
            self._is_http = False
            self._feed(data)
            return b""
        self._body = Body(head[:end])
        self._feed(heads.with_unfolded_signature(head))
        return data[len(head) :]

    def _feed(self, data: bytes) -> None:
        """Let aiohttp parse what has arrived."""
        before = heads_parsed(self)
        super().data_received(data)
        if heads_parsed(self) != before:
            # A new head although the previous body is incomplete: the parser lost its way in that body, without
            # raising an error.
            if self._stream is not None and not self._stream.is_eof():
                self._cut_off(answers.BAD_REQUEST)
            self._stream = newest_body(self)
            self._serving = True

    async def _handle_request(self, *args: Any) -> Any:
        """Answer a request, and go on with what has arrived meanwhile."""
        try:
            return await super()._handle_request(*args)
        finally:
            asyncio.get_running_loop().call_soon(self._answered)

    def _answered(self) -> None:
        self._serving = False
        self.since = time.monotonic()
        self.body_is_read()
        self._go_on()

    def _has_to_wait(self) -> bool:
        """Whether the next request has to: the previous one is not answered, or its answer not fetched."""
        return self._serving or bool(self._unfetched_since)

    def _go_on(self) -> None:
        """Take what has arrived meanwhile."""
        if self._has_to_wait() or self._wire is None:
            return
        if self._ahead:
            data, self._ahead = self._ahead, b""
            self._take(data)
        if not self._serving or len(self._ahead) <= limits.AHEAD_MAX:
            self._read_on()
        if self._ended and not self._serving:
            self._end()

    def _stop_reading(self) -> None:
        """Read no more until the sender has been answered."""
        if not self._reading_stopped and self._wire is not None:
            self._reading_stopped = True
            self._wire.pause_reading()

    def _read_on(self) -> None:
        if self._reading_stopped:
            self._reading_stopped = False
            if wants_to_read(self):
                self._resume_transport_reading()

    def _wait_for_turn(self, wait: Callable[[Callable[[], None]], None]) -> None:
        """Read no more until `wait` calls back."""
        if not self._waits_for_turn and self._wire is not None and not self._wire.is_closing():
            self._waits_for_turn = True
            self._wire.pause_reading()
            wait(self._take_turn)

    def _take_turn(self) -> None:
        self._waits_for_turn = False
        if self._wire is not None and not self._wire.is_closing() and wants_to_read(self):
            self._resume_transport_reading()

    def _resume_transport_reading(self) -> None:
        """Keep aiohttp from reading on while we have reason not to."""
        if not (self._reading_stopped or self._waits_for_turn):
            super()._resume_transport_reading()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio keeps the connection open if this is True
        """The sender will send no more, but may still be waiting for its answer: then stay open (True)."""
        self._ended = True
        if self._is_arriving():
            self._cut_off(answers.BAD_REQUEST)
        if not self._serving:
            self._end()
        return self._serving

    def _end(self) -> None:
        """Close, as nothing more will arrive and nothing is being answered."""
        if self._ahead:  # less arrived than a head
            self._refuse(answers.BAD_REQUEST)
        self.force_close()

    def _cut_off(self, answer: Answer) -> None:
        """End a body that will never be complete; its request still has to be answered."""
        self.cut_off, self._refused = self.cut_off or answer, True
        if self._stream is not None:
            self._stream.feed_eof()
        self.close()

    def _refuse(self, answer: Answer) -> None:
        """Give a last answer, and take nothing more."""
        self._stop_timer()
        self._refused, self._ahead = True, b""
        self._count()
        if self._wire is not None and not self._wire.is_closing():
            say_goodbye(self._wire, answer)
            self._connections.refused[answer.status] += 1
            self._connections.leave(self, self._wire, limits.LINGER)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    # --- what it holds, and when it has to go ---

    def _count(self) -> None:
        """Count what is held now."""
        memory, held = self._connections.memory, len(self._ahead) + self._arriving
        grows = held > self.held
        memory.hold(held - self.held)
        self.held = held
        if grows and memory.is_crowded:
            self._connections.make_room()

    def body_is_read(self) -> None:
        """The body of the request is not held here any more."""
        self._arriving = 0
        self._count()

    @property
    def at_work(self) -> bool:
        """Whether a request is being received or answered."""
        return (self._serving or bool(self._ahead)) and not self._unfetched_since

    def _is_arriving(self) -> bool:
        """Whether the body of a request is arriving that is being served."""
        return self._serving and self._body is not None and not self._body.ended

    def rank(self) -> int | None:
        """How early this is given up; None: never."""
        if self._unfetched_since or (self._is_arriving() and not self._refused):
            return INCOMPLETE
        if self._serving or self._refused:
            return None
        return INCOMPLETE if self._ahead else KNOWN if self.known else STRANGER

    def give_up(self) -> None:
        """Answer 503 if a request is arriving, and close; a call that is being kept is still answered."""
        if self._unfetched_since:
            self.abort()
        elif self._is_arriving():
            self._cut_off(answers.BUSY)
        elif self._serving:
            self.close()  # aiohttp does when it has answered
        elif self._ahead:
            self._refuse(answers.BUSY)
        else:
            self.force_close()
        self._refused, self._ahead, self._arriving = True, b"", 0
        self._count()

    def close_if_late(self, now: float) -> None:
        """Close if a deadline has passed that aiohttp does not know."""
        if self._unfetched_since:
            if now - self._unfetched_since > limits.WRITE_DEADLINE:
                self.abort()
        elif self._wire is not None and self._wire.is_closing():
            self._connections.leave(self, self._wire)

    def close_if_idle(self) -> None:
        """Close unless a request is being received or answered."""
        if not self.at_work:
            self.force_close()

    def abort(self) -> None:
        """Close at once."""
        if self._wire is not None:
            self._wire.abort()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, *args: Any
    ) -> web.StreamResponse:
        """Answer malformed HTTP, which aiohttp itself rejects, with 400, and our own errors with 500."""
        answer = answers.BAD_REQUEST
        if status >= 500:
            log.error("a request failed", exc_info=exc)
            answer = answers.FAULT
        response = web.Response(status=answer.status, body=answer.body, content_type=answer.content_type)
        response.force_close()
        return response
