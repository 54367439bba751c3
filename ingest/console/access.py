"""Who is looking, and what they may do: each request has a visitor before any page sees it."""

import hmac
import secrets
from collections.abc import Awaitable, Callable

from aiohttp import web

from ingest.console.texts import LANGUAGES, preferred
from ingest.console.visitor import VISITOR, Visitor

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Methods that change nothing.
SAFE = frozenset({"GET", "HEAD"})
_TOKEN = secrets.token_urlsafe(32)


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find out who that is; refuse an action that no page of ours sent."""
    asked = request.query.get("lang", "")
    language = asked if asked in LANGUAGES else preferred(request)
    request[VISITOR] = visitor = Visitor("local", may_act=True, csrf=_TOKEN, language=language)
    if request.method not in SAFE:
        given = (await request.post()).get("_csrf", "")
        if not visitor.may_act or not isinstance(given, str) or not hmac.compare_digest(given, visitor.csrf):
            raise web.HTTPForbidden(text="This form is too old, or was not made here: load its page again.")
    return await handler(request)
