"""The system: settings, versions, Redis, the database, queues, disks, and what `ingest check` finds.

Each part has a path of its own, and the page loads those that may be slow one by one: what does not answer holds
up nothing else, and without a script their links lead there.
"""

import platform
from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from aiohttp import web

from ingest import redis_client
from ingest.console.acting import act
from ingest.console.checking import CHECKS, Checks
from ingest.console.marking import _
from ingest.console.origins import ORIGINS
from ingest.console.reading import reading_of
from ingest.console.rendering import page
from ingest.errors import IngestError
from ingest.jobs import QUEUES
from ingest.shown import without_secrets
from workers.operations import database_facts, job_facts, redis_facts
from workers.operations.config import effective
from workers.operations.status import disk_figures
from workers.store.store import Store

routes = web.RouteTableDef()

#: Seconds for which SQLite's file is read to say what takes how much of it.
MEASURING = 8.0
#: Libraries whose version matters most to what we do.
LIBRARIES = (
    "aiohttp", "uvloop", "redis", "hiredis", "rq", "SQLAlchemy", "alembic", "psycopg", "cryptography", "dnspython",
    "pydantic", "orjson", "zstandard", "Jinja2", "Babel",
)  # fmt: skip  # a list to be read across
#: What RQ calls what a worker is at, in words.
STATES = {"idle": _("waits"), "busy": _("works"), "started": _("starts"), "suspended": _("suspended")}
#: What an address says that somebody was led to.
SAID = {
    "requeued": _("The job is on its queue again."),
    "dropped": _("The job is forgotten."),
    "gone": _("The job was gone already."),
}


def prepare(app: web.Application) -> None:
    """Have an application remember its last check."""
    app[CHECKS] = Checks()


@routes.get("/system")
async def system(request: web.Request) -> web.Response:
    """All parts: those that are quick at once, and places for the others."""
    return page(request, "system.html", versions=_versions(), settings=_settings(request))


def _versions() -> list[tuple[str, str]]:
    found = [("Python", platform.python_version()), ("System", f"{platform.system()} {platform.release()}")]
    return [*found, *_libraries()]


def _libraries() -> Iterator[tuple[str, str]]:
    for name in LIBRARIES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def _settings(request: web.Request) -> list[tuple[str, str, str]]:
    """As `ingest config` shows them."""
    origins = request.app[ORIGINS]
    rows = effective(reading_of(request).settings, origins.given, origins.changes)
    return [(row.name, without_secrets(row.value), row.origin) for row in rows]


@routes.get("/system/settings")
async def settings(request: web.Request) -> web.Response:
    """Every setting as it counts here, and where it comes from."""
    return page(request, "system_part.html", part="settings", settings=_settings(request), why="")


@routes.get("/system/redis")
async def of_redis(request: web.Request) -> web.Response:
    """What Redis says of itself."""
    try:
        facts, why = await reading_of(request).redis(redis_facts.look), ""
    except IngestError as error:
        facts, why = None, str(error)
    return page(request, "system_part.html", part="redis", facts=facts, why=why, where=_redis_url(request))


def _redis_url(request: web.Request) -> str:
    origins = request.app[ORIGINS]
    rows = effective(reading_of(request).settings, origins.given, origins.changes)
    return next(row.value for row in rows if row.name == "REDIS_URL")


@routes.get("/system/database")
async def of_database(request: web.Request) -> web.Response:
    """What the database says of itself; with `?measure=1`, how much each table takes of SQLite's file, too."""
    sizes, slow = None, ""
    try:
        facts, why = await reading_of(request).store(database_facts.look), ""
        if "measure" in request.query and facts.kind == "SQLite":
            try:
                sizes = await reading_of(request).store(
                    partial(database_facts.measured, seconds=MEASURING), MEASURING + 2
                )
            except IngestError as error:
                slow = str(error)
    except IngestError as error:
        facts, why = None, str(error)
    return page(
        request, "system_part.html", part="database", facts=facts, why=why, sizes=sizes, slow=slow,
        measured="measure" in request.query,
    )  # fmt: skip  # a list to be read across


@routes.get("/system/queues")
async def queues(request: web.Request) -> web.Response:
    """RQ's queues, jobs and workers."""
    try:
        facts, why = await reading_of(request).redis(job_facts.look), ""
    except IngestError as error:
        facts, why = None, str(error)
    said = SAID.get(request.query.get("said", ""))
    return page(request, "system_part.html", part="queues", facts=facts, why=why, said=said, states=STATES)


@routes.post("/system/queues/{queue}/{action:requeue|drop}")
async def job(request: web.Request) -> web.Response:
    """Put a job that failed on its queue again, or forget it."""
    queue, action = request.match_info["queue"], request.match_info["action"]
    job_id = str((await request.post()).get("job", ""))[:200]
    if queue not in QUEUES or not job_id:
        raise web.HTTPNotFound
    url = reading_of(request).settings.redis

    def do(_store: Store) -> int:
        with redis_client.connect(url) as client:
            redis_client.require(client, url)
            return (job_facts.requeue if action == "requeue" else job_facts.drop)(client, queue, job_id)

    number = await act(request, f"{action} job", {"queue": queue, "job": job_id}, do)
    said = ("requeued" if action == "requeue" else "dropped") if number else "gone"
    raise web.HTTPSeeOther(f"/system/queues?said={said}")


@routes.get("/system/disks")
async def disks(request: web.Request) -> web.Response:
    """How full the disks are that calls and events are on."""
    reading = reading_of(request)
    try:
        figures, why = await reading.run(partial(disk_figures, reading.settings)), ""
    except IngestError as error:
        figures, why = (), str(error)
    return page(request, "system_part.html", part="disks", disks=figures, why=why)


@routes.get("/system/check")
async def check(request: web.Request) -> web.Response:
    """Check everything now, as `ingest check` does; it takes some seconds."""
    found = await request.app[CHECKS].check(request.app[ORIGINS].given.values)
    return page(request, "system_part.html", part="check", found=found, why="")
