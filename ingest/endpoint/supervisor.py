"""`ingest serve`, the parent: one port, several processes, and a stop that answers everybody.

It binds one listening socket per process (SO_REUSEPORT: the kernel spreads connections evenly) and hands each to
its child (`ingest.endpoint.process`). A child that dies leaves its socket, with the connections waiting at it, to
its successor. The parent loads nothing of what the children need to take calls.
"""

import logging
import os
import signal
import socket
from functools import partial

from redis import RedisError

from ingest import processes, redis_client, spool
from ingest.endpoint.limits import LISTEN_BACKLOG
from ingest.endpoint.validation_files import ValidationFiles
from ingest.errors import AddressInUse, RedisUnavailable, SettingsError
from ingest.processes import Child, StopSignals, follow_parent, own_command
from ingest.settings import Settings
from ingest.stream.consumer import Consumer

log = logging.getLogger(__name__)

#: Seconds in which the parent lets its children stop; hosts kill after 10 to 30.
STOP_SECONDS = 8.5
#: Seconds that Redis may take to answer before an endpoint with a spool starts without it.
START_PATIENCE = 0.75
#: Said at every start without verification.
NOT_VERIFIED = "signatures are NOT verified: whoever can reach this endpoint can add events"


def serve(settings: Settings) -> None:
    """Run the endpoint until asked to stop.

    Raises:
        AddressInUse: somebody has the port.
        SettingsError: no account is named, or a file or folder that a setting names cannot be read.
        Unavailable: Redis refuses us, or does not answer and there is no spool; or the spool cannot be used.
    """
    if settings.verify == "on":
        from ingest.verification import Verifier  # noqa: PLC0415  # loads DNS and RSA, which only this process needs

        Verifier.of(settings)  # a mistake in its settings is to be heard here, once
    if validation_files := ValidationFiles.of(settings.validation_files, settings.path):
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
            processes.watch(children, signals)
        finally:
            for sock in sockets:
                sock.close()
            processes.stop(children, STOP_SECONDS, signals)
    log.info("stopped")


def _prepare_redis(settings: Settings) -> None:
    """Make what the endpoint needs there; with a spool, a Redis that is away is no reason not to take calls."""
    # Where there is a spool, a Redis that is silent must not keep calls waiting for the port to open.
    patience = redis_client.ANSWER_TIMEOUT if settings.spool_dir is None else START_PATIENCE
    client = redis_client.connect(settings.redis, patience)
    try:
        redis_client.require(client, settings.redis)
        Consumer(client).prepare()
    except RedisUnavailable as error:
        if settings.spool_dir is None:
            raise
        log.warning("calls go to the spool in %s: %s", settings.spool_dir, error)
    except RedisError as error:
        log.warning("Redis went away while we looked: %s", error)
    finally:
        client.close()


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """Listen with `count` sockets at one port; connections queue up until they are accepted.

    Raises:
        AddressInUse: somebody has the port.
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
        raise AddressInUse(
            f"Cannot listen at {host} port {port} ({error.strerror}): stop what uses it, or choose another PORT."
        ) from None


def _bound(family: int, kind: int, protocol: int, address: object) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(address)  # type: ignore[arg-type]
    sock.listen(LISTEN_BACKLOG)
    return sock
