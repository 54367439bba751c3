"""Erasing a person: how much that would be, the address typed again, and then in the background.

The address stands in no address of ours but sealed, and in no audit.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from aiohttp import web

from ingest.console import tasks
from ingest.console.marking import _
from ingest.console.reading import reading_of
from ingest.console.rendering import page
from ingest.console.seals import SEALS, Broken
from ingest.console.visitor import visitor_of
from ingest.copernica.addresses import folded
from ingest.copernica.columns import fits_column
from ingest.errors import Unavailable
from ingest.settings import Settings
from workers.operations.audit import ERASE
from workers.operations.erase import Elsewhere, Erased, elsewhere, erase
from workers.operations.event.finding import find, parsed
from workers.store.store import Store

routes = web.RouteTableDef()

#: Characters of an address that is taken: more than any has.
LONGEST = 1000
#: Seconds that a person waits for the numbers; whoever has more than can be counted then erases without them.
PATIENCE = 15.0
#: Steps in which progress is told.
STEPS = 1000


class Stopped(Exception):
    """Somebody asked to end it."""


class Look(NamedTuple):
    """What a dry run found; or why it found nothing."""

    erased: Erased | None
    elsewhere: Elsewhere | None
    why: str = ""


@routes.get("/erase")
async def look(request: web.Request) -> web.Response:
    """How much is about a person, named by an event of theirs or by their address; asks for one otherwise."""
    recipient, wrong = _opened(request), ""
    if "event" in request.query and not recipient:
        recipient = await _of_event(request, request.query["event"])
        wrong = "" if recipient else "event"
    return await _shown(request, recipient, wrong)


def _opened(request: web.Request) -> str:
    """The address that a link of ours brought; nothing where nobody can say any more which."""
    try:
        return request.app[SEALS].opened(request.query.get("recipient", "").strip())
    except Broken:
        return ""


@routes.post("/erase/look")
async def look_for(request: web.Request) -> web.Response:
    """The same for an address that was typed, which then stands in no URL."""
    typed = (await request.post()).get("recipient")
    return await _shown(request, typed.strip() if isinstance(typed, str) else "", "")


@routes.post("/erase")
async def begin(request: web.Request) -> web.Response:
    """Erase, once the address was typed again."""
    form = await request.post()
    recipient, again = form.get("recipient"), form.get("again")
    if not isinstance(recipient, str) or not isinstance(again, str) or not _is_address(recipient):
        raise web.HTTPBadRequest
    if folded(again) != folded(recipient):
        return await _shown(request, recipient, "again")
    settings = reading_of(request).settings
    # A hash is all that it will have of whom it is about: the audit outlives the person's data.
    noted: dict[str, object] = {}
    work = _work(settings, recipient, noted)
    raise tasks.begun(request, ERASE, work, title=_("Erase a person"), what=noted, back="/erase")


def _is_address(text: str) -> bool:
    """Whether it is a whole address; a part of one would be somebody else."""
    return "@" in text.strip("@ ") and len(text) <= LONGEST and fits_column(text)


async def _of_event(request: web.Request, written: str) -> str:
    delivery_id = parsed(written)
    if delivery_id is None:
        return ""
    found = await reading_of(request).store(lambda store: find(store, delivery_id))
    return (found.event.recipient or "") if found.event else ""


async def _shown(request: web.Request, recipient: str, wrong: str) -> web.Response:
    looked = None
    if recipient and not _is_address(recipient):
        wrong = "address"
    elif recipient and visitor_of(request).may_act:
        looked = await _look(request, recipient)
    status = 400 if wrong in ("address", "again") else 200
    return page(request, "erase.html", status, recipient=recipient, wrong=wrong, look=looked, most=LONGEST)


async def _look(request: web.Request, recipient: str) -> Look:
    """The numbers of a dry run, and of what is not searched."""
    reading = reading_of(request)
    try:
        others: Elsewhere | None = await reading.run(lambda: elsewhere(reading.settings))
    except Unavailable:
        others = None
    try:
        found = await reading.store(lambda store: erase(store, recipient, dry_run=True), PATIENCE)
    except Unavailable as error:
        return Look(None, others, str(error))
    return Look(found, others)


def _work(settings: Settings, recipient: str, noted: dict[str, object]) -> tasks.Work:
    def work(report: tasks.Report, stopping: Callable[[], bool]) -> Mapping[str, int]:
        def progress(part: float) -> None:
            if stopping():
                raise Stopped
            report(int(part * STEPS), STEPS)

        report(0, STEPS)
        done = Erased()
        try:
            with Store.of(settings) as store:
                erase(store, recipient, dry_run=False, progress=progress, erased=done)
        except Stopped:
            return {}
        finally:
            noted.update(done.noted())
        report(STEPS, STEPS)
        return {
            _("events deleted"): len(done.deleted),
            _("events kept without the address"): len(done.blanked),
            _("calls in quarantine deleted"): len(done.quarantined),
            _("unverified calls deleted"): len(done.unverified),
            _("calls that waited for handlers, or had failed, deleted"): done.handed_on,
        }

    return work
