"""What takes long and was begun from a page: how far it is, and a button that stops it."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from ingest.console import live
from ingest.console.acting import act
from ingest.console.rendering import html, page
from ingest.console.tasks import Task, find, recent

routes = web.RouteTableDef()

#: Seconds between two looks at a task that somebody watches.
LOOK_EVERY = 0.5


@routes.get("/tasks")
async def several(request: web.Request) -> web.Response:
    """The last ones, whoever began them."""
    return page(request, "tasks.html", tasks=recent(request.app), busy="busy" in request.query)


@routes.get("/task/{number:[0-9a-f]{1,32}}")
async def one(request: web.Request) -> web.Response:
    """One of them."""
    return page(request, "task.html", task=_task(request), busy="busy" in request.query)


@routes.get("/live/task/{number:[0-9a-f]{1,32}}")
async def watched(request: web.Request) -> web.StreamResponse:
    """How far it is, until it has ended."""
    return await live.stream(request, _progress(request, _task(request)))


@routes.post("/task/{number:[0-9a-f]{1,32}}/stop")
async def stop(request: web.Request) -> web.Response:
    """Have it end."""
    task = _task(request)

    def do(_store: object) -> None:
        task.stop.set()

    if task.ended_at is None and not task.stop.is_set():
        # First: it ends even if the database does not answer.
        task.stop.set()
        await act(request, "stop", {"task": task.kind, "begun_by": task.who}, do)
    raise web.HTTPSeeOther(f"/task/{task.id}")


def _task(request: web.Request) -> Task:
    task = find(request.app, request.match_info["number"])
    if task is None:
        raise web.HTTPNotFound
    return task


async def _progress(request: web.Request, task: Task) -> AsyncIterator[tuple[str, str]]:
    shown: tuple[object, ...] = ()
    while True:
        ended, now = task.ended_at is not None, task.seen
        if now != shown:
            shown = now
            yield "progress", html(request, "task_progress.html", {"task": task})
        if ended:
            yield "ended", "ended"
            return
        await asyncio.sleep(LOOK_EVERY)
