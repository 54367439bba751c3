"""What all answers of the fake API have in common: pages, refusals, and connections that break."""

import asyncio
from typing import NamedTuple, NoReturn

from aiohttp import web

from ingest.simulation.api_faults import Fault

FAULT = web.RequestKey("fault", Fault)
#: Entities in a page by default, and at most.
PAGE, MAX_PAGE = 100, 1000


class Refused(Exception):  # an answer, no fault of the program's
    """A request that is answered with 400; its message says why."""


class Slice(NamedTuple):
    """The part of a list that is asked for, and whether its length is."""

    start: int
    limit: int
    total: bool


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
