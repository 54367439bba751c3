"""The endpoint inside an aiohttp application of yours, in its process and on its port.

    from aiohttp import web
    from ingest.endpoint.mounting import mount

    app = web.Application()
    mount(app)                     # with the settings of the environment
    web.run_app(app)

Calls are checked, kept and answered as by `ingest serve`. What is lacking belongs to a process of its own: the
fast path, deadlines for heads that arrive slowly, a limit on connections. So put a proxy before it that has them,
and let that pass the path on as Copernica called it: it is signed. A worker is needed as ever.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from functools import partial

from aiohttp import web

from ingest import partitions, redis_client
from ingest.endpoint.app import CLOSING, INTAKE, PROBE, REPLAYER, Probe, add_routes
from ingest.endpoint.covering import Covering
from ingest.endpoint.key_sharing import KeySharing
from ingest.endpoint.limits import MAINTENANCE_TIMEOUT
from ingest.endpoint.maintenance import maintain
from ingest.endpoint.process import background_tasks, open_intake, open_owner, open_producer
from ingest.endpoint.spool_replay import SpoolReplayer
from ingest.errors import SettingsError
from ingest.jobs import JobScheduler
from ingest.lookout import Lookout
from ingest.settings import Settings
from ingest.spool import Spool
from ingest.stream.coverage import Coverage
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.known_keys import KnownKeys
from ingest.stream.refusals import Refusals
from ingest.stream.reports import ENDPOINT, process_name
from ingest.verification import Verifier

__all__ = ["mount"]


def mount(app: web.Application, environ: Mapping[str, str] = os.environ) -> None:
    """Take Copernica's calls in this application, at INGEST_PATH and below.

    It opens what it needs when the application starts, and closes it when that is cleaned up, after all calls are
    answered.

    Args:
        app: the application, before it is started. Each can take calls once.
        environ: the settings, as `ingest serve` reads them; those of ports and processes do not count.

    Raises:
        SettingsError: a setting is missing or wrong, or the application takes calls already.
    """
    settings = Settings.read(environ)
    if settings.verify == "on":
        Verifier.from_settings(settings)
    if app.get(_SETTINGS) is not None:
        raise SettingsError("This application takes Copernica's calls already: mount the endpoint once.")
    app[_SETTINGS] = settings
    add_routes(app, settings.path)
    app.cleanup_ctx.append(partial(_opened, settings))
    app.on_shutdown.append(_close_connections)


_SETTINGS = web.AppKey("settings", Settings)


async def _close_connections(app: web.Application) -> None:
    """Have each further answer close its connection."""
    app[CLOSING].set()


async def _opened(settings: Settings, app: web.Application) -> AsyncIterator[None]:
    """What the endpoint needs, while the application runs."""
    async with AsyncExitStack() as opened:
        blocking = opened.enter_context(redis_client.connect(settings.redis, MAINTENANCE_TIMEOUT))
        spool = None
        if settings.spool_dir is not None:
            spool = await opened.enter_async_context(Spool(settings.spool_dir, settings.spool_max))
        name = process_name(ENDPOINT)
        found = opened.enter_context(partitions.opened(settings, blocking, MAINTENANCE_TIMEOUT))
        scheduler = JobScheduler(blocking, found)
        producer = await open_producer(settings, scheduler, spool, opened)
        owner = await open_owner(blocking, producer, found.queues)
        verifier = Verifier.from_settings(settings) if settings.verify == "on" else None
        intake = open_intake(settings, producer, verifier, opened)
        covering = await opened.enter_async_context(Covering(name, intake, Coverage(blocking), spool))
        start = await opened.enter_async_context(background_tasks())
        sharing = None
        if verifier is not None:
            sharing = KeySharing(verifier, intake.budget, KnownKeys(blocking), scheduler, found)
        replayer = SpoolReplayer(producer, settings.buffer_max)
        app[INTAKE], app[REPLAYER], app[CLOSING] = intake, replayer, asyncio.Event()
        app[PROBE] = Probe(producer)
        start(covering.run())
        start(replayer.run())
        lookout = Lookout(settings, blocking, is_worker=False, speaks=True)
        keep = partial(maintain, settings, intake, producer, Heartbeats(blocking, name), scheduler, 1)
        start(keep(covering, sharing, lookout, Refusals(blocking), found.queues, owner))
        yield
        covering.stop()
        covering.end()
