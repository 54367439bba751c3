"""A fake of Copernica's REST API, for tests: ours and our users'.

It gives access in exchange for a token, lists and serves the log files of a folder in all three forms, and keeps
webhooks in memory, as Copernica's articles on REST v4 describe; and it fails on demand, as
`ingest.simulation.api_faults` says. The folder contains `PREFIX.YYYY-MM-DD.log`: CSV in UTF-8 with a header row,
which is what `ingest simulate --with-logfiles` writes.
"""

import asyncio
import base64
import secrets
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Literal

import orjson
from aiohttp import web

from ingest.copernica.api.logfile_calls import LOG_NAME
from ingest.copernica.api.webhooks import CALLERS, TRIGGERS
from ingest.copernica.events import DAY
from ingest.errors import AddressInUse
from ingest.listening import url_from_here
from ingest.simulation.api_answers import (
    FAULT,
    Handler,
    Refused,
    break_off,
    refusal,
    send_file,
    send_half,
    slice_of,
)
from ingest.simulation.api_faults import Fault, Faults, Kind
from ingest.simulation.api_files import FORMS
from ingest.simulation.profiles_api import Manners, ProfilesApi
from ingest.simulation.results_api import ResultsApi
from ingest.simulation.results_clock import Manner
from ingest.simulation.smtpeter import ROOT, FakeSMTPeter
from ingest.simulation.truth import Truth

#: Seconds for which an access token is valid, as Copernica's are.
ACCESS_LIFE = float(DAY)
#: Seconds that a Retry-After asks to wait: the shortest there is.
RETRY_AFTER = 1
#: Requests of which `seen` tells: a fake may run for weeks.
MAX_SEEN = 100_000

#: Whether a way of listing files exists: `ignored` answers with the list of days, `refused` with 400.
Way = Literal["there", "ignored", "refused"]

#: What the load balancer in front of Copernica says when nothing behind it answers.
LOAD_BALANCER = (
    "<html><head><title>Loadbalancer Error</title></head><body><h1>Loadbalancer Error</h1></body></html>"
)


