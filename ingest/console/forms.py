"""Forms that come in: only those that a page of ours sent, from this browser, and none that is large or slow."""

import asyncio
import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from aiohttp import web

from ingest.console.marking import _
from ingest.console.peers import PEER
from ingest.console.visitor import visitor_of

#: Seconds that a form may take to arrive.
PATIENCE = 10.0
#: What browsers send a form as, unless it has files; ours have none.
FORM = "application/x-www-form-urlencoded"
#: The ports that browsers do not write.
USUAL_PORTS = {"http": ":80", "https": ":443"}

#: What is asked for by a link of ours and takes long, or takes data out; and with which of these in its query.
DEAR: Mapping[str, tuple[str, ...]] = {
    "/events/export": (),
    "/erase": ("recipient", "event"),
    "/dead-letters/all": (),
    "/quarantine/all": (),
    "/system/check": (),
    "/system/database": ("measure",),
}


FOREIGN = _("This was sent by a page of another site, so nothing was done.")
STALE = _("This form is too old, or was not made here. Nothing was done: load its page again.")
UNREADABLE = _("This form cannot be read.")
NOT_FROM_A_LINK = _("A page of another site may not begin this: go there from the console itself.")


async def require_ours(request: web.Request, with_token: bool = True) -> None:
    """Let a form through that this visitor's own page sent.

    One that changes nothing may come `with_token` False: its page may be older than the session.

    Raises:
        HTTPForbidden: another site sent it, or it was made before this session.
        HTTPUnsupportedMediaType, HTTPRequestEntityTooLarge, HTTPRequestTimeout, HTTPBadRequest: it is no form.
    """
    if not is_from_us(request):
        raise web.HTTPForbidden(text=FOREIGN)
    length = request.content_length
    if request.can_read_body and (request.content_type != FORM or request.charset not in (None, "utf-8", "UTF-8")):
        raise web.HTTPUnsupportedMediaType(text=UNREADABLE)
    if length is not None and length > request.client_max_size:
        raise web.HTTPRequestEntityTooLarge(request.client_max_size, length)
    try:
        async with asyncio.timeout(PATIENCE):
            body = await request.read()
            given = (await request.post()).getall("_csrf", [])
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=UNREADABLE) from None
    except (ValueError, LookupError):  # not UTF-8, or too many fields
        raise web.HTTPBadRequest(text=UNREADABLE) from None
    # Half a form might choose more than the whole one: everything, where the rest would have said which.
    if (length is not None and len(body) != length) or getattr(request.protocol, "cut_off", None) is not None:
        raise web.HTTPBadRequest(text=UNREADABLE)
    if not with_token:
        return
    wanted = visitor_of(request).csrf.encode()
    one = given[0] if len(given) == 1 and isinstance(given[0], str) else ""
    if not hmac.compare_digest(one.encode("utf-8", "surrogatepass"), wanted):
        raise web.HTTPForbidden(text=STALE)


def is_from_us(request: web.Request) -> bool:
    """Whether the browser says that the page that sent this is of this very console, or is no browser."""
    peer = request[PEER]
    headers = request.headers
    if headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return False
    origins = headers.getall("Origin", [])
    if not origins and (referer := headers.get("Referer")):
        origins = [referer]
    for origin in origins:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        port = USUAL_PORTS.get(parts.scheme)
        if port is None or (peer.is_secure and parts.scheme != "https"):
            return False
        if parts.netloc.lower().removesuffix(port) != peer.host.removesuffix(port):
            return False
    return len(origins) < 2


def may_load(request: web.Request) -> bool:
    """Whether what a page of another site asks for is no more than that somebody follows a link."""
    if request.headers.get("Sec-Fetch-Site", "none") not in ("cross-site", "same-site"):
        return True
    mode, destination = (request.headers.get(f"Sec-Fetch-{name}", "") for name in ("Mode", "Dest"))
    return mode == "navigate" and destination in ("document", "") and not request.path.startswith("/live/")


def is_dear(request: web.Request) -> bool:
    """Whether what is asked for takes long, or takes data out: no link of another site may begin it."""
    asked = DEAR.get(request.path)
    return asked is not None and (not asked or any(name in request.query for name in asked))


def require_from_here(request: web.Request) -> None:
    """Refuse what takes long or takes data out, where a page of another site has a browser ask for it.

    Raises:
        HTTPForbidden: it does.
    """
    if is_dear(request) and request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise web.HTTPForbidden(text=NOT_FROM_A_LINK)
