"""`ingest serve`, the parent: one port, several processes, and a stop that leaves no call unanswered.

It binds one listening socket per process (SO_REUSEPORT: the kernel spreads connections evenly) and hands each to
its child (`ingest.endpoint.process`). When a child dies, its successor gets the same socket, with the connections
that wait there. The parent does not load what only the children need.
"""

import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from redis import RedisError

from ingest import container, processes, redis_client, spool
from ingest.copernica.accounts import full_name
from ingest.endpoint import descriptors
from ingest.endpoint.limits import LISTEN_BACKLOG, SEND_BUFFER
from ingest.endpoint.memory import most_taken
from ingest.endpoint.validation_files import ValidationFiles
from ingest.errors import AddressInUse, RedisUnavailable, SettingsError, Unavailable
from ingest.listening import url_of
from ingest.metrics.board import Board
from ingest.metrics.child import exporter
from ingest.processes import Child, follow_parent, own_command
from ingest.redis_errors import is_denied
from ingest.redis_settings import StreamServer
from ingest.settings import Settings
from ingest.stops import StopSignals
from ingest.stream.consumer import Consumer
from ingest.stream.trial import try_batch

log = logging.getLogger(__name__)

#: Seconds that the children get to stop; hosting platforms kill the parent after 10 to 30.
STOP_SECONDS = 8.5
#: Seconds that Redis may take to answer before an endpoint with a spool starts without it.
START_PATIENCE = 0.75
#: Logged at every start without verification.
NOT_VERIFIED = "signatures are NOT verified: whoever can reach this endpoint can add events"


def serve(settings: Settings) -> None:
    """Run the endpoint until asked to stop.

    Raises:
        AddressInUse: another program uses the port.
        SettingsError: no account is named, or a file or folder that a setting names cannot be read.
        Unavailable: Redis rejects us, or does not serve us and there is no spool; or the spool cannot be used.
    """
    descriptors.tell_limit(descriptors.connection_limit())
    processes.aside(partial(check, settings))
    prepare_redis(settings)
    with StopSignals.caught() as signals, ExitStack() as started:
        # Left in reverse: once the sockets are closed here, the children are the last to have them.
        children: list[Child] = []
        started.callback(processes.stop, children, STOP_SECONDS, signals)
        sockets = started.enter_context(listening(settings.host, settings.port, settings.web_concurrency))
        follow_parent(partial(os.kill, os.getpid(), signal.SIGTERM))
        _log_start(settings)
        board = None
        if settings.metrics_port is not None:
            board = Board.create(settings.web_concurrency)
            started.callback(board.close)
        for number, sock in enumerate(sockets, 1):
            children.append(process_of(number, sock, board))
        if board is not None:
            children.append(exporter(board, "serve"))
        for child in children:
            child.start()
        processes.watch(children, signals)
    log.info("stopped")


def check(settings: Settings) -> None:
    """Fail on a mistake in the settings before the start, once, rather than in every child.

    Raises:
        SettingsError: no account is named, or a file or folder that a setting names cannot be read.
        Unavailable: the spool cannot be used.
    """
    if settings.verify == "on":
        from ingest.verification import Verifier  # noqa: PLC0415  # DNS and RSA are loaded only where they are needed

        Verifier.from_settings(settings)
    if validation_files := ValidationFiles.from_folder(settings.validation_files, settings.path):
        validation_files.require()
    require_metrics_address(settings)
    if settings.spool_dir is not None:
        spool.require(settings.spool_dir)  # a full disk is no mistake: each child says so, and uses it once it can


def require_metrics_address(settings: Settings) -> None:
    """Fail on a metrics port that cannot be; loads what is not for the endpoint's parent.

    Raises:
        SettingsError: it is that of the calls, or it cannot be listened at.
    """
    if settings.metrics_port is None:
        return
    if settings.metrics_port == settings.port:
        raise SettingsError(
            f"INGEST_METRICS_PORT and PORT are both {settings.port}: metrics are not shown where calls come in; "
            "choose another INGEST_METRICS_PORT."
        )
    from ingest.metrics.listening import require  # noqa: PLC0415

    require(settings.metrics_host, settings.metrics_port)


def _log_start(settings: Settings) -> None:
    log.info("taking webhooks at %s%s", url_of(settings.host, settings.port), settings.path or "/")
    _tell_of_little_memory(settings)
    if settings.verify == "off":
        log.warning(NOT_VERIFIED)
    else:
        log.info("signed for %s, keys from %s", ", ".join(map(full_name, settings.accounts)), settings.keys)


