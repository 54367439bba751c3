"""Server-sent events: what changes while somebody looks.

A stream says nothing more often than twice a second, and something every 15 s, so that proxies keep it open and we
hear of it when the browser is gone. A browser that does not fetch what it is sent is left alone: nothing piles up
for it, and nobody waits for it. A stream ends by itself after a while; browsers come back at once, and are asked
again who they are.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import TypeAlias

from aiohttp import web

from ingest.console import access
from ingest.console.visitor import visitor_of
from ingest.errors import IngestError

log = logging.getLogger(__name__)

#: An event: its name, and its text.
Event: TypeAlias = tuple[str, str]
#: Seconds between two updates of one stream, at least; a little more than half of one, since some travel faster.
PAUSE = 0.55
#: Seconds of silence after which a comment is sent.
PING = 15.0
#: Seconds that a browser may take to fetch what it is sent; then it is given up.
FETCH = 30.0
#: Seconds after which a stream ends, for the browser to ask again: a session that has ended must not look on.
LIFE = 600.0
#: Streams that are open at the same time, of all visitors: each takes a connection and some memory …
MOST_STREAMS = 100
#: … and of one name at one address, which may be a whole office: a page has one while it is seen.
MOST_OF_ONE = 40

HEADERS = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}


class _Stream:
    """An open one: whose it is, and the task that serves it."""

    def __init__(self, request: web.Request) -> None:
        visitor = visitor_of(request)
        self.owner = (visitor.name, visitor.address)
        self.task = asyncio.current_task()
        self._request = request

    def is_gone(self) -> bool:
        """Whether nobody reads it any more: where there is nothing to say, it has not come to notice."""
        return self._request.transport is None or self._request.transport.is_closing()


_open: web.AppKey[set[_Stream]] = web.AppKey("open streams")


def prepare(app: web.Application) -> None:
    """Have an application keep count of its streams, and end them when it stops."""
    app[_open] = set()
    app.on_shutdown.append(_end_all)


async def _end_all(app: web.Application) -> None:
    """End all streams: a stop must not wait for them."""
    for one in [*app[_open]]:
        if one.task is not None:
            one.task.cancel()


async def stream(request: web.Request, events: AsyncIterator[Event | Sequence[Event]]) -> web.StreamResponse:
    """Answer with events until they end or the browser is gone; several that come together are one update.

    What comes faster than `PAUSE` allows is held back: `events` should bring what is the case then, not a history.
    """
    mine = _Stream(request)
    there = request.app[_open]
    for one in [one for one in there if one.is_gone()]:  # who loads a page again and again has one, not forty
        there.discard(one)
        if one.task is not None:
            one.task.cancel()
    try:
        if len(there) >= MOST_STREAMS or sum(one.owner == mine.owner for one in there) >= MOST_OF_ONE:
            raise web.HTTPServiceUnavailable(text="Too many pages are open at the same time.")
        response = web.StreamResponse(headers=HEADERS)
        if request.method == "HEAD":
            return web.Response(headers=HEADERS)
        there.add(mine)
        await _serve(request, response, events)
    finally:
        there.discard(mine)
        with suppress(Exception):
            await events.aclose()  # type: ignore[attr-defined]  # what is written with `yield` has it
    return response


async def _serve(
    request: web.Request, response: web.StreamResponse, events: AsyncIterator[Event | Sequence[Event]]
) -> None:
    """From the first byte on, there is no other answer: what fails ends the stream, and the log says why."""
    try:
        await response.prepare(request)
        await _send(request, response, events)
    except (ConnectionError, TimeoutError):  # it is gone, or does not fetch what it is sent
        if request.transport is not None:
            request.transport.abort()
    except IngestError as error:
        log.info("%s ends: %s", request.path, error)
    except Exception:
        log.exception("%s failed", request.path)


async def _send(
    request: web.Request, response: web.StreamResponse, events: AsyncIterator[Event | Sequence[Event]]
) -> None:
    until = time.monotonic() + LIFE
    following = asyncio.ensure_future(anext(events, None))
    try:
        while time.monotonic() < until:
            done, _ = await asyncio.wait([following], timeout=PING)
            if await access.is_over(request):
                return
            if not done:
                await _write(response, b": \n\n")
                continue
            if (update := following.result()) is None:
                return
            await _write(response, encoded(update))
            await asyncio.sleep(PAUSE)
            following = asyncio.ensure_future(anext(events, None))
    finally:
        following.cancel()
        await asyncio.wait([following])  # it may hold something: nothing is left running behind the answer
        if not following.cancelled():
            following.exception()  # seen, so that nobody is told of it at the end of the process


async def _write(response: web.StreamResponse, text: bytes) -> None:
    async with asyncio.timeout(FETCH):
        await response.write(text)


def encoded(update: Event | Sequence[Event]) -> bytes:
    """Events as they are sent. A lone carriage return would end a line, too."""
    one = isinstance(update[0], str)
    return b"".join(_encoded(*event) for event in ([update] if one else update))


def _encoded(name: str, text: str) -> bytes:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return f"event: {name}\n{''.join(f'data: {line}' + chr(10) for line in lines)}\n".encode(errors="replace")
