"""What all answers of the fake API have in common: pages, refusals, and connections that break."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import orjson
from aiohttp import web

from ingest.simulation.api_faults import Fault
from ingest.simulation.api_files import BLOCK

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

FAULT = web.RequestKey("fault", Fault)
#: Entities in a page by default, and at most.
PAGE, MAX_PAGE = 100, 1000


#: A number that no account has that many results of.
FAR_TOO_MANY = 9_999_999
#: What a page says of itself.
_OF_PAGES = ("start", "limit", "count", "total")
#: Fields that results and messages always have.
_ALWAYS = ("ID", "id", "messageID", "internal", "timestamp", "timestampsent", "destination", "mailing", "emailing")


class Refused(Exception):  # an answer, no fault of the program's
    """A request that is answered with 400; its message says why."""


class Slice(NamedTuple):
    """The part of a list that is asked for, and whether its length is."""

    start: int
    limit: int
    total: bool

    def start_now(self, request: web.Request) -> int:
        """Where the page starts, if a row before it was removed or inserted since the page before it was sent."""
        moved = {Fault.REMOVED: 1, Fault.INSERTED: -1}.get(request[FAULT], 0)
        return max(0, self.start + moved) if self.start else 0


def slice_of(request: web.Request) -> Slice:
    """The part of a list that a request asks for.

    Raises:
        Refused: it asks for none.
    """
    try:
        start, limit = int(request.query.get("start", 0)), int(request.query.get("limit", PAGE))
    except ValueError:
        raise Refused("Invalid parameters") from None
    if not 0 <= start < 2**63 or limit < 1:
        raise Refused("Invalid parameters")
    return Slice(start, min(limit, MAX_PAGE), request.query.get("total") not in ("false", "0"))


def page_of(request: web.Request, strings: bool, data: list[Any], total: int | None) -> web.Response:
    """A page of a list with these entities; `total` is given if it was asked for."""
    asked, fault = slice_of(request), request[FAULT]
    data = [] if fault is Fault.NO_ROWS else data
    page: dict[str, Any] = {"start": asked.start, "limit": asked.limit, "count": len(data), "data": data}
    if total is not None:
        page["total"] = total
    if fault is Fault.LIES:
        page |= {"total": FAR_TOO_MANY if len(data) < asked.limit else len(data), "count": 0}
    return answer(request, strings, page)


def answer(request: web.Request, strings: bool, content: dict[str, Any]) -> web.Response:
    """What there is to tell, in the form in which it comes this time; `strings` is whether numbers are strings."""
    fault = request[FAULT]
    if fault in (Fault.NULL, Fault.BLANK):
        kept = _ALWAYS if fault is Fault.BLANK else ()
        of_page = {name: value for name, value in content.items() if name in _OF_PAGES}
        content = _emptied(content, kept) | of_page
    if fault is Fault.STRINGS or (strings and fault is not Fault.NUMBERS):
        content = _in_strings(content)
    return web.Response(body=orjson.dumps(content), content_type="application/json")


def _emptied(content: Any, kept: tuple[str, ...]) -> Any:
    """The same with null for everything but what is kept."""
    if isinstance(content, dict):
        return {name: value if name in kept else _emptied(value, kept) for name, value in content.items()}
    return [_emptied(one, kept) for one in content] if isinstance(content, list) else None


def _in_strings(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _in_strings(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_in_strings(one) for one in content]
    return str(int(content)) if isinstance(content, int) else content


def refusal(status: int, message: str, **headers: str) -> web.Response:
    """A failure in the form of Copernica's."""
    return web.json_response({"error": {"message": message}}, status=status, headers=headers)


async def send_half(request: web.Request, answer: web.Response) -> None:
    """Send the first half of an answer that is announced as a whole."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    begun = web.StreamResponse(status=answer.status, headers=answer.headers)
    begun.content_length = len(body)
    await begun.prepare(request)
    await begun.write(body[: len(body) // 2])


async def send_file(
    request: web.Request, path: Path, pieces: Iterator[bytes], content_type: str, announced: bool
) -> web.StreamResponse:
    """Send a log file, of which a fault cuts off the second half; `announced`: as `path` is, with its length."""
    response = web.StreamResponse()
    response.content_type = content_type
    size = path.stat().st_size
    if announced:
        response.content_length = size
    await response.prepare(request)
    middle = size // 2
    sent = 0
    async for block in _blocks(pieces):
        sent += len(block)
        if request[FAULT] in (Fault.CUT, Fault.SHORT, Fault.SLOW) and sent > middle:
            await response.write(block[: len(block) // 2])
            await break_off(request, request[FAULT])
        await response.write(block)
    await response.write_eof()
    return response


async def _blocks(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Pieces of any size, as blocks worth sending; other requests get their turn in between."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= BLOCK:
            yield b"".join(held)
            held, size = [], 0
            await asyncio.sleep(0)
    yield b"".join(held)


async def break_off(request: web.Request, fault: Fault) -> NoReturn:
    """Abandon an answer: reset the connection, close it, or stay silent until the client gives up."""
    transport = request.transport
    if fault is Fault.SLOW:
        while transport is not None and not transport.is_closing():
            await asyncio.sleep(0.05)
    elif transport is not None:
        await asyncio.sleep(0.01)  # so that what was written is on its way
        transport.abort() if fault is Fault.CUT else transport.close()
    raise asyncio.CancelledError  # which aiohttp takes for a client that has left
