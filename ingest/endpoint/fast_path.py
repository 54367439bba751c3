"""The fast path: plain calls, which nearly all are, reach the intake without a web framework in between.

A plain call is a POST to our path with one Content-Length and nothing that asks for special treatment. Anything
else (another method or path, chunks, `Expect`, a large body, what is not HTTP) is handed to aiohttp together with
its connection, every byte as it arrived: aiohttp knows all of HTTP, so this module does not have to. `make bench`
measures what this gains.
"""

import asyncio
import re
import time
from collections.abc import Callable
from typing import cast

from ingest.copernica.header_fields import HeaderFields
from ingest.endpoint.answers import BAD_REQUEST, KEPT, TOO_SLOW, Answer
from ingest.endpoint.heads import HEADERS_MAX, TARGET_MAX, refusal, unfold
from ingest.endpoint.intake import Intake
from ingest.endpoint.limits import BODY_DEADLINE, DEADLINE_CHECK_INTERVAL, HEAD_DEADLINE, KEEPALIVE

#: Bytes of the largest body that is read here; aiohttp reads larger ones, whose memory is counted from the first
#: byte on.
BODY_MAX = 64 * 1024
#: Bytes that a sender may send ahead of our answers before we stop reading its connection.
AHEAD_MAX = 64 * 1024

