"""What a form asks for is done once, however often it is sent: by a token that each form that acts brings.

A second click, a browser that sends its form again, and the button of a page that somebody went back to bring the
token that was there before. They wait for what the first began, are led to where it led, and are told that nothing
was done this time. A page that is loaded again has a new token.

    done        remembered: the same form does nothing more
    goes on     the same: it takes longer than its page waits
    not done    forgotten, as somebody was in the way, or something failed: it may be sent again

The same form filled in otherwise (another box ticked, the other button) is another one.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from hashlib import sha256

from aiohttp import web

from ingest.console.access import ASKING, OWN_SESSION, SAFE
from ingest.console.reading import GOES_ON
from ingest.errors import IngestError, Unavailable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: The field of a form, and what the address of a page then has.
FIELD, TWICE = "_once", "twice"
#: Forms that are remembered: a second click comes within seconds, somebody who goes back within the day.
REMEMBERED = 10_000
_TOKEN = re.compile(r"[\w-]{20,60}", re.ASCII)

_Key = tuple[str, bytes]
#: Where what was done leads to; `GOES_ON` while nobody knows; None: it was not done.
_Outcome = asyncio.Future[str | None]

_DONE = web.AppKey("done", dict[_Key, _Outcome])
_ACTED = web.RequestKey("acted", bool)


def prepare(app: web.Application) -> None:
    """Have an application remember what was done."""
    app[_DONE] = {}


def token() -> str:
    """A token for a form."""
    return secrets.token_urlsafe(18)


def acted(request: web.Request) -> None:
    """Note that what a request asks for is done, or begun."""
    request[_ACTED] = True


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """See the module. The visitor may act, and their own page sent the form: `access` has seen to that."""
    if request.method in SAFE or request.path in ASKING | OWN_SESSION:
        return await handler(request)
    key, done = await _key(request), request.app[_DONE]
    if key is None:
        return await handler(request)
    while (before := done.get(key)) is not None:
        if (outcome := await asyncio.shield(before)) is not None:
            raise Unavailable(GOES_ON) if outcome == GOES_ON else web.HTTPSeeOther(_twice(outcome))
    done[key] = outcome_of_this = asyncio.get_running_loop().create_future()
    outcome = None
    try:
        return await handler(request)
    except web.HTTPSeeOther as answer:
        outcome = str(answer.location) if request.get(_ACTED) else None
        raise
    except IngestError as error:
        outcome = GOES_ON if str(error) == GOES_ON else None
        raise
    finally:
        if outcome is None:
            del done[key]
        outcome_of_this.set_result(outcome)
        _forget_oldest(done)


async def _key(request: web.Request) -> _Key | None:
    """What tells a form from all others; None where it brings no token, as one that a script sends."""
    given = (await request.post()).getall(FIELD, [])
    if len(given) != 1 or not isinstance(given[0], str) or not _TOKEN.fullmatch(given[0]):
        return None
    return request.path, sha256(await request.read()).digest()


def _twice(location: str) -> str:
    path, mark, place = location.partition("#")
    return f"{path}{'&' if '?' in path else '?'}{TWICE}=1{mark}{place}"


def _forget_oldest(done: dict[_Key, _Outcome]) -> None:
    over = len(done) - REMEMBERED
    for key in [key for key, outcome in done.items() if outcome.done()][: max(over, 0)] if over > 0 else []:
        del done[key]
