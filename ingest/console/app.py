"""The application: its routes, what each answer has to have, and what is said where something fails."""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from aiohttp import web

from ingest.console import access, assets, live, once, pages, seals, tasks
from ingest.console.hub import HUB, Hub
from ingest.console.hub import running as hub_running
from ingest.console.origins import ORIGINS, UNKNOWN, Origins
from ingest.console.reading import READING, Reading
from ingest.console.rendering import page
from ingest.console.texts import translations
from ingest.console.visitor import VISITOR
from ingest.errors import IngestError
from ingest.settings import Settings
from ingest.shown import without_secrets

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Bytes of a form: no field of ours is longer than a page of text.
MAX_FORM = 64 * 1024
#: On each answer. Nothing but our own files is loaded, run or framed, and nothing is told to whom a link leads.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
#: Headers of an answer that its page has, too.
KEPT_HEADERS = frozenset({"Allow", "HX-Redirect", "Retry-After"})
#: Where a browser speaks TLS with us, it does so from now on, for a year.
HSTS = "max-age=31536000"


def create(
    settings: Settings, origins: Origins = UNKNOWN, clock: Callable[[], float] = time.time
) -> web.Application:
    """The application, with everything that it needs; by `clock` (Unix seconds) sessions end.

    Raises:
        SettingsError: the settings would let strangers in.
    """
    app = web.Application(middlewares=[_explained, access.middleware, once.middleware], client_max_size=MAX_FORM)
    app[READING] = Reading(settings)
    app[ORIGINS] = origins
    app.cleanup_ctx.append(_closed)
    app[HUB] = Hub(settings)
    app.cleanup_ctx.append(hub_running)
    access.prepare(app, settings, clock)
    seals.prepare(app, app[access.RULES].secret)
    app.on_response_prepare.append(_secure)
    app.router.add_get("/static/{mark}/{name:.+}", assets.serve)
    app.router.add_get("/healthz", _alive)
    live.prepare(app)
    tasks.prepare(app)
    once.prepare(app)
    pages.add_all(app)
    return app


async def _alive(_request: web.Request) -> web.Response:
    """For whoever watches over processes: this one answers. Nothing else is told, so nobody has to sign in."""
    return web.Response(text="ok\n")


async def _closed(app: web.Application) -> AsyncIterator[None]:
    yield
    app[READING].close()


async def _secure(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in SECURITY_HEADERS.items():
        response.headers[name] = value
    response.headers.pop("Server", None)  # nobody needs to know which releases run here
    if access.is_secure(request):
        response.headers["Strict-Transport-Security"] = HSTS
    # A page holds addresses and tokens: nobody keeps it, and going back does not show it after the session.
    response.headers.setdefault("Cache-Control", "no-store")


@web.middleware
async def _explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say in a page what failed; what it was goes to the log."""
    try:
        return await handler(request)
    except web.HTTPException as answer:
        if answer.status < 400:
            raise
        why = answer.text if answer.text and not answer.empty_body else ""
        return _failed(request, answer.status, why, answer.headers)
    except IngestError as error:
        return _failed(request, 503, without_secrets(str(error)))
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return _failed(request, 500, "")


def _failed(request: web.Request, status: int, why: str, headers: Mapping[str, str] | None = None) -> web.Response:
    if VISITOR not in request:  # it is not known yet who that is, and so in which language
        return web.Response(text=f"{status}: {why or 'no such page'}\n", status=status)
    said = why and translations(request[VISITOR].language).gettext(why)
    # What the program says of a fault is not translated: a screen reader has to know that it is English.
    shown = page(request, "failed.html", status, code=status, why=said, is_ours=said != why)
    shown.headers.extend({name: value for name, value in (headers or {}).items() if name in KEPT_HEADERS})
    return shown
