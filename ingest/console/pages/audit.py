"""Who did what, from the console or by a command."""

from functools import partial
from urllib.parse import urlencode

from aiohttp import web

from ingest.console.marking import _
from ingest.console.reading import reading_of
from ingest.console.rendering import page
from ingest.copernica.columns import MAX_NUMBER_DIGITS, fitting, whole
from ingest.errors import Unavailable
from workers.operations.audit import KEPT_DAYS, entries

routes = web.RouteTableDef()

#: Actions on a page.
PAGE = 50
#: What may be chosen: what the console and commands write down, and what people call it.
ACTIONS = {
    "retry": _("Retry what failed"),
    "retry-now": _("Try again now what waits"),
    "retry-dead-letters": _("Retry dead letters"),
    "retry quarantine": _("Store all calls in quarantine again"),
    "requeue job": _("Put a job on its queue again"),
    "hand-on": _("Hand an event to a handler"),
    "replay": _("Replay stored events"),
    "drop": _("Drop what failed"),
    "drop-handler": _("Drop all of a handler"),
    "drop-dead-letters": _("Drop dead letters"),
    "drop quarantine": _("Drop all calls in quarantine"),
    "drop job": _("Forget a job"),
    "pause": _("Pause"),
    "resume": _("Resume"),
    "stop": _("Stop a task"),
    "erase": _("Erase a person"),
    "export": _("Export events"),
    "reconcile": _("Compare a day's log files with the store"),
    "import": _("Import log files"),
    "catch-up": _("Fetch what is missing of a period"),
    "audit-mailings": _("Compare a day's totals with Copernica's"),
    "events-of": _("Fetch events from SMTPeter"),
    "adopt": _("Adopt a database"),
    "db-upgrade": _("Upgrade the tables"),
    "streams-use": _("Use stream servers"),
    "streams-drain": _("Drain a stream server"),
    "streams-forget": _("Forget a stream server"),
    "webhooks-create": _("Create a webhook"),
    "webhooks-update": _("Change a webhook"),
    "webhooks-delete": _("Delete a webhook"),
    "webhooks-setup": _("Set up webhooks"),
}


@routes.get("/audit")
async def audit(request: web.Request) -> web.Response:
    """What people did, the newest first."""
    who, action = (fitting(request.query.get(name, "")).strip() for name in ("who", "action"))
    before = whole(request.query.get("before", ""), MAX_NUMBER_DIGITS)
    ask = partial(entries, limit=PAGE + 1, before=before, who=who or None, action=action or None)
    try:
        found, why = await reading_of(request).store(ask), ""
    except Unavailable as error:
        found, why = [], str(error)
    following = None
    if len(found) > PAGE:
        asked = {"who": who, "action": action, "before": str(found[PAGE - 1].number)}
        following = "/audit?" + urlencode({name: value for name, value in asked.items() if value})
    return page(
        request,
        "audit.html",
        503 if why else 200,
        entries=found[:PAGE],
        why=why,
        who=who,
        action=action,
        actions=ACTIONS,
        following=following,
        is_first=before is None,
        days=KEPT_DAYS,
    )
