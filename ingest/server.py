"""`ingest serve`: one port, several processes, and a stop that answers everybody.

The parent binds one listening socket per process (SO_REUSEPORT: the kernel spreads connections evenly) and hands
each to its child. A child that dies leaves its socket, with the connections waiting at it, to its successor.

A stop (SIGTERM, SIGINT) goes: no new connections; every request that has come in is answered, and its connection
closed; what is on its way to Redis is waited for; the process ends.
"""

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import uvloop
from aiohttp import web
from redis import RedisError, ResponseError

from ingest import connections, spool, supervise
from ingest.app import CLOSING, HANDLER_ARGS, connection_factory, create_app
from ingest.buffer import Appender, Backlog
from ingest.door import Door
from ingest.errors import Away, Occupied, SettingsError
from ingest.intake import Intake
from ingest.limits import MAX_CONNECTIONS
from ingest.replay import Replayer
from ingest.settings import Settings
from ingest.spool import Spool
from ingest.supervise import Child, StopSignals, follow_parent, own_command
from ingest.validation import ValidationFiles
from ingest.verify import Verifier

log = logging.getLogger(__name__)

#: Connections that may wait to be accepted, per process; the system has a limit of its own (somaxconn).
BACKLOG = 2048
#: Seconds in which the parent lets its children stop; hosts kill after 10 to 30.
STOP_SECONDS = 8.5
#: Seconds that the event loop gets to close its side of the listening socket.
CLOSE_SECONDS = 0.01
#: Seconds a stopping child waits for requests that are still coming in on open connections …
QUIET_SECONDS = 0.3
#: … and at the most for those it is at work on.
ANSWER_SECONDS = 6.0
#: Seconds between two looks at whether the workers need waking, and two reports for `status`.
SWEEP_EVERY = 3.0
#: Seconds that Redis may take over one of these, so that they never hold up a stop for long.
CHORE_TIMEOUT = 1.5
#: Seconds between two lines in the log about what was taken.
LOG_EVERY = 10.0

#: Objects after which Python looks for garbage in circles, in a process of the endpoint.
GC_EVERY = 20_000
#: Said at every start without verification.
NOT_VERIFIED = "signatures are NOT verified: whoever can reach this endpoint can add events"


def serve(settings: Settings) -> None:
    """Run the endpoint until asked to stop.

    Raises:
        Occupied: somebody has the port.
        SettingsError: no account is named, or a file or folder that a setting names cannot be read.
        Unavailable: Redis refuses us, or does not answer and there is no spool; or the spool cannot be used.
    """
    if settings.verify == "on":
        Verifier.of(settings)  # a mistake in its settings is to be heard here, once
    if validation_files := _validation_files(settings):
        validation_files.require()
    if settings.spool_dir is not None:
        spool.prepare(settings.spool_dir)
    _prepare_redis(settings)
    sockets = listen(settings.host, settings.port, settings.web_concurrency)
    with StopSignals.caught() as signals:
        follow_parent(partial(os.kill, os.getpid(), signal.SIGTERM))
        children = [
            Child(
                f"web.{number}",
                own_command("serve", "--listening", str(sock.fileno()), "--number", str(number)),
                pass_fds=[sock.fileno()],
            )
            for number, sock in enumerate(sockets, 1)
        ]
        log.info("taking webhooks at http://%s:%d%s", settings.host, settings.port, settings.path or "/")
        if settings.verify == "off":
            log.warning(NOT_VERIFIED)
        else:
            log.info("signed for %s, keys from %s", ", ".join(settings.accounts), settings.keys)
        for child in children:
            child.start()
        try:
            supervise.watch(children, signals)
        finally:
            for sock in sockets:
                sock.close()
            supervise.stop(children, STOP_SECONDS, signals)
    log.info("stopped")


def _prepare_redis(settings: Settings) -> None:
    """Make what the endpoint needs there; with a spool, a Redis that is away is no reason not to take calls."""
    client = connections.connect(settings.redis)
    try:
        connections.require(client, settings.redis)
        Backlog(client).prepare()
    except Away as error:
        if settings.spool_dir is None:
            raise
        log.warning("calls go to the spool in %s: %s", settings.spool_dir, error)
    except RedisError as error:
        log.warning("Redis went away while we looked: %s", error)
    finally:
        client.close()


def _validation_files(settings: Settings) -> ValidationFiles | None:
    folder = settings.validation_files
    return None if folder is None else ValidationFiles(folder, settings.path)


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """Listen with `count` sockets at one port; connections queue up until they are accepted.

    Raises:
        Occupied: somebody has the port.
        SettingsError: the host is none of this machine's addresses.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise SettingsError(f"HOST={host!r} cannot be used: {error.strerror}.") from None
    try:
        # Once without SO_REUSEPORT: with it, a second server would silently take half of the first one's calls.
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        return [_bound(family, kind, protocol, address) for _ in range(count)]
    except OSError as error:
        raise Occupied(
            f"Cannot listen at {host} port {port} ({error.strerror}): stop what uses it, or choose another PORT."
        ) from None


def _bound(family: int, kind: int, protocol: int, address: object) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(address)  # type: ignore[arg-type]
    sock.listen(BACKLOG)
    return sock


def serve_socket(settings: Settings, fd: int, number: int) -> None:
    """One process of the endpoint, on a listening socket that it inherited."""
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    # What is loaded by now stays; and calls are too many to look for garbage among them every few hundred objects.
    gc.freeze()
    gc.set_threshold(GC_EVERY, 10, 10)
    uvloop.run(_serve_socket(settings, sock, number, _connection_limit()))


def _connection_limit() -> int:
    """As many connections as there may be open files, less some for ourselves."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + 128 if hard == resource.RLIM_INFINITY else min(hard, MAX_CONNECTIONS + 128)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted - 128


