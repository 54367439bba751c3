"""Events as a file, however many: as fast as the browser takes them, and with a few thousand in memory.

A thread of its own for each reads and writes them; no transaction is open while the browser is slow. The audit has
who took how many. A browser that goes away ends it. Where the database goes away, the connection is cut, lest
somebody take what has arrived for all.
"""

import asyncio
import io
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from aiohttp import web

from ingest.console import access
from ingest.console.reading import reading_of
from ingest.console.visitor import Visitor, visitor_of
from ingest.console.wanted import Wanted
from workers.operations import audit
from workers.operations.exporting import write_csv, write_header, write_jsonl
from workers.store import search
from workers.store.filters import Filter
from workers.store.store import Store

log = logging.getLogger(__name__)

#: Events that are read at once.
PORTION = 500
#: Exports at the same time: each takes a thread and a connection to the database.
MOST_EXPORTS = 3
#: Pieces that wait for the browser, each of `PORTION` events.
WAITING = 2
#: Seconds between two looks whether the browser is still there, while nothing is found.
LOOK_EVERY = 2.0
#: By what the address calls them, and how a browser is told.
FORMATS = {"csv": "text/csv", "jsonl": "application/jsonl"}

_RUNNING = web.AppKey("exports", set[threading.Event])


def prepare(app: web.Application) -> None:
    """Have an application count its exports, and end them when it stops."""
    app[_RUNNING] = set()

    async def end(app: web.Application) -> None:
        for gone in app[_RUNNING]:
            gone.set()

    app.on_shutdown.append(end)


async def export(request: web.Request, wanted: Wanted) -> web.StreamResponse:
    """Answer with all that is wanted, the newest first, as CSV or JSON lines.

    Raises:
        HTTPForbidden: a page of another site has the browser ask for it.
        HTTPNotFound, HTTPServiceUnavailable: there is no such format; as many are under way as may be.
    """
    form = request.query.get("format", "csv")
    if form not in FORMATS:
        raise web.HTTPNotFound
    running = request.app[_RUNNING]
    if len(running) >= MOST_EXPORTS:
        raise web.HTTPServiceUnavailable(text="Several exports are under way: wait until one has ended.")
    gone = threading.Event()
    running.add(gone)  # before anything is waited for: others look meanwhile
    try:
        return await _exported(request, wanted, form, gone)
    finally:
        running.discard(gone)


async def _exported(request: web.Request, wanted: Wanted, form: str, gone: threading.Event) -> web.StreamResponse:
    store = await reading_of(request).store(lambda store: store)
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING)
    put = partial(_put, asyncio.get_running_loop(), pieces)
    work = partial(_work, store, visitor_of(request), wanted, form, put, gone)
    producing = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await _sent(request, form, pieces, producing)
    finally:
        gone.set()
        while not producing.done():  # it may wait for room
            with suppress(asyncio.QueueEmpty):
                pieces.get_nowait()
            await asyncio.wait([producing], timeout=0.05)
        if not producing.cancelled():
            producing.exception()


async def _sent(
    request: web.Request, form: str, pieces: asyncio.Queue[bytes | None], producing: "asyncio.Future[None]"
) -> web.StreamResponse:
    name = f"events-{datetime.now(UTC):%Y-%m-%d-%H%M}.{form}"
    headers = {
        "Content-Type": f"{FORMATS[form]}; charset=utf-8",
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Accel-Buffering": "no",
    }
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    with suppress(ConnectionError):
        while (piece := await _next(request, pieces)) is not None:
            # Whom a proxy names, that has let in for a time only, may take longer over a large file.
            if visitor_of(request).signed_in and await access.is_over(request):
                if request.transport is not None:
                    request.transport.abort()  # else the browser takes a part for the whole
                return response
            await response.write(piece)
        await asyncio.wait([producing])
        if (error := producing.exception()) is not None:
            log.warning("an export was cut off: %s", error)
            if request.transport is not None:
                request.transport.abort()
            return response
        await response.write_eof()
    return response


async def _next(request: web.Request, pieces: asyncio.Queue[bytes | None]) -> bytes | None:
    """The next piece; None at the end.

    Raises:
        ConnectionResetError: the browser is gone, which nobody notices who has nothing to write.
    """
    while True:
        with suppress(TimeoutError):
            return await asyncio.wait_for(pieces.get(), LOOK_EVERY)
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError


def _put(loop: asyncio.AbstractEventLoop, pieces: asyncio.Queue[bytes | None], piece: bytes | None) -> None:
    """In the thread: hand on a piece, as soon as there is room for it."""
    asyncio.run_coroutine_threadsafe(pieces.put(piece), loop).result()


def _work(
    store: Store,
    visitor: Visitor,
    wanted: Wanted,
    form: str,
    put: Callable[[bytes | None], None],
    gone: threading.Event,
) -> None:
    """In its thread: read, write, and note it in the audit."""

    def do() -> int:
        done = 0
        put(_header(form))
        for events, text in portions(store, wanted.filter, form):
            if gone.is_set():
                break
            if text:
                put(text.encode("utf-8", "replace"))
            done += events
        return done

    try:
        what = {"format": form, **wanted.noted}
        audit.noted(store, visitor.name, audit.CONSOLE, "export", what, do, visitor.address)
    finally:
        put(None)


def _header(form: str) -> bytes:
    out = io.StringIO()
    if form == "csv":
        write_header(out)
    return out.getvalue().encode()


def portions(store: Store, wanted: Filter, form: str) -> Iterator[tuple[int, str]]:
    """Events as text, some at a time, and how many each time."""
    write = write_csv if form == "csv" else write_jsonl
    for lines in search.each(store, wanted, PORTION):
        found = {event.delivery_id: event for event in store.with_ids([line.delivery_id for line in lines])}
        # In the order of the list; what was erased since is left out.
        events = [found[line.delivery_id] for line in lines if line.delivery_id in found]
        out = io.StringIO()
        write(events, out)
        yield len(events), out.getvalue()
        time.sleep(0)  # the pages of others come first