def _tell_of_little_memory(settings: Settings) -> None:
    """An attack, or a day of large bounces, must not be what tells that the system kills a process for it."""
    memory = container.memory()
    taken = most_taken(settings.web_concurrency, settings.max_body, memory)
    if memory is not None and taken > memory:
        log.warning(
            "the endpoint may need %d MiB of memory, and there are %d: set a lower WEB_CONCURRENCY or "
            "INGEST_MAX_BODY, or give it more",
            taken // 2**20,
            memory // 2**20,
        )


def process_of(number: int, sock: socket.socket, board: Board | None = None, **how: Any) -> Child:
    """The process that serves this socket; for `how` it is started, see `Child`.

    Calls may wait at the socket already while the process starts: asked to stop then, it answers them first.
    """
    command, fds = (
        own_command("serve", "--listening", str(sock.fileno()), "--number", str(number)),
        [sock.fileno()],
    )
    if board is not None:
        command, fds = [*command, "--board", str(board.fd)], [*fds, board.fd]
    return Child(f"web.{number}", command, pass_fds=fds, stops_ready=True, **how)


def prepare_redis(settings: Settings) -> None:
    """Make the consumer group, and try to write; with a spool, an endpoint also starts while Redis is unreachable.

    Raises:
        Unavailable: Redis does not serve us and there is no spool; or no waiting would help: its certificate, our
            credentials or our rights are wrong, and every call would go to the spool.
    """
    servers = settings.stream_servers
    if len(servers) > 1:
        _prepare_servers(settings, servers)
        return
    # With a spool, calls need not wait for the port to open until Redis has had all its time to answer.
    patience = redis_client.ANSWER_TIMEOUT if settings.spool_dir is None else START_PATIENCE
    with redis_client.connect(settings.redis, patience) as client:
        try:
            redis_client.require(client, settings.redis)
            Consumer(client).prepare()
            try_batch(client)
        except RedisUnavailable as error:
            if settings.spool_dir is None:
                raise
            log.warning("calls go to the spool in %s: %s", settings.spool_dir, error)
        except RedisError as error:
            if is_denied(error):  # it will not pass by itself, and all calls would go to the spool
                raise redis_client.unavailable(settings.redis, error) from None
            log.warning("the connection to Redis was lost during the check: %s", error)


def _prepare_servers(settings: Settings, servers: Sequence[StreamServer]) -> None:
    """The same for each of several servers: one that takes calls is enough.

    Raises:
        Unavailable: none does, and there is no spool; or no waiting would help.
    """
    troubles = [trouble for server in servers if (trouble := _trouble_with(server)) is not None and server.takes]
    if len(troubles) < sum(server.takes for server in servers):
        return
    if settings.spool_dir is None or not any(isinstance(trouble, RedisUnavailable) for trouble in troubles):
        raise troubles[0]
    log.warning("calls go to the spool in %s: no stream server takes them", settings.spool_dir)


def _trouble_with(server: StreamServer) -> Unavailable | None:
    """What is wrong with a server, which is in the log then; None if it takes calls."""
    with redis_client.connect(server.url, START_PATIENCE) as client:
        try:
            redis_client.require(client, server.url, server.setting)
            Consumer(client).prepare()
            try_batch(client)
        except Unavailable as error:
            trouble = error
        except RedisError as error:
            trouble = redis_client.unavailable(server.url, error, server.setting)
        else:
            return None
    log.warning("a stream server is left out until it serves: %s", trouble)
    return trouble


@contextmanager
def listening(host: str, port: int, count: int) -> Iterator[list[socket.socket]]:
    """Listen with `count` sockets at one port for as long as the block runs; connections wait to be accepted.

    Raises:
        AddressInUse: another program uses the port.
        SettingsError: the host is not an address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise SettingsError(
            f"HOST={host!r} cannot be used: {error.strerror}; name an address of this machine."
        ) from None
    with ExitStack() as opened:
        try:
            # Once without SO_REUSEPORT: with it, a second server would silently take half of the calls.
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
            sockets = [opened.enter_context(socket.socket(family, kind, protocol)) for _ in range(count)]
            for sock in sockets:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # connections inherit it
                sock.bind(address)
                sock.listen(LISTEN_BACKLOG)
        except OSError as error:
            raise AddressInUse(
                f"Cannot listen at {host} port {port} ({error.strerror}): "
                "stop what uses it, or choose another PORT."
            ) from None
        yield sockets
