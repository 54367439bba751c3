"""One dead letter: its event, the error with its traceback, what was tried; retried or dropped."""

from urllib.parse import urlencode

from aiohttp import web

from ingest.console.acting import act
from ingest.console.marking import _
from ingest.console.pages.dead_letters import LONGEST
from ingest.console.pages.handlers import woken
from ingest.console.reading import reading_of
from ingest.console.rendering import page
from ingest.copernica.columns import fitting
from ingest.errors import IngestError
from workers.handlers import dead_letters as letters
from workers.handlers import history, letter_pages
from workers.handlers.dead_letters import DeadLetter
from workers.handlers.history import Attempt
from workers.store.rows import json_text
from workers.store.store import Store

routes = web.RouteTableDef()

#: Characters of the payload, the call and the traceback that are shown.
SHOWN = 20_000
#: Attempts that are shown: the last ones.
ATTEMPTS = 25
#: What was done, and what an address says of it.
SAID = {
    "retried": _("It was given to its handler again."),
    "asleep": _("It was given to its handler again. Redis does not answer, so workers begin with the next event."),
    "dropped": _("It was dropped. The event itself stays in the store."),
    "gone": _("It was gone already."),
}


@routes.get("/dead-letter/{key:[0-9a-f]{2,64}}")
async def one(request: web.Request) -> web.Response:
    """Show it; where it is gone, say so."""
    handler, key = fitting(request.query.get("handler", "")[:LONGEST]), bytes.fromhex(_even(request))

    def ask(store: Store) -> tuple[DeadLetter | None, list[Attempt]]:
        attempts = [run for run in history.of_event(store, key) if run.handler == handler]
        return letter_pages.one(store, handler, key), attempts[-ATTEMPTS:]

    letter: DeadLetter | None = None
    runs: list[Attempt] = []
    why = ""
    try:
        letter, runs = await reading_of(request).store(ask)
    except IngestError as error:
        why = str(error)
    said = SAID.get(request.query.get("done", ""))
    body = "" if letter is None else letter.record.body.decode("utf-8", "replace")
    payload = json_text(letter.event.payload) if letter and letter.event else ""
    return page(
        request,
        "dead_letter.html",
        200 if letter or said else 503 if why else 404,
        key=key,
        handler=handler,
        letter=letter,
        event=letter.event if letter else None,
        runs=runs,
        why=why,
        said=said,
        body=body[:SHOWN],
        payload=payload[:SHOWN],
        cut=len(body) > SHOWN or len(payload) > SHOWN,
    )


def _even(request: web.Request) -> str:
    key = request.match_info["key"]
    if len(key) % 2:
        raise web.HTTPNotFound
    return key


@routes.post("/dead-letter/{key:[0-9a-f]{2,64}}")
async def acted(request: web.Request) -> web.Response:
    """Retry or drop it."""
    form, key = await request.post(), bytes.fromhex(_even(request))
    handler, dropping = fitting(str(form.get("handler", ""))[:LONGEST]), form.get("do") == "drop"

    def do(store: Store) -> int:
        letter = letter_pages.one(store, handler, key)
        there = [] if letter is None else [letter]
        return letters.drop(store, there) if dropping else letters.retry(store, there, has_handlers=True)

    what = {"handler": handler, "delivery_id": key.hex()}
    number = await act(request, "drop" if dropping else "retry", what, do)
    done = "dropped" if dropping else "retried" if await woken(request) else "asleep"
    query = urlencode({"handler": handler, "done": done if number else "gone"})
    raise web.HTTPSeeOther(f"/dead-letter/{key.hex()}?{query}")
