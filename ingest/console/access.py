"""Who is looking, and what they may do: each request has a visitor before any page sees it.

In this order, for every request but those for style sheets and scripts:

1. where it is from (`peers`); on this machine without a password, whether the browser meant us by our address, so
   that no site can have its own name lead here, and no proxy opens this to others unawares;
2. whether a page of another site asks for it: that may follow a link, and nothing else;
3. its session (`sessions`), and from it, or from the proxy's header, who that is and whether they may act;
4. what changes something: the visitor may act, and their own page sent the form (`forms`);
5. who has not signed in is sent to do so, and comes back.

Through a proxy that names people, only what it says counts. Where there are passwords as well, they are for those
who come without it, when it is out of order.
"""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address

from aiohttp import web

from ingest.console import forms, ways
from ingest.console.attempts import Attempts
from ingest.console.ending import Ended
from ingest.console.marking import _
from ingest.console.passwords import Passwords
from ingest.console.peers import PEER, peer_of
from ingest.console.reading import READING
from ingest.console.rules import Rules
from ingest.console.sessions import Role, Session, Signer
from ingest.console.texts import LANGUAGES, preferred
from ingest.console.visitor import VISITOR, Visitor
from ingest.settings import Settings
from ingest.shown import escaped

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Methods that change nothing.
SAFE = frozenset({"GET", "HEAD"})
#: Pages for which nobody has to sign in.
PUBLIC = frozenset({"/login", "/healthz"})
#: Forms of those who may only look: these change nothing but their own session.
OWN_SESSION = frozenset({"/login", "/logout"})
#: Forms that only ask: they change nothing, and lead to a page.
ASKING = frozenset({"/events", "/find"})
#: Characters of the name that a proxy gives.
LONGEST_NAME = 200
#: Seconds after which a stream ends whose reader a proxy has named: the browser asks again, and the proxy says
#: whether they are still who they were.
NAMED_FOR = 900.0
#: What only proxies send.
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")

RULES = web.AppKey("rules", Rules)
SIGNER = web.AppKey("signer", Signer)
ENDED = web.AppKey("ended", Ended)
ATTEMPTS = web.AppKey("attempts", Attempts)
PASSWORDS = web.AppKey("passwords", Passwords)
#: Tells the time by which sessions end, in Unix seconds.
CLOCK: web.AppKey[Callable[[], float]] = web.AppKey("clock")
#: The session of a request, and whether its answer brings the cookie.
SESSION = web.RequestKey("session", Session)
_TO_SEND = web.RequestKey("cookie to send", bool)
_BEGAN = web.RequestKey("began", float)


NOT_BY_NAME = _(
    "This console has no password, so it answers only who calls it by an address of its own machine, such as "
    "http://localhost:8001/, and without a proxy between. Set INGEST_CONSOLE_PASSWORD for anything else."
)
NOT_FROM_THERE = _("A page of another site may link to this console, but not load parts of it.")
NOT_NAMED = _(
    "The proxy did not say who you are: sign in there, or have its INGEST_CONSOLE_AUTH_HEADER set right."
)
ONLY_BY_PROXY = _("Come by the proxy at which people sign in: whoever comes past it cannot say who they are.")
MAY_ONLY_LOOK = _("You may look, but not act: nothing was done.")
SIGN_IN = _("Your session has ended: sign in again.")


def prepare(app: web.Application, settings: Settings, clock: Callable[[], float] = time.time) -> None:
    """Have an application know who may do what; its `Reading` is there.

    Raises:
        SettingsError: the settings would let strangers in.
    """
    app[RULES] = rules = Rules.of(settings)
    app[CLOCK] = clock
    app[SIGNER] = Signer(rules.secret, rules.passwords)
    app[ENDED] = Ended(app[READING], rules.lasting and bool(rules.passwords))
    app[ATTEMPTS] = Attempts()
    app[PASSWORDS] = Passwords(rules.passwords)
    app.cleanup_ctx.append(_closed)
    app.on_response_prepare.append(_send_cookie)


