"""The fast path: calls of the shape that nearly all have reach the intake without a web framework between.

That shape is a plain POST to our path with one Content-Length and nothing that asks for special treatment.
Whatever else arrives, be it another method, another path, chunks, `Expect`, a large body or something that is not
HTTP, is handed to aiohttp with every byte as it came, and the connection with it: only one place here knows all of
HTTP, and it is not this one. What this gains is measured in `make bench`.
"""

import asyncio
import re
import time
from collections.abc import Callable
from typing import cast

from ingest.copernica.signature import HeaderFields
from ingest.endpoint import answers
from ingest.endpoint.answers import Answer
from ingest.endpoint.intake import Intake
from ingest.endpoint.limits import BODY_DEADLINE, DEADLINE_CHECK_INTERVAL, HEAD_DEADLINE, KEEPALIVE

#: Bytes of a head that is waited for here; aiohttp judges longer ones.
HEAD_MAX = 16 * 1024
#: Bytes of a body that is waited for here; of larger ones the intake keeps count from their first byte.
BODY_MAX = 64 * 1024
#: Bytes that a sender may be ahead of our answers before its connection is not read any more.
AHEAD_MAX = 64 * 1024

# What does not match is aiohttp's to judge, and that includes blanks before a colon, characters that are not ASCII
# and line ends other than CRLF. None of the expressions has two ways to match the same bytes.
_FIRST = rb"POST (/[!-\"$-~]*) HTTP/1\.1\r\n"
_LINE = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e]*(?:\r\n[\t ][\t\x20-\x7e]*)*\r\n"
_FIRST_LINE = re.compile(_FIRST)
_HEAD = re.compile(_FIRST + rb"((?:" + _LINE + rb")+)\r\n")
_HEADER = re.compile(rb"([^:]+):([^\r]*(?:\r\n[\t ][^\r]*)*)\r\n")
_FOLD = re.compile(rb"\r\n[\t ]+")
#: Headers that ask for more than the fast path does.
_SPECIAL = frozenset(
    {b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer", b"te", b"connection"}
)

Fallback = Callable[[], asyncio.Protocol]


class FastPath:
    """What the connections of one process share."""

    def __init__(self, intake: Intake, path: str, fallback: Fallback, limit: int) -> None:
        """`fallback` makes the protocol that gets what is not plain; `limit` is in connections."""
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
        """Close connections that are too slow or were idle too long; runs until cancelled."""
        while True:
            await asyncio.sleep(DEADLINE_CHECK_INTERVAL)
            now = time.monotonic()
            for connection in list(self.connections):
                connection.close_if_late(now)

    def close_idle(self) -> None:
        """Close the connections that have nothing to wait for."""
        for connection in list(self.connections):
            connection.close_if_idle()

    @property
    def busy(self) -> bool:
        """Whether any connection is at work on a request, or in the middle of receiving one."""
        return any(connection.at_work for connection in self.connections)

    def kept(self) -> bytes:
        """The answer that nearly all calls get, made once a second."""
        second = int(time.time())
        if self._kept[0] != second:
            self._kept = second, answers.KEPT.raw(close=False)
        return self._kept[1]


class FastPathProtocol(asyncio.Protocol):
    """One connection, until it brings something special."""

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
        #: Bytes that came in and are not a whole request yet, or came before the last one was answered.
        self._ahead = b""
        #: How many bytes the request in `_ahead` has in all; 0 while its head is not complete.
        self._needs = 0
        #: When its first byte came in.
        self._began = 0.0
        self._idle_since = time.monotonic()
        self._advancing = False
        self._busy = False
        self._closes = False
        self._ended = False
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection was made."""
        self._transport = cast(asyncio.Transport, transport)
        self._fast_path.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone; a call that is on its way to Redis stays on it."""
        self._transport = None
        self._fast_path.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came in: a whole request, nearly always."""
        if self._ahead:
            data = self._ahead + data
        if self._busy or len(data) < self._needs:
            self._keep(data)
            return
        self._advance(data)

    def eof_received(self) -> bool:
        """The sender will send no more, but may still be waiting for its answer."""
        self._ended = True
        if not self._busy:
            self._end()
        return self._busy

    def _end(self) -> None:
        """Nothing more will come and nothing is at work."""
        if self._transport is None:
            return
        if self._ahead:  # less came than was announced
            self._transport.write(answers.BAD_REQUEST.raw(close=True))
        self._transport.close()

    def _keep(self, data: bytes) -> None:
        if not self._ahead:
            self._began = time.monotonic()
        self._ahead = data
        if self._busy and len(data) > AHEAD_MAX and not self._paused and self._transport is not None:
            self._transport.pause_reading()
            self._paused = True

    def _advance(self, data: bytes) -> None:
        """Take the requests in `data`, one after the other as they are answered."""
        self._advancing = True
        try:
            while data:
                data = self._take_one(data)
        finally:
            self._advancing = False

    def _take_one(self, data: bytes) -> bytes:
        """Take the request at the beginning of `data`, or find out what it still needs, or who else takes it.

        Returns what is left to be looked at now.
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
        """Bytes of body that follow, or None if this request is not of the plain kind."""
        fast_path = self._fast_path
        if target != fast_path.path and (
            not target.startswith(fast_path.below) or b"%" in target or b"/." in target
        ):
            return None
        if len(headers) != count or b"host" not in headers:
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
        """The intake has done with the call; go on with what came in meanwhile."""
        self._busy = False
        self._idle_since = time.monotonic()
        if self._transport is None:
            return
        if self._closes or self._fast_path.closing:
            self._transport.write(answer.raw(close=True))
            self._transport.close()
            return
        self._transport.write(self._fast_path.kept() if answer is answers.KEPT else answer.raw(close=False))
        if self._advancing:
            return  # it was answered at once: the loop goes on by itself
        if self._paused:
            self._transport.resume_reading()
            self._paused = False
        ahead, self._ahead = self._ahead, b""
        self._advance(ahead)
        if self._ended and not self._busy:
            self._end()

    def _hand_over(self, data: bytes) -> None:
        transport, fast_path = self._transport, self._fast_path
        if transport is None or transport.is_closing():
            return  # aiohttp would begin with a connection that is lost already
        self._transport, self._ahead = None, b""
        fast_path.connections.discard(self)
        successor = fast_path.fallback()
        transport.set_protocol(successor)
        successor.connection_made(transport)
        successor.data_received(data)
        if self._ended and not successor.eof_received():
            transport.close()

    def close_if_late(self, now: float) -> None:
        """Close if too slow or idle too long."""
        if self._busy or self._transport is None:
            return
        if self._ahead:
            if now - self._began > (BODY_DEADLINE if self._needs else HEAD_DEADLINE):
                self._transport.write(answers.TOO_SLOW.raw(close=True))
                self._transport.close()
        elif now - self._idle_since > KEEPALIVE:
            self._transport.close()

    def close_if_idle(self) -> None:
        """Close if there is nothing to answer."""
        if not self.at_work and self._transport is not None:
            self._transport.close()

    @property
    def at_work(self) -> bool:
        """Whether a request is being received or answered."""
        return self._busy or bool(self._ahead)


def _unfold(headers: dict[bytes, bytes]) -> bool:
    """Make the one header plain that may be folded: Copernica's article shows Signature in several lines.

    Any other folded header is aiohttp's to refuse: then False.
    """
    folded = [name for name, value in headers.items() if b"\r" in value]
    if folded != [b"signature"]:
        return False
    headers[b"signature"] = _FOLD.sub(b" ", headers[b"signature"])
    return True


def _may_become_plain(data: bytes) -> bool:
    """Whether bytes that hold no plain head may be the beginning of one."""
    if b"\r\n\r\n" in data or len(data) > HEAD_MAX:
        return False
    if b"\n" in data:
        return _FIRST_LINE.match(data) is not None
    return data.startswith(b"POST /"[: len(data)])
