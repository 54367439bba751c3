"""Server-sent events: what changes while somebody looks.

A stream says nothing more often than twice a second, and something every 15 s, so that proxies keep it open and we
hear of it when the browser is gone.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web

#: Seconds between two events of one stream, at least.
PAUSE = 0.5
#: Seconds of silence after which a comment is sent.
PING = 15.0
#: Streams that are open at the same time, of all visitors: each takes a connection and some memory.
MOST_STREAMS = 100

_open = web.AppKey("open streams", set[asyncio.Task[None]])


def prepare(app: web.Application) -> None:
    """Have an application keep count of its streams, and end them when it stops."""
    app[_open] = set()
    app.on_shutdown.append(_end)


async def _end(app: web.Application) -> None:
    streams = app[_open]
    for sending in list(streams):
        sending.cancel()


async def stream(request: web.Request, events: AsyncIterator[tuple[str, str]]) -> web.StreamResponse:
    """Answer with events, each a name and its text, until they end or the browser is gone.

    What comes faster than `PAUSE` allows is held back: `events` should bring what is the case then, not a history.
    """
    if len(request.app[_open]) >= MOST_STREAMS:
        raise web.HTTPServiceUnavailable(text="Too many pages are open at the same time.")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    await response.prepare(request)
    sending = asyncio.create_task(_send(response, events))
    request.app[_open].add(sending)
    try:
        await sending
    except (ConnectionResetError, asyncio.CancelledError):  # the browser is gone, or the console stops
        sending.cancel()
        await asyncio.wait([sending])
    finally:
        request.app[_open].discard(sending)
        with suppress(Exception):
            await events.aclose()  # type: ignore[attr-defined]  # what is written with `yield` has it
    return response


async def _send(response: web.StreamResponse, events: AsyncIterator[tuple[str, str]]) -> None:
    following = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            done, _ = await asyncio.wait([following], timeout=PING)
            if not done:
                await response.write(b": \n\n")
                continue
            if (event := following.result()) is None:
                return
            await response.write(encoded(*event))
            await asyncio.sleep(PAUSE)
            following = asyncio.ensure_future(anext(events, None))
    finally:
        following.cancel()
        await asyncio.wait([following])


def encoded(name: str, text: str) -> bytes:
    """One event as it is sent. A lone carriage return would end a line, too."""
    lines = text.replace("\r", "").split("\n")
    return f"event: {name}\n{''.join(f'data: {line}' + chr(10) for line in lines)}\n".encode()
