"""What operators do to a real Redis, and what befalls it: every acknowledged call is stored, and nobody ends."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import redis

from ingest.redis_client import connect
from ingest.stream.consumer import Consumer
from tests.support.running import answers, exchange, free_port, ingest, running, until
from tests.support.site import Site
from tests.support.valkey import Valkey, valkey

#: Seconds that each trouble lasts at least, in which calls come in.
LASTS = 0.7
READY = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
#: Of a script that would never end.
BUSY = "while true do end"


@dataclass(frozen=True, slots=True)
class Target:
    """The server, and a connection to it from before the trouble."""

    server: Valkey
    admin: redis.Redis

    def cut_off(self) -> None:
        """End all other connections, as a server that restarts does."""
        self.admin.client_kill_filter(_type="normal", skipme=True)
        self.admin.client_kill_filter(_type="pubsub", skipme=True)


@contextmanager
def configured(target: Target, **values: str) -> Iterator[None]:
    """A setting of the server is changed, and changed back."""
    wanted = {name.replace("_", "-"): value for name, value in values.items()}
    before = cast(dict[str, str], target.admin.config_get(*wanted))
    for name, value in wanted.items():
        target.admin.config_set(name, value)
    yield
    for name, value in before.items():
        target.admin.config_set(name, value)


@contextmanager
def another_password(target: Target) -> Iterator[None]:
    with configured(target, requirepass="secret"):
        target.cut_off()
        yield


@contextmanager
def fewer_rights(target: Target) -> Iterator[None]:
    commands = ["xadd", "eval", "xreadgroup", "blmove", "hset"]
    target.admin.acl_setuser("default", enabled=True, commands=[f"-{command}" for command in commands])
    yield
    target.admin.acl_setuser("default", enabled=True, nopass=True, keys="*", channels="*", categories=["+@all"])


@contextmanager
def replica_of_nobody(target: Target, stale: str) -> Iterator[None]:
    with configured(target, replica_serve_stale_data=stale):
        target.admin.replicaof("127.0.0.1", str(free_port()))
        yield
        target.admin.replicaof("NO", "ONE")


@contextmanager
def busy(target: Target) -> Iterator[None]:
    def run() -> None:
        with suppress(redis.RedisError), connect(target.server.url, 60) as client:
            client.eval(BUSY, 0)

    with configured(target, busy_reply_threshold="1"):
        script = threading.Thread(target=run)
        script.start()
        time.sleep(0.1)
        yield
        with suppress(redis.ResponseError):  # it was not there yet
            target.admin.script_kill()
        script.join()


@contextmanager
def paused(target: Target, what: str) -> Iterator[None]:
    target.admin.client_pause(int(LASTS * 2000), all=what == "ALL")
    yield


@contextmanager
def stopped(target: Target) -> Iterator[None]:
    target.server.send(signal.SIGSTOP)
    yield
    target.server.send(signal.SIGCONT)


@contextmanager
def few_clients(target: Target) -> Iterator[None]:
    with configured(target, maxclients="1"):
        target.cut_off()
        yield


@contextmanager
def killed_clients(target: Target) -> Iterator[None]:
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.01):
            target.cut_off()

    killer = threading.Thread(target=kill)
    killer.start()
    yield
    over.set()
    killer.join()


@contextmanager
def killed(target: Target, torn: bytes = b"") -> Iterator[None]:
    target.server.kill()
    (written,) = (target.server.folder / "appendonlydir").glob("*.incr.aof")
    with written.open("ab") as file:
        file.write(torn)
    yield
    target.server.start(wait=False)


@contextmanager
def slow_to_load(target: Target) -> Iterator[None]:
    """It starts again, and says LOADING for a while."""
    with connect(target.server.url) as client:
        client.set("ballast", "x" * 4_000_000)
        client.mset({f"more-{number}": "x" for number in range(2000)})
    target.server.kill()
    target.server.start("--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024", wait=False)
    yield
    until(target.server.answers, "a server that has loaded")


TROUBLES: dict[str, Callable[[Target], AbstractContextManager[None]]] = {
    "NOAUTH": another_password,
    "NOPERM": fewer_rights,
    "READONLY": lambda target: replica_of_nobody(target, "yes"),
    "MASTERDOWN": lambda target: replica_of_nobody(target, "no"),
    "NOREPLICAS": lambda target: configured(target, min_replicas_to_write="1"),
    "OOM": lambda target: configured(target, maxmemory="1"),
    "BUSY": busy,
    "writes are paused": lambda target: paused(target, "WRITE"),
    "everything is paused": lambda target: paused(target, "ALL"),
    "stopped": stopped,
    "max clients": few_clients,
    "clients are killed": killed_clients,
    "killed": killed,
    "a torn append-only file": lambda target: killed(target, b"*3\r\n$4\r\nXADD\r\n$1"),
    "LOADING": slow_to_load,
}


def test_every_acknowledged_call_is_stored_once_and_nobody_ends(tmp_path: Path) -> None:
    with valkey() as server, ExitStack() as stack:
        site = Site(server, tmp_path)
        web = stack.enter_context(running(ingest("serve"), site.environ, tmp_path / "web.log"))
        worker = stack.enter_context(running(ingest("worker"), site.environ, tmp_path / "worker.log"))
        until(lambda: answers(site.port), "the endpoint")
        sent = 0
        for name, trouble in TROUBLES.items():
            with connect(server.url, 10) as admin:
                with trouble(Target(server, admin)):
                    began = time.monotonic()
                    while time.monotonic() - began < LASTS:
                        assert site.send(5).complete, name
                        sent += 5
                until(server.answers, "Redis")
            until(lambda: b'"breaker":"closed"' in exchange(site.port, READY).replace(b" ", b""), "the breaker")
            assert site.send(5).complete, name
            sent += 5
            site.wait_for(sent)
            assert (web.alive, worker.alive) == (True, True), name
        with connect(server.url) as client:
            until(lambda: not Consumer(client).batches(), "an empty stream")
        assert (web.stop(), worker.stop()) == (0, 0)
        assert "Traceback" not in web.output + worker.output
