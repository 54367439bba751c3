"""Who did what, from the console or by a command."""

from functools import partial
from urllib.parse import urlencode

from aiohttp import web

from ingest.console.reading import reading_of
from ingest.console.rendering import page
from ingest.copernica.columns import MAX_NUMBER_DIGITS, fitting, whole
from ingest.errors import Unavailable
from workers.operations.audit import KEPT_DAYS, entries

routes = web.RouteTableDef()

#: Actions on a page.
PAGE = 50
#: What may be chosen: what the console and commands write down.
ACTIONS = (
    "retry", "retry-now", "retry-dead-letters", "retry quarantine", "requeue job", "hand-on", "replay", "drop",
    "drop-handler", "drop-dead-letters", "drop quarantine", "drop job", "pause", "resume", "stop", "erase",
    "export", "reconcile", "import", "catch-up", "audit-mailings", "events-of", "adopt", "db-upgrade",
    "streams-use", "streams-drain", "streams-forget", "webhooks-create", "webhooks-update", "webhooks-delete",
    "webhooks-setup",
)  # fmt: skip  # a list to be read across


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
        actions=ACTIONS if action in ("", *ACTIONS) else (*ACTIONS, action),
        following=following,
        is_first=before is None,
        days=KEPT_DAYS,
    )
