"""The endpoint inside an aiohttp application of yours, in its process and on its port.

    from aiohttp import web
    from ingest.endpoint.mounting import mount

    app = web.Application()
    mount(app)                     # with the settings of the environment
    web.run_app(app)

Calls are checked, kept and answered as by `ingest serve`. What is lacking belongs to a process of its own: the
fast path, deadlines for heads that arrive slowly, a limit on connections, the metrics port. So put a proxy before
it that has them, and let that pass the path on as Copernica called it: it is signed. A worker is needed as ever.

`app.router.add_get("/readyz", readyz)` on the same application has monitoring ask whether calls can be kept.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from functools import partial

from aiohttp import web

from ingest.endpoint.app import CLOSING, INTAKE, PROBE, REPLAYER, Probe, add_routes, readyz
from ingest.endpoint.parts import open_parts
from ingest.errors import SettingsError
from ingest.settings import Settings
from ingest.verification import Verifier

__all__ = ["mount", "readyz"]


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
    async with open_parts(settings) as parts:
        app[INTAKE], app[REPLAYER], app[CLOSING] = parts.intake, parts.replayer, asyncio.Event()
        app[PROBE] = Probe(parts.producer)
        parts.begin()
        yield
        parts.covering.stop()
        parts.covering.end()
