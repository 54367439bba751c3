"""A primary, its replica, and real Sentinels that watch over them."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from ingest.dev import embedded_redis
from ingest.redis_client import connect
from tests.support.running import Process, free_port, until
from tests.support.valkey import Valkey, valkey

#: The primary's name.
NAME = "mymaster"
#: Milliseconds after which a Sentinel takes a server for dead; and those that a fail-over may take.
DOWN_AFTER, FAILOVER_TIMEOUT = 500, 5000


class Sentinel:
    """One Sentinel on a port of this machine."""

    def __init__(self, folder: Path, port: int, primary: Valkey, quorum: int, *lines: str) -> None:
        self.port = port
        configuration = folder / f"sentinel-{port}.conf"
        configuration.write_text(
            "\n".join(
                [
                    f"port {port}",
                    "bind 127.0.0.1",
                    f"sentinel monitor {NAME} 127.0.0.1 {primary.port} {quorum}",
                    f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER}",
                    f"sentinel failover-timeout {NAME} {FAILOVER_TIMEOUT}",
                    *lines,
                ]
            )
            + "\n"
        )
        argv = [str(embedded_redis.binary()), str(configuration), "--sentinel"]
        self.process = Process(argv, {}, folder / f"sentinel-{port}.log")

    def knows(self, sentinels: int, replicas: int) -> bool:
        """Whether it has found the others."""
        with redis.Redis(port=self.port) as client:
            try:
                state = client.sentinel_master(NAME, return_responses=True)
            except redis.RedisError:
                return False
        return bool(state["num-other-sentinels"] == sentinels and state["num-slaves"] == replicas)


@dataclass
class Watched:
    """Servers and those who watch over them."""

    servers: list[Valkey]
    sentinels: list[Sentinel] = field(default_factory=list)

    def url(self, scheme: str = "redis", userinfo: str = "", options: str = "") -> str:
        """What `REDIS_URL` says."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"{scheme}+sentinel://{userinfo}{hosts}/{NAME}/0{options}"

    @property
    def primary(self) -> Valkey:
        """The server that the Sentinels name."""
        with redis.Redis(port=self.sentinels[-1].port, decode_responses=True) as client:
            port = int(client.sentinel_get_master_addr_by_name(NAME)[1])
        return next(server for server in self.servers if server.port == port)


def follow(replica: Valkey, primary: Valkey) -> None:
    """Make one server the replica of another, and wait until it has everything."""
    with connect(replica.url) as client:
        client.replicaof("127.0.0.1", str(primary.port))
        until(lambda: client.info("replication").get("master_link_status") == "up", "a replica")


@contextmanager
def watched(sentinels: int = 3) -> Iterator[Watched]:
    """A primary, a replica and so many Sentinels, for as long as the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="ingest-"))
    try:
        with ExitStack() as stack:
            servers = [stack.enter_context(valkey(free_port(), "--repl-diskless-sync-delay", "0")) for _ in "12"]
            follow(servers[1], servers[0])
            found = Watched(servers)
            for _ in range(sentinels):
                one = Sentinel(folder, free_port(), servers[0], sentinels // 2 + 1)
                found.sentinels.append(one)
                stack.callback(one.process.stop)
            for one in found.sentinels:
                until(lambda one=one: one.knows(sentinels - 1, 1), "the Sentinels")  # type: ignore[misc]
            yield found
    finally:
        shutil.rmtree(folder)
