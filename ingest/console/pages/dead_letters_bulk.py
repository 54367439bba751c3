"""All dead letters that match, at once: how many, before anything is done; then beside the pages."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from aiohttp import web

from ingest.console.marking import _
from ingest.console.pages.dead_letters import Asked, zone_of
from ingest.console.pages.handlers import with_redis
from ingest.console.reading import reading_of
from ingest.console.rendering import page
from ingest.console.tasks import Report, Work, begun
from ingest.copernica.events import EPOCH
from ingest.errors import IngestError
from ingest.settings import Settings
from workers.handlers import dead_letters as letters
from workers.handlers import letter_pages
from workers.handlers.clock import machine_time
from workers.handlers.dead_letters import DeadLetter, Wanted
from workers.handlers.waking import wake
from workers.store.store import Store

routes = web.RouteTableDef()

#: What can be done: as the audit calls it, what its page is called, and what its numbers count.
KINDS = {
    "retry": ("retry-dead-letters", _("Retry dead letters"), _("given to their handlers again")),
    "drop": ("drop-dead-letters", _("Drop dead letters"), _("dropped")),
}


@routes.get("/dead-letters/all")
async def before(request: web.Request) -> web.Response:
    """How many it will be."""
    asked, kind = Asked.of(request.query), request.query.get("do", "")
    if asked.is_wrong or kind not in KINDS:
        raise web.HTTPSeeOther(f"/dead-letters?{asked.query()}")

    def ask(store: Store) -> tuple[int, int]:
        now = store.time() or machine_time()
        return now, letter_pages.count(store, _until(asked.wanted(zone_of(request)), now))

    now, number = await reading_of(request).store(ask)
    return page(
        request,
        "dead_letters_all.html",
        asked=asked,
        wanted=asked.wanted(zone_of(request)),
        kind=kind,
        until=now,
        number=min(number, letter_pages.COUNT_MOST),
        more=number > letter_pages.COUNT_MOST,
        back=f"/dead-letters?{asked.query()}",
    )


def _until(wanted: Wanted, now: int) -> Wanted:
    """Those of them that failed until this moment (µs since 1970), so that what people were told stays so."""
    moment = EPOCH + timedelta(microseconds=now)
    return replace(wanted, until=moment if wanted.until is None else min(wanted.until, moment))


@routes.post("/dead-letters/all")
async def do(request: web.Request) -> web.Response:
    """Begin it."""
    form = await request.post()
    asked, kind, now = Asked.of(form), str(form.get("do", "")), str(form.get("before", ""))
    if asked.is_wrong or kind not in KINDS or not now.isdecimal() or len(now) > 17:
        raise web.HTTPBadRequest
    settings = reading_of(request).settings
    wanted = _until(asked.wanted(zone_of(request)), int(now))
    action, title, counted = KINDS[kind]
    what = asked.fields | {"failed_before": wanted.until.isoformat() if wanted.until else None}
    back = f"/dead-letters?{asked.query()}"
    raise begun(request, action, work(settings, wanted, kind, counted), title=title, what=what, back=back)


def work(settings: Settings, wanted: Wanted, kind: str, counted: str) -> Work:
    """What is done in the background."""

    def act(store: Store, some: Sequence[DeadLetter]) -> int:
        return letters.drop(store, some) if kind == "drop" else letters.retry(store, some, has_handlers=True)

    def do(report: Report, stopped: Callable[[], bool]) -> Mapping[str, int]:
        looked = 0
        with Store.of(settings) as store:
            total = letter_pages.count(store, wanted, most=2**31)
            report(0, total)

            def step(more: int) -> None:
                nonlocal looked
                looked += more
                report(looked, max(total, looked))

            try:
                found = letters.letters(store, letters.until_now(store, wanted))
                return {counted: letters.act_on(found, lambda some: act(store, some), step, stopped)}
            finally:
                if kind == "retry" and looked:
                    with suppress(IngestError):  # they begin with the next event
                        with_redis(settings, wake)

    return do