async def _serve_socket(settings: Settings, sock: socket.socket, number: int, limit: int) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    follow_parent(partial(loop.call_soon_threadsafe, stopping.set))

    client = connections.connect_async(settings.redis)
    blocking = connections.connect(settings.redis, CHORE_TIMEOUT)
    backlog = Backlog(blocking, f"web:{socket.gethostname()}:{os.getpid()}")
    kept = None if settings.spool_dir is None else Spool(settings.spool_dir, settings.spool_max)
    appender = Appender(client, backlog.wake_another, spool=kept)
    verifier = Verifier.of(settings) if settings.verify == "on" else None
    take = Intake(appender, settings.max_body, verifier, keep_headers=bool(settings.forward_url))
    replayer = Replayer(appender, settings.buffer_max)
    app = create_app(take, replayer, settings.path, _validation_files(settings))
    runner = web.AppRunner(app, shutdown_timeout=1.0, **HANDLER_ARGS)
    await runner.setup()
    assert runner.server is not None
    door = Door(take, settings.path, connection_factory(runner.server, limit), limit)
    waiting = sock.dup()
    server = await loop.create_server(door, sock=sock, backlog=BACKLOG)
    watch = asyncio.create_task(door.watch())
    replay = asyncio.create_task(replayer.run())
    chores = asyncio.create_task(_chores(settings, take, appender, backlog, number))
    log.info("web.%d is ready (process %d)", number, os.getpid())

    await stopping.wait()
    app[CLOSING].set()
    door.closing = True
    server.close()
    await asyncio.sleep(CLOSE_SECONDS)
    await _accept_rest(waiting, door)
    await _until_answered(take, door)
    door.close_idle()
    await runner.cleanup()
    await appender.close()
    for task in (watch, replay, chores):
        task.cancel()
    await asyncio.gather(replay, chores, return_exceptions=True)
    if kept is not None:
        await kept.close()
    await client.aclose()
    log.info("web.%d took %d calls and stops", number, take.accepted)


async def _accept_rest(listening: socket.socket, door: Door) -> None:
    """Take the connections that wait to be accepted: closing the socket would cut them off with their calls."""
    rest = []
    with listening, suppress(BlockingIOError):
        while True:
            rest.append(listening.accept()[0])
    for connection in rest:
        connection.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(door, connection)


async def _until_answered(take: Intake, door: Door) -> None:
    """Wait until no call is being taken: a moment for those just coming in, longer for those at work."""
    began = time.monotonic()
    while time.monotonic() - began < (ANSWER_SECONDS if take.busy or door.busy else QUIET_SECONDS):
        await asyncio.sleep(0.02)


async def _chores(settings: Settings, take: Intake, appender: Appender, backlog: Backlog, number: int) -> None:
    """Now and then: wake workers that were not woken, tell `status` and the log what was taken."""
    before = _Taken(take, appender)
    logged = before
    try:
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            now = _Taken(take, appender)
            said: dict[str, object] = {
                "verify": settings.verify,
                "accepted": take.accepted,
                "unverified": take.unverified,
                "refused": dict(take.refused),
                "failed": take.failed,
                "rate": now.rate_since(before),
                "breaker": appender.breaker.state,
                **_of_spool(appender.spool),
            }
            before = now
            if appender.breaker.is_closed:
                await asyncio.to_thread(_report_and_sweep, settings, backlog, said)
            if now.at - logged.at >= LOG_EVERY:
                if now.calls > logged.calls:
                    log.info("web.%d: %s", number, now.told_since(logged))
                logged = now
    finally:
        if appender.breaker.is_closed:
            await asyncio.to_thread(_retract, backlog)


def _of_spool(kept: Spool | None) -> dict[str, object]:
    if kept is None:
        return {}
    return {
        "spooled": kept.events,
        "spool_bytes": kept.size,
        "spool_oldest": kept.oldest_age,
        "spool_bad": kept.bad,
    }


class _Taken:
    """What an endpoint process had taken at a moment."""

    def __init__(self, take: Intake, appender: Appender) -> None:
        self.at = time.monotonic()
        self.calls = take.accepted
        self.batches = appender.batches

    def rate_since(self, before: "_Taken") -> float:
        """Calls per second."""
        return round((self.calls - before.calls) / (self.at - before.at), 1)

    def told_since(self, before: "_Taken") -> str:
        """For the log."""
        calls, batches = self.calls - before.calls, self.batches - before.batches
        return f"{calls} calls taken in {self.at - before.at:.0f} s, {calls / max(batches, 1):.1f} to a batch"


def _report_and_sweep(settings: Settings, backlog: Backlog, said: dict[str, object]) -> None:
    for chore in (
        partial(backlog.report, **said),
        backlog.sweep,
        backlog.verify_again,
        backlog.daily,
        partial(_reconcile, settings, backlog),
        backlog.hand_on_again,
    ):
        try:
            chore()
        except ResponseError as error:
            log.warning("Redis refuses a chore: %s", error)
        except RedisError as error:
            log.warning("Redis does not serve us: %s", error)
            return  # the others would wait for the same answer
        except Exception:  # the next round must come, whatever is wrong with this one
            log.exception("a chore failed")


def _reconcile(settings: Settings, backlog: Backlog) -> None:
    if day := settings.reconciles_on(datetime.now(UTC)):
        backlog.reconcile(day)


def _retract(backlog: Backlog) -> None:
    try:
        backlog.retract()
    except RedisError as error:
        log.debug("could not retract the report: %s", error)