class FakeCopernica:
    """The state of the fake: who has access, which webhooks exist, what goes wrong next."""

    def __init__(
        self,
        folder: Path | None,
        token: str,
        faults: Faults | None = None,
        life: float = ACCESS_LIFE,
        by_kind: Way = "there",
        by_day: Way = "there",
        manners: Manners = "documented",
        truth: Truth | None = None,
        results: Manner | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`life` is for how many seconds an access token is valid; the ways are those of listing a day's files.

        `truth` is what results, messages and mailings tell of, in the manner of `results`; `now` is its clock.
        """
        self.folder = folder
        self.token = token
        self.faults = faults or Faults()
        self.life = life
        self.by_kind = by_kind
        self.by_day = by_day
        self.manners = manners
        #: Access tokens, and until when (Unix seconds) they are valid.
        self.access: dict[str, float] = {}
        self.webhooks: dict[int, dict[str, Any]] = {}
        self._removed: set[int] = set()
        self._ids = count(1)
        self.results = ResultsApi(truth or Truth(), results or Manner(), now)
        self.profiles = ProfilesApi(self.truth, lambda: self.results.manner, manners, now)
        self.smtpeter = FakeSMTPeter(folder, token)
        #: Where a client is sent that must not go there with its token.
        self.elsewhere = "http://elsewhere.invalid"
        #: Products that the account does not have: whatever is asked about them is refused.
        self.absent: frozenset[str] = frozenset()
        self._kinds: dict[str, Kind] = {}
        #: Requests so far, such as `GET /logfiles`, including exchanges of tokens (`POST /`), and how many there
        #: were of each kind.
        self.seen: list[str] = []
        self.calls: Counter[Kind] = Counter()

    def register(self, webhook: dict[str, Any]) -> int:
        """Add a webhook, and return its id."""
        number = next(self._ids)
        self.webhooks[number] = _webhook({"ID": str(number)}, webhook)
        return number

    @property
    def truth(self) -> Truth:
        """What results tell of."""
        return self.results.truth

    def app(self) -> web.Application:
        """The application: the exchange of tokens is at `/`, the API at `/v4`, that of SMTPeter at `/v1`."""
        app = web.Application(middlewares=[self._guard])
        routes: list[tuple[Kind, str, str, Handler]] = [
            (Kind.TOKEN, "POST", "/", self.exchange),
            (Kind.LOGFILES, "GET", "/v4/logfiles{day:(/[^/]*)?}", self.list_logfiles),
            (Kind.DOWNLOAD, "GET", r"/v4/logfile/{name}/{form:csv|csv/header|json|xml}", self.download),
            (Kind.WEBHOOKS, "GET", "/v4/webhooks", self.list_webhooks),
            (Kind.WEBHOOKS, "POST", "/v4/webhooks", self.create_webhook),
            *((Kind.WEBHOOKS, way, r"/v4/webhook/{id:[0-9]+}", self.webhook) for way in ("GET", "PUT", "DELETE")),
            (Kind.IDENTITY, "GET", "/v4/identity", self.identity),
            *((kind, way, f"/v4{path}", handler) for kind, way, path, handler in self.results.routes()),
            *((kind, way, f"/v4{path}", handler) for kind, way, path, handler in self.profiles.routes()),
            *((kind, "GET", f"{ROOT}{path}", handler) for kind, path, handler in self.smtpeter.routes()),
        ]
        for kind, method, path, handler in routes:
            route = app.router.add_route(method, path, handler)
            self._kinds[route.resource.canonical if route.resource else ""] = kind
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Callable[..., Any]) -> web.StreamResponse:
        """Before and after every request: check access, and let it fail if it should."""
        if len(self.seen) < MAX_SEEN:
            self.seen.append(f"{request.method} {request.path_qs.removeprefix('/v4')}")
        resource = request.match_info.route.resource
        if resource is None:
            return refusal(404, "Invalid resource requested")
        kind = self._kinds[resource.canonical]
        self.calls[kind] += 1
        fault = request[FAULT] = self.faults.next(kind)
        if fault is Fault.EXPIRED:
            self.access.clear()
        if kind is not Kind.TOKEN and not self._has_access(request):
            return refusal(401, "Invalid access token")
        if (instead := self._instead(request, fault)) is not None:
            return instead
        try:
            response: web.StreamResponse = await handler(request)
        except Refused as why:
            response = refusal(400, str(why))
        if not response.prepared and fault in (Fault.CUT, Fault.SHORT, Fault.SLOW):
            if request.method == "GET" and isinstance(response, web.Response):
                await send_half(request, response)
            await break_off(request, fault)
        return response

    def _instead(self, request: web.Request, fault: Fault) -> web.Response | None:
        """What a request is answered with, and not carried out; None if it is to be."""
        if self.absent.intersection(request.path.split("/")):
            return refusal(403, "Access denied")
        from_balancer = fault in (Fault.UNAVAILABLE, Fault.GATEWAY, Fault.HTML)
        if from_balancer or (fault is Fault.EMPTY and request.method == "GET"):
            text = LOAD_BALANCER if from_balancer else ""
            status = int(fault) if fault.isdigit() else 200
            return web.Response(text=text, status=status, content_type="text/html")
        if fault in (Fault.MOVED, Fault.ELSEWHERE):
            host = self.elsewhere if fault is Fault.ELSEWHERE else str(request.url.origin())
            return web.Response(status=301, headers={"Location": f"{host}{request.path_qs}"})
        if fault.isdigit():
            headers = {"Retry-After": str(RETRY_AFTER)} if fault is Fault.TOO_MANY else {}
            return refusal(int(fault), f"{fault}, as requested", **headers)
        return None

    def _has_access(self, request: web.Request) -> bool:
        if request.path.startswith(f"{ROOT}/"):
            return self.smtpeter.has_access(request)
        kind, _, access = request.headers.get("Authorization", "").partition(" ")
        return kind == "Bearer" and self.access.get(access, 0.0) > time.time()

    async def exchange(self, request: web.Request) -> web.Response:
        """Access, as a JWT, in exchange for a token."""
        if (await request.post()).get("access_token") != self.token:
            return refusal(400, "Invalid access token")
        now = time.time()
        ends = now - 1 if request[FAULT] is Fault.EXPIRED else now + self.life
        parts = {"alg": "HS256", "typ": "JWT"}, {"iat": int(now), "exp": int(ends), "sub": "1234"}
        access = ".".join([*(_base64(orjson.dumps(part)) for part in parts), _base64(secrets.token_bytes(32))])
        self.access[access] = ends
        return web.Response(text=access)

    async def identity(self, _request: web.Request) -> web.Response:
        """Who the token belongs to."""
        return web.json_response(
            {"id": "1234", "name": "fake", "description": "A fake account", "company": "Fake"}
        )

    async def list_logfiles(self, request: web.Request) -> web.Response:
        """The days, or the files of one, in both ways to ask for them."""
        day = request.match_info["day"].strip("/")
        way: Way = self.by_day if day else self.by_kind
        date, prefix = (day, "") if day else (request.query.get("date", ""), request.query.get("type", ""))
        files = self._files()
        if not date or way == "ignored":
            return web.json_response(sorted({day for _, day in files.values()}))
        if way == "refused":
            return refusal(400, "Invalid parameters")
        names = [name for name, (kind, day) in files.items() if day == date and prefix in ("", kind)]
        return web.json_response(names)

    def _files(self) -> dict[str, tuple[str, str]]:
        """The names of the files, each with its kind and its day."""
        paths = sorted(self.folder.glob("*.log")) if self.folder else []
        matches = [match for path in paths if (match := LOG_NAME.fullmatch(path.name))]
        return {match[0]: (match[1], match[2]) for match in matches}

    async def download(self, request: web.Request) -> web.StreamResponse:
        """A log file, in the form asked for."""
        name, form = request.match_info["name"], request.match_info["form"]
        if self.folder is None or name not in self._files():
            return refusal(404, "No log file with that name")
        path = self.folder / name
        content_type = {"json": "application/json", "xml": "text/xml"}.get(form, "text/csv")
        announced = form == "csv/header"  # the other forms are made while they are sent
        return await send_file(request, path, FORMS[form](path), content_type, announced)

    async def list_webhooks(self, request: web.Request) -> web.Response:
        """A page of the webhooks."""
        start, limit, _ = slice_of(request)
        data = list(self.webhooks.values())[start : start + limit]
        page = {"start": start, "limit": limit, "count": len(data), "total": len(self.webhooks), "data": data}
        return web.json_response(page)

    async def create_webhook(self, request: web.Request) -> web.Response:
        """Register a webhook: 201, and where it is."""
        sent = await request.json()
        if wrong := _wrong(sent, ("handler", "trigger")):
            return refusal(400, wrong)
        number = self.register(sent)
        if self.manners == "seen":
            return web.Response(status=200, headers={"X-Created": str(number)})
        return web.Response(
            status=201, headers={"X-location": str(request.url.origin() / "v4/webhook" / str(number))}
        )

    async def webhook(self, request: web.Request) -> web.Response:
        """Read, change or delete a webhook."""
        number = int(request.match_info["id"])
        if number in self._removed and request.method == "DELETE":
            return refusal(400, f"Webhook with ID {number} has already been removed")
        if number not in self.webhooks:
            return refusal(400, "No webhook with supplied ID")
        if request.method == "GET":
            return web.json_response(self.webhooks[number])
        if request.method == "DELETE":
            return self._delete(number)
        return await self._change(number, request)

    def _delete(self, number: int) -> web.Response:
        del self.webhooks[number]
        self._removed.add(number)
        status = 200 if self.manners == "seen" else 204
        return web.Response(status=status, headers={"X-deleted": f"webhook/{number}"})

    async def _change(self, number: int, request: web.Request) -> web.Response:
        sent = await request.json()
        if wrong := _wrong(sent, ()):
            return refusal(400, wrong)
        # As documented: "if no callers are specified, all possible callers are applied".
        self.webhooks[number] = _webhook(self.webhooks[number] | {"callers": list(CALLERS)}, sent)
        if self.manners == "seen":
            return web.Response(status=303, headers={"Location": str(request.url)})
        return web.Response(status=204)


async def serve(app: web.Application, host: str, port: int, ready: Callable[[str], object]) -> None:
    """Serve until cancelled; `ready` is called with the URL. Port 0 picks a free one.

    Raises:
        AddressInUse: the port is taken.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise AddressInUse(f"Cannot listen at {host} port {port} ({reason}): choose another --port.") from None
        ready(url_from_here(host, runner.addresses[0][1]))
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _wrong(sent: Any, needed: tuple[str, ...]) -> str | None:
    """What is wrong with a webhook that was sent."""
    if not isinstance(sent, dict):
        return "Invalid data"
    for name in needed:
        if not sent.get(name):
            return f"Missing parameter {name}"
    if sent.get("trigger", TRIGGERS[0]) not in TRIGGERS:
        return "Invalid trigger supplied"
    if not str(sent.get("handler", "http://")).startswith(("http://", "https://")):
        return "Invalid handler supplied"
    return None if set(sent.get("callers") or ()) <= set(CALLERS) else "Invalid callers supplied"


def _webhook(before: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    known = ("handler", "trigger", "callers", "database", "collection")
    return {"callers": list(CALLERS)} | before | {name: sent[name] for name in known if name in sent}