# What does not match is left to aiohttp, including blanks before a colon, characters that are not ASCII, and line
# ends other than CRLF. No expression can match the same bytes in two ways, so none backtracks.
_FIRST = rb"POST (/[!-\"$-~]*) HTTP/1\.1\r\n"
_LINE = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e]*(?:\r\n[\t ][\t\x20-\x7e]*)*\r\n"
_FIRST_LINE = re.compile(_FIRST)
_HEAD = re.compile(_FIRST + rb"((?:" + _LINE + rb")+)\r\n")
_HEADER = re.compile(rb"([^:]+):([^\r]*(?:\r\n[\t ][^\r]*)*)\r\n")
#: Headers that ask for more than the fast path does.
_SPECIAL = frozenset(
    {
        *(b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer", b"te", b"connection"),
        b"sec-websocket-key1",  # which aiohttp rejects
    }
)

Fallback = Callable[[], asyncio.Protocol]


class FastPath:
    """What the connections of one process share."""

    def __init__(self, intake: Intake, path: str, fallback: Fallback, limit: int) -> None:
        """`fallback` makes the protocol for what is not plain; at most `limit` connections are served here."""
        self.intake = intake
        self.path = path.encode()
        self.below = self.path + b"/"
        self.fallback = fallback
        self.limit = limit
        #: Set when the process is about to stop: every further answer closes its connection.
        self.closing = False
        self.connections: set[FastPathProtocol] = set()
        self._kept = (0, b"")

    def __call__(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        return FastPathProtocol(self) if len(self.connections) < self.limit else self.fallback()

    async def watch(self) -> None:
        """Close connections that are too slow or have been idle too long; runs until cancelled."""
        while True:
            await asyncio.sleep(DEADLINE_CHECK_INTERVAL)
            now = time.monotonic()
            for connection in list(self.connections):
                connection.close_if_late(now)

    def close_idle(self) -> None:
        """Close the connections that neither receive a request nor wait for an answer."""
        for connection in list(self.connections):
            connection.close_if_idle()

    @property
    def busy(self) -> bool:
        """Whether any connection is receiving a request or waiting for its answer."""
        return any(connection.at_work for connection in self.connections)

    def kept(self) -> bytes:
        """The bytes of `KEPT`, the answer to nearly all calls; made once a second: they contain the date."""
        second = int(time.time())
        if self._kept[0] != second:
            self._kept = second, KEPT.raw(close=False)
        return self._kept[1]


class FastPathProtocol(asyncio.Protocol):
    """One connection, until something arrives that is not plain."""

    __slots__ = (
        "_advancing",
        "_ahead",
        "_began",
        "_busy",
        "_closes",
        "_ended",
        "_fast_path",
        "_idle_since",
        "_needs",
        "_paused",
        "_transport",
    )

    def __init__(self, fast_path: FastPath) -> None:
        self._fast_path = fast_path
        self._transport: asyncio.Transport | None = None
        #: Bytes that are not a whole request yet, or arrived before the previous one was answered.
        self._ahead = b""
        #: Length of the request in `_ahead` in bytes; 0 while its head is incomplete.
        self._needs = 0
        #: When the first byte of `_ahead` arrived (monotonic).
        self._began = 0.0
        self._idle_since = time.monotonic()
        #: Whether `_advance` runs: an answer that is given meanwhile must not call it again.
        self._advancing = False
        #: Whether a request is with the intake.
        self._busy = False
        #: Whether that request asked for its connection to be closed.
        self._closes = False
        #: Whether the sender has sent its last byte.
        self._ended = False
        #: Whether reading is paused because of `AHEAD_MAX`.
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A sender has connected."""
        self._transport = cast(asyncio.Transport, transport)
        self._fast_path.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; a call that is on its way to Redis is kept all the same."""
        self._transport = None
        self._fast_path.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Take the bytes that arrived: nearly always one whole request."""
        if self._ahead:
            data = self._ahead + data
        if self._busy or len(data) < self._needs:
            self._keep(data)
            return
        self._advance(data)

    def eof_received(self) -> bool:
        """The sender will send no more, but may still be waiting for its answer: then stay open (True)."""
        self._ended = True
        if not self._busy:
            self._end()
        return self._busy

    def _end(self) -> None:
        """Close, as nothing more will arrive and nothing is being answered."""
        if self._transport is None:
            return
        if self._ahead:  # less arrived than was announced
            self._transport.write(BAD_REQUEST.raw(close=True))
        self._transport.close()

    def _keep(self, data: bytes) -> None:
        if not self._ahead:
            self._began = time.monotonic()
        self._ahead = data
        if self._busy and len(data) > AHEAD_MAX and not self._paused and self._transport is not None:
            self._transport.pause_reading()
            self._paused = True

    def _advance(self, data: bytes) -> None:
        """Take the requests in `data` one after the other, each when the previous one has been answered."""
        self._advancing = True
        try:
            while data:
                data = self._take_one(data)
        finally:
            self._advancing = False

    def _take_one(self, data: bytes) -> bytes:
        """Take the request at the beginning of `data`; keep what is incomplete, hand over what is not plain.

        Returns the bytes that can be taken next; empty if there are none or if an answer comes first.
        """
        head = _HEAD.match(data)
        if head is None:
            if _may_become_plain(data):
                self._keep(data)
            else:
                self._hand_over(data)
            return b""
        target, lines = head.groups()
        fields = _HEADER.findall(lines)
        headers = {name.lower(): value.strip(b" \t") for name, value in fields}
        plain = (b"\r\n " not in lines and b"\r\n\t" not in lines) or _unfold(headers)
        plain = plain and (head.end() <= TARGET_MAX or refusal(head[0]) is None)
        size = self._size(target, headers, len(fields)) if plain else None
        if size is None:
            self._hand_over(data)
            return b""
        end = head.end() + size
        if len(data) < end:
            self._keep(data)
            self._needs = end
            return b""
        self._ahead, self._needs = b"", 0
        self._busy = True
        self._closes = headers.get(b"connection", b"").lower() == b"close"
        body = data[head.end() : end]
        self._fast_path.intake.submit(target, HeaderFields(headers), body, self._answer)
        rest = data[end:]
        if self._busy:
            if rest:
                self._keep(rest)
            return b""
        return rest if self._transport is not None and not self._transport.is_closing() else b""

    def _size(self, target: bytes, headers: dict[bytes, bytes], count: int) -> int | None:
        """The length of the body in bytes, or None if the request is not plain.

        `count` is the number of header lines: fewer `headers` than that mean that a name occurred twice.
        """
        fast_path = self._fast_path
        if target != fast_path.path and (
            not target.startswith(fast_path.below) or b"%" in target or b"/." in target
        ):
            return None
        if len(headers) != count or count > HEADERS_MAX or b"host" not in headers:
            return None
        if not _SPECIAL.isdisjoint(headers):
            special = _SPECIAL.intersection(headers)
            if special != {b"connection"} or headers[b"connection"].lower() not in (b"close", b"keep-alive"):
                return None
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or len(length) > len(str(BODY_MAX)):
            return None
        size = int(length)
        return size if size <= min(BODY_MAX, fast_path.intake.max_body) and fast_path.intake.has_room else None

    def _answer(self, answer: Answer) -> None:
        """Write the answer of the intake, and go on with what has arrived meanwhile."""
        self._busy = False
        self._idle_since = time.monotonic()
        if self._transport is None:
            return
        if self._closes or self._fast_path.closing:
            self._transport.write(answer.raw(close=True))
            self._transport.close()
            return
        self._transport.write(self._fast_path.kept() if answer is KEPT else answer.raw(close=False))
        if self._advancing:
            return  # it was answered at once, and `_advance` goes on by itself
        if self._paused:
            self._transport.resume_reading()
            self._paused = False
        ahead, self._ahead = self._ahead, b""
        self._advance(ahead)
        if self._ended and not self._busy:
            self._end()

    def _hand_over(self, data: bytes) -> None:
        """Let aiohttp serve this connection from `data` on."""
        transport, fast_path = self._transport, self._fast_path
        if transport is None or transport.is_closing():
            return  # the connection is lost already: nothing to serve
        self._transport, self._ahead = None, b""
        fast_path.connections.discard(self)
        successor = fast_path.fallback()
        transport.set_protocol(successor)
        successor.connection_made(transport)
        successor.data_received(data)
        if self._ended and not successor.eof_received():
            transport.close()

    def close_if_late(self, now: float) -> None:
        """Close if a deadline has passed: answered 408 within a request, without a word when idle."""
        if self._busy or self._transport is None:
            return
        if self._ahead:
            if now - self._began > (BODY_DEADLINE if self._needs else HEAD_DEADLINE):
                self._transport.write(TOO_SLOW.raw(close=True))
                self._transport.close()
        elif now - self._idle_since > KEEPALIVE:
            self._transport.close()

    def close_if_idle(self) -> None:
        """Close unless a request is being received or answered."""
        if not self.at_work and self._transport is not None:
            self._transport.close()

    @property
    def at_work(self) -> bool:
        """Whether a request is being received or answered."""
        return self._busy or bool(self._ahead)


def _unfold(headers: dict[bytes, bytes]) -> bool:
    """Unfold the Signature header, which Copernica's article shows on several lines.

    Returns False if another header is folded: that is left to aiohttp, which rejects it.
    """
    folded = [name for name, value in headers.items() if b"\r" in value]
    if folded != [b"signature"]:
        return False
    headers[b"signature"] = unfold(headers[b"signature"])
    return True


def _may_become_plain(data: bytes) -> bool:
    """Whether `data`, which is not a complete plain head, may be the beginning of one."""
    if b"\r\n\r\n" in data or refusal(data):
        return False
    if b"\n" in data:
        return _FIRST_LINE.match(data) is not None
    return data.startswith(b"POST /"[: len(data)])