async def _closed(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[ENDED].close()
    app[PASSWORDS].close()


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """See the module: who that is, and whether they may do this."""
    rules, request[_BEGAN] = request.app[RULES], time.monotonic()
    request[PEER] = peer_of(request, rules)
    if rules.is_open:
        _require_own_address(request)
    if request.path.startswith("/static/") and request.method in SAFE:
        return await handler(request)
    session, was_ended = await _session_of(request)
    visitor = Visitor("", False, "", session.language or preferred(request))
    request[VISITOR] = visitor = replace(visitor, address=str(request[PEER].client))
    if not forms.may_load(request):
        request[_TO_SEND] = False
        raise web.HTTPForbidden(text=NOT_FROM_THERE)
    name, may_act, signed_in = _known_as(request, session)
    csrf = request.app[SIGNER].csrf(session, name)
    request[VISITOR] = visitor = replace(visitor, name=name, may_act=may_act, signed_in=signed_in, csrf=csrf)
    if request.method in SAFE:
        forms.require_from_here(request)
        return await _shown(request, handler, was_ended)
    await _require_may_do(request, visitor)
    return await handler(request)


async def _shown(request: web.Request, handler: Handler, was_ended: bool) -> web.StreamResponse:
    query, public = request.query, request.path in PUBLIC
    has_cookie = _cookie_name(request) in request.cookies
    if forms.is_dear(request) and not has_cookie and _is_from_elsewhere(request):
        request[_TO_SEND] = False  # not by the page that asks once more, either: nobody pressed anything here
        raise web.HTTPForbidden(text=forms.NOT_FROM_A_LINK)
    if ways.AGAIN in query and has_cookie:
        raise web.HTTPSeeOther(ways.here(request, login=True))
    if not has_cookie and request.path != "/healthz" and ways.AGAIN not in query and _is_from_elsewhere(request):
        request[_TO_SEND] = False
        return ways.once_more(request)
    if ways.LANGUAGE in query:
        if (language := query[ways.LANGUAGE]) in LANGUAGES:
            put(request, replace(request[SESSION], language=language))
        raise web.HTTPSeeOther(ways.here(request, login=True))
    if request[VISITOR].name or public:
        return await handler(request)
    if request.path.startswith("/live/"):
        raise web.HTTPUnauthorized(text=SIGN_IN)
    if "HX-Request" in request.headers:
        there = ways.to_sign_in(ways.came_from(request, "HX-Current-URL"), was_ended)
        raise web.HTTPUnauthorized(text=SIGN_IN, headers={"HX-Redirect": there})
    raise web.HTTPSeeOther(ways.to_sign_in(ways.here(request), was_ended))


def _require_own_address(request: web.Request) -> None:
    """Refuse whoever called us by a name that is not this machine's, or through a proxy."""
    name = request[PEER].host
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    try:
        ours = ip_address(name).is_loopback
    except ValueError:
        ours = name.rstrip(".") == "localhost" or name.rstrip(".").endswith(".localhost")
    if not ours or any(header in request.headers for header in FORWARDED):
        raise web.HTTPMisdirectedRequest(text=NOT_BY_NAME)


def _is_from_elsewhere(request: web.Request) -> bool:
    """Whether somebody may have followed a link of another site: a cookie that their browser has stays there."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:  # without TLS, browsers do not say
        return "text/html" in request.headers.get("Accept", "")
    return site in ("cross-site", "same-site")


async def _session_of(request: web.Request) -> tuple[Session, bool]:
    """The session that a cookie brings, or a new one; and whether there was one that has ended."""
    app, now = request.app, request.app[CLOCK]()
    name = _cookie_name(request)
    text = request.cookies.get(name, "")
    if ",".join(request.headers.getall("Cookie", [])).count(f"{name}=") > 1:
        text = ""  # another site under our name has put one there, too; nobody can say which is ours
    session = app[SIGNER].read(text, now)
    if session is not None and session.role is not Role.NOBODY:
        await app[ENDED].look()
        if session in app[ENDED]:
            session = None
    if session is None:
        request[SESSION] = new = Session.new(Role.NOBODY, now)
        # Where another site is behind it, the browser keeps back the cookie that it has: ours must not replace it.
        request[_TO_SEND] = (
            request.method in SAFE
            and request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
            and request.path != "/healthz"
            and not request.path.startswith("/live/")
        )
        return new, bool(text)
    request[SESSION] = used = session.used(now)
    request[_TO_SEND] = used is not session
    return used, False


def _known_as(request: web.Request, session: Session) -> tuple[str, bool, bool]:
    """Their name, whether they may act, and whether they have signed in here; no name: they have to."""
    rules = request.app[RULES]
    if rules.is_open:
        return "local", True, False
    if rules.header is not None:
        values = request.headers.getall(rules.header, [])
        if request[PEER].is_proxy:
            name = _name_of(values)
            return name, not rules.operators or name in rules.operators, False
        if values or not rules.passwords:
            log.warning("refused %s, which is no proxy of ours: %s", request[PEER].address, request.method)
            raise web.HTTPForbidden(text=ONLY_BY_PROXY)
    if session.role is Role.NOBODY:
        return "", False, False
    return session.role.name.lower(), session.role is Role.OPERATOR, True


def _name_of(values: list[str]) -> str:
    """The one name that a proxy gives: where it adds to what a browser sent, nobody can say which is true."""
    name = values[0].strip() if len(values) == 1 else ""
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or "," in name:
        raise web.HTTPForbidden(text=NOT_NAMED)
    return name


async def _require_may_do(request: web.Request, visitor: Visitor) -> None:
    if request.method != "POST":
        raise web.HTTPMethodNotAllowed(request.method, ["GET", "HEAD", "POST"])
    if request.path not in OWN_SESSION:
        if not visitor.name:
            if not forms.is_from_us(request):
                raise web.HTTPForbidden(text=forms.FOREIGN)
            raise web.HTTPSeeOther(ways.to_sign_in(ways.came_from(request, "Referer"), True))
        if not visitor.may_act and request.path not in ASKING:
            who = escaped(visitor.name)
            log.warning("%s from %s may only look: POST %s", who, visitor.address, escaped(request.path[:200]))
            raise web.HTTPForbidden(text=MAY_ONLY_LOOK)
    await forms.require_ours(request, with_token=request.path not in ASKING)


def put(request: web.Request, session: Session) -> None:
    """Have this request's browser keep another session from now on."""
    request[SESSION], request[_TO_SEND] = session, True


async def is_over(request: web.Request) -> bool:
    """Whether what is still being sent has to end, as its reader may not look any more."""
    rules, session = request.app[RULES], request[SESSION]
    if rules.header is not None and request[PEER].is_proxy:
        return time.monotonic() - request[_BEGAN] > NAMED_FOR
    if rules.is_open:
        return False
    await request.app[ENDED].look()
    return session.is_over(request.app[CLOCK]()) or session in request.app[ENDED]


def is_secure(request: web.Request) -> bool:
    """Whether the browser speaks TLS with us, or with a proxy of ours."""
    return PEER in request and request[PEER].is_secure


def _cookie_name(request: web.Request) -> str:
    """One for each port, as browsers send a host's cookies to each of its ports."""
    if is_secure(request):
        return "__Host-ingest"
    port = request[PEER].host.rpartition(":")[2]
    return f"ingest-{port if port.isdecimal() and port.isascii() else 'console'}"


async def _send_cookie(request: web.Request, response: web.StreamResponse) -> None:
    if not request.get(_TO_SEND, False):
        return
    value = request.app[SIGNER].cookie(request[SESSION])
    secure = "; Secure" if is_secure(request) else ""
    cookie = f"{_cookie_name(request)}={value}; Path=/; HttpOnly; SameSite=Strict{secure}"
    response.headers.add("Set-Cookie", cookie)  # those of `response.cookies` are among the headers by now
