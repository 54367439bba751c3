"""The pages. Each module has `routes`; the application adds those of all that are named in `MODULES`."""

from importlib import import_module
from typing import NamedTuple

from aiohttp import web

from ingest.console.marking import _


class Link(NamedTuple):
    """A page that the menu names."""

    path: str
    title: str


#: The menu, in its order.
NAVIGATION = (
    Link("/", _("Now")),
    Link("/events", _("Events")),
    Link("/mailings", _("Mailings")),
    Link("/refusals", _("Refused calls")),
    Link("/quarantine", _("Quarantine")),
    Link("/handlers", _("Handlers")),
    Link("/dead-letters", _("Dead letters")),
    Link("/days", _("Completeness")),
    Link("/gaps", _("Gaps")),
    Link("/system", _("System")),
    Link("/audit", _("Audit")),
)

#: Modules with pages.
MODULES = (
    "now",
    "events",
    "people",
    "refusals",
    "quarantine",
    "mailings",
    "handlers",
    "dead_letters",
    "dead_letters_bulk",
    "dead_letter",
    "days",
    "gaps",
    "system",
    "event",
    "hand_on",
    "erase",
    "tasks",
    "login",
    "audit",
)


def add_all(app: web.Application) -> None:
    """Add the routes of all pages."""
    for name in MODULES:
        module = import_module(f"ingest.console.pages.{name}")
        routes: web.RouteTableDef = module.routes
        app.add_routes(routes)
        if hasattr(module, "prepare"):
            module.prepare(app)
