"""What is going on now."""

from functools import partial

from aiohttp import web

from ingest.console.reading import reading_of
from ingest.console.rendering import page
from workers.operations.status import gather

routes = web.RouteTableDef()


@routes.get("/")
async def now(request: web.Request) -> web.Response:
    """What is going on: warnings first."""
    reading = reading_of(request)
    figures = await reading.run(partial(gather, reading.settings, 5.0))
    worst_first = sorted(figures.warnings, key=lambda warning: warning.level != "alarm")
    return page(request, "now.html", figures=figures, warnings=worst_first)
