"""`ingest all`: everything on one machine in one command, for production.

The parts are those of `ingest dev` (`ingest.dev.parts`). What `dev` does for trying things is not done here: there
is no key for simulated calls, so only Copernica's are taken; accounts must be named; root is refused, as by each
part alone; the console is there only for those who sign in; handlers are not reloaded; and the parts write their
log lines themselves, for a collector to read.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import IO

from ingest import processes, shown
from ingest.dev import beside, console, parts
from ingest.endpoint import supervisor
from ingest.processes import watch
from ingest.settings import Settings
from ingest.stops import StopSignals

log = logging.getLogger(__name__)

#: Seconds between two questions to the endpoint, while it starts, whether it is ready.
READY_INTERVAL = 0.2


def run(settings: Settings, count: int) -> None:
    """Run everything, with that many workers for events, until asked to stop.

    Raises:
        AddressInUse: the port or the data folder is in use.
        SettingsError: no account is named, or the user is root, or a setting cannot be used.
        Unavailable: the data folder cannot be written, or Redis or the database cannot be used.
    """
    processes.aside(partial(_check, settings))
    with StopSignals.caught() as signals, ExitStack() as stack:
        server, tables = stack.enter_context(parts.prepared(settings, signals, _log_warnings))
        environ = parts.environment(settings, server.url)
        stack.enter_context(beside.told(settings.data_dir, os.environ | environ))
        web = [parts.endpoint(environ)]
        workers = [parts.worker(f"worker.{number}", "events", environ) for number in range(1, count + 1)]
        if settings.has_handlers:
            workers.append(parts.worker("handlers", "handlers", environ))
        shown_at = stack.enter_context(_console(settings, environ))
        front = [*web, *shown_at.children]
        try:
            parts.start(web, [*server.children, *shown_at.children], workers, tables, signals)
            ready = (settings, server.what, shown_at.said, signals)
            threading.Thread(target=_tell_when_ready, args=ready, name="ready", daemon=True).start()
            watch([*server.children, *front, *workers], signals)
        finally:
            log.info("stopping")
            parts.stop_in_order(front, workers, settings, signals)
    log.info("stopped; the rest of the backlog is drained at the next start")


def _check(settings: Settings) -> None:
    """Fail on what would end a part at each of its starts."""
    from workers.handlers import configured  # noqa: PLC0415  # loaded where it is needed, not in the parent
    from workers.process.worker import require_user  # noqa: PLC0415

    supervisor.check(settings)
    require_user(settings)
    configured.known_handlers(settings)


@contextmanager
def _console(settings: Settings, environ: dict[str, str]) -> Iterator[console.Console]:
    """The console, where people have to sign in: others may use this machine, and it shows and erases people."""
    if settings.console_port is not None and not console.needs_signing_in(settings):
        yield console.Console([], "none without INGEST_CONSOLE_PASSWORD or INGEST_CONSOLE_AUTH_HEADER")
        return
    with console.prepared(settings, environ) as prepared:
        if settings.console_port is not None and not prepared.children:
            log.warning("console: %s", prepared.said)
        yield prepared


def _tell_when_ready(settings: Settings, what_redis: str, console_at: str, signals: StopSignals) -> None:
    """In a thread, since the parts are watched over meanwhile: log once that calls are taken."""
    while not signals.count:
        if parts.is_ready(settings):
            log.info(
                "all parts run: redis %s; database %s; console %s",
                what_redis,
                settings.shown_database,
                console_at,
            )
            return
        time.sleep(READY_INTERVAL)


def _log_warnings(name: str, lines: IO[str]) -> None:
    for line in parts.warnings(lines):
        log.warning("%s: %s", name, shown.escaped(line))
