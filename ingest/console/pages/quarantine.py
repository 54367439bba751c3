"""Calls in quarantine: those that could not be read or stored, or that proved false. Raw, and safe to look at."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import chain

from aiohttp import web
from redis import Redis, RedisError

from ingest import redis_client
from ingest.console import tasks
from ingest.console.acting import act
from ingest.console.marking import _
from ingest.console.reading import reading_of
from ingest.console.rendering import page
from ingest.errors import IngestError, Unavailable
from ingest.jobs import JobScheduler
from ingest.settings import Settings
from workers.handlers.dead_letters import DeadLetter
from workers.operations import quarantine
from workers.operations.quarantine import Retried
from workers.store.store import Store

routes = web.RouteTableDef()

#: Calls on one page.
SIZE = 50
#: Bytes of a body that are shown as text, and as hexadecimal digits; all of it can be fetched.
SHOWN, SHOWN_HEX = 32 * 1024, 2048
#: What came of an action, by the word in the query.
SAID = {
    "stored": _("The call is stored now, and left quarantine."),
    "still": _("The call still cannot be stored, and stays in quarantine."),
    "dropped": _("The call is dropped."),
    "gone": _("The call was not in quarantine any more: nothing was done."),
}
TONES = {"stored": "good", "dropped": "good", "still": "warn", "gone": "warn"}
ONE = "/quarantine/{delivery_id:[0-9a-f]{2,64}}"


@routes.get("/quarantine")
async def many(request: web.Request) -> web.Response:
    """The calls in quarantine, the newest first."""
    before, after = (_id(request.query.get(name, "")) for name in ("before", "after"))
    found, why = None, ""
    try:
        found = await reading_of(request).store(lambda store: quarantine.page(store, SIZE, before, after))
    except Unavailable as error:
        why = str(error)
    return page(
        request,
        "quarantine.html",
        status=200 if found else 503,
        found=found,
        why=why,
        older=f"?before={found.older.hex()}" if found and found.older else None,
        newer=f"?after={found.newer.hex()}" if found and found.newer else None,
        is_first=before is None and after is None,
        **_said(request),
    )


@routes.get("/quarantine/all")
async def all_asked(request: web.Request) -> web.Response:
    """How many calls it would be, before all are stored again or dropped."""
    dropping = request.query.get("do") == "drop"
    number, found = await reading_of(request).store(lambda store: (store.quarantined(), quarantine.page(store, 1)))
    if not found.calls:
        raise web.HTTPSeeOther("/quarantine")
    newest = found.calls[0].delivery_id.hex()
    return page(request, "quarantine_all.html", number=number, newest=newest, dropping=dropping)


@routes.post("/quarantine/all")
async def all_of_them(request: web.Request) -> web.Response:
    """Store all again as far as that is possible by now, or drop all: those that were there when it was asked."""
    form = await request.post()
    newest = _id(str(form.get("newest", "")))
    if newest is None or form.get("do") not in ("retry", "drop"):
        raise web.HTTPBadRequest
    settings, what = reading_of(request).settings, {"handler": "store", "up_to": newest.hex()}
    if form["do"] == "drop":
        raise tasks.begun(
            request,
            "drop quarantine",
            partial(_drop_all, settings, newest),
            title=_("Drop all calls in quarantine"),
            what=what,
            back="/quarantine",
        )
    raise tasks.begun(
        request,
        "retry quarantine",
        partial(_retry_all, settings, newest),
        title=_("Store all calls in quarantine again"),
        what=what,
        back="/quarantine",
    )


def _drop_all(
    settings: Settings, newest: bytes, report: tasks.Report, stops: Callable[[], bool]
) -> Mapping[str, int]:
    with Store.of(settings) as store:
        total, done = store.quarantined(), 0
        for some in quarantine.portions(store, newest):
            if stops():
                break
            done += quarantine.drop_many(store, some)
            report(done, max(total, done))
    return {_("dropped"): done}


def _retry_all(
    settings: Settings, newest: bytes, report: tasks.Report, stops: Callable[[], bool]
) -> Mapping[str, int]:
    counted = Counter[Retried]()
    with Store.of(settings) as store:
        total = store.quarantined()
        for one_of_some in chain.from_iterable(quarantine.portions(store, newest)):
            if stops():
                break
            counted[quarantine.retry(store, one_of_some, settings.has_handlers)] += 1
            report(counted.total(), max(total, counted.total()))
    if counted[Retried.STORED] and settings.has_handlers:
        with suppress(IngestError, RedisError), redis_client.connect(settings.redis) as client:
            _wake(client)
    return {_("stored now"): counted[Retried.STORED], _("still in quarantine"): counted[Retried.STILL]}


@routes.get(ONE)
async def one(request: web.Request) -> web.Response:
    """One call, in full as far as that is of use."""
    call = await _call(request)
    body = call.record.body
    text = body[:SHOWN].decode("utf-8", "backslashreplace")
    return page(
        request,
        "quarantined.html",
        200,
        call=call,
        target=call.record.target.decode("utf-8", "backslashreplace"),
        content_type=call.record.content_type.decode("latin-1"),
        size=len(body),
        text=text,
        text_is_cut=len(body) > SHOWN,
        hex_lines=list(quarantine.hex_lines(body, SHOWN_HEX)),
        hex_is_cut=len(body) > SHOWN_HEX,
        proved_false=quarantine.proved_false(call),
        readable=call.event is not None,
        **_said(request),
    )


@routes.get(f"{ONE}/body")
async def body(request: web.Request) -> web.Response:
    """Its body, as it came: as a file, never as anything that a browser would show."""
    call = await _call(request)
    return web.Response(
        body=call.record.body,
        headers={
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f'attachment; filename="call-{call.delivery_id.hex()}.bin"',
        },
    )


@routes.get(f"{ONE}/drop")
async def asked(request: web.Request) -> web.Response:
    """Whether it should really be dropped."""
    return page(request, "quarantine_drop.html", call=await _call(request))


@routes.post(f"{ONE}/drop")
async def drop(request: web.Request) -> web.Response:
    """Drop it."""
    delivery_id = _of(request)
    number = await act(request, "drop", _what(delivery_id), lambda store: quarantine.drop(store, delivery_id))
    raise web.HTTPSeeOther(f"/quarantine?said={'dropped' if number else 'gone'}")


@routes.post(f"{ONE}/retry")
async def retry(request: web.Request) -> web.Response:
    """Store it after all, if that is possible by now."""
    delivery_id, settings = _of(request), reading_of(request).settings
    outcome = Retried.GONE

    def do(store: Store) -> int:
        nonlocal outcome
        outcome = quarantine.retry(store, delivery_id, settings.has_handlers)
        return int(outcome is Retried.STORED)

    await act(request, "retry", _what(delivery_id), do)
    if outcome is not Retried.STORED:
        here = f"/{delivery_id.hex()}" if outcome is Retried.STILL else ""
        raise web.HTTPSeeOther(f"/quarantine{here}?said={outcome}")
    if settings.has_handlers:
        with suppress(Unavailable):  # the next event wakes them, or the sweep
            await reading_of(request).redis(_wake)
    raise web.HTTPSeeOther("/quarantine?said=stored")


def _wake(client: Redis) -> None:
    scheduler = JobScheduler(client)
    scheduler.note_handoffs(True)
    scheduler.hand_on()


def _what(delivery_id: bytes) -> dict[str, object]:
    return {"handler": "store", "delivery_id": delivery_id.hex()}


def _of(request: web.Request) -> bytes:
    delivery_id = _id(request.match_info["delivery_id"])
    if delivery_id is None:
        raise web.HTTPNotFound
    return delivery_id


async def _call(request: web.Request) -> DeadLetter:
    delivery_id = _of(request)
    call = await reading_of(request).store(lambda store: quarantine.one(store, delivery_id))
    if call is None:
        raise web.HTTPNotFound
    return call


def _id(text: str) -> bytes | None:
    """A delivery id as a link has it; None if it is none."""
    try:
        return bytes.fromhex(text)[:32] or None
    except ValueError:
        return None


def _said(request: web.Request) -> dict[str, object]:
    said = request.query.get("said", "")
    return {"said": SAID.get(said), "tone": TONES.get(said, "")}
