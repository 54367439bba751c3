"""Signing in and out."""

import logging
import math

from aiohttp import web

from ingest.console import access, ways
from ingest.console.peers import PEER
from ingest.console.rendering import page
from ingest.console.sessions import Role, Session
from ingest.console.visitor import visitor_of

log = logging.getLogger(__name__)

routes = web.RouteTableDef()


@routes.get("/login")
async def login(request: web.Request) -> web.Response:
    """The form; who has signed in already, or need not, goes on."""
    following = ways.own(request.query.get("next", "/"))
    if visitor_of(request).name:
        raise web.HTTPSeeOther(following)
    return page(request, "login.html", following=following, ended="ended" in request.query, wrong=False, wait=None)


@routes.post("/login")
async def sign_in(request: web.Request) -> web.Response:
    """Look at the password; a new session begins, whatever was before."""
    form = await request.post()
    following, password = ways.own(str(form.get("next", "/"))), str(form.get("password", ""))
    client = request[PEER].client
    if wait := math.ceil(request.app[access.ATTEMPTS].wait(client)):
        shown = page(request, "login.html", 429, following=following, ended=False, wrong=False, wait=wait)
        shown.headers["Retry-After"] = str(wait)
        return shown
    role = await request.app[access.PASSWORDS].role_of(password)
    if role is Role.NOBODY:
        log.warning("somebody at %s did not know the password", client, extra={"event": "console-refused"})
        return page(request, "login.html", 403, following=following, ended=False, wrong=True, wait=None)
    request.app[access.ATTEMPTS].succeeded(client)
    log.info("somebody at %s signed in as %s", client, role.name.lower(), extra={"event": "console-signed-in"})
    await _end(request)
    access.put(request, Session.new(role, request.app[access.CLOCK](), request[access.SESSION].language))
    raise web.HTTPSeeOther(following)


@routes.post("/logout")
async def logout(request: web.Request) -> web.Response:
    """End the session, also in the hands of whoever has copied its cookie."""
    await _end(request)
    access.put(request, Session.new(Role.NOBODY, request.app[access.CLOCK](), request[access.SESSION].language))
    raise web.HTTPSeeOther("/login")


async def _end(request: web.Request) -> None:
    session = request[access.SESSION]
    if session.role is not Role.NOBODY:
        await request.app[access.ENDED].add(session)
