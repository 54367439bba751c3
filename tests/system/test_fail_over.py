"""Redis fails over: the old primary keeps its connections and goes on as a read-only replica of the new one."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import orjson
import pytest
import redis

from ingest.redis_client import connect
from ingest.stream.consumer import Consumer
from tests.support.redis_proxy import redis_proxy
from tests.support.running import answers, exchange, free_port, ingest, running, until
from tests.support.site import Site
from tests.support.valkey import Valkey, valkey

READY = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
#: Calls sent before, during and after.
SOME = 40


@pytest.fixture
def pair() -> Iterator[tuple[Valkey, Valkey]]:
    """A primary and its replica."""
    with valkey(free_port()) as primary, valkey(free_port()) as replica:
        follow(replica, primary)
        yield primary, replica


def follow(replica: Valkey, primary: Valkey) -> None:
    with connect(replica.url) as client:
        client.replicaof("127.0.0.1", str(primary.port))
        until(lambda: client.info("replication").get("master_link_status") == "up", "a replica")


@pytest.mark.parametrize("spool", ["with a spool", "without"])
def test_everybody_moves_to_the_new_primary(pair: tuple[Valkey, Valkey], tmp_path: Path, spool: str) -> None:
    old, new = pair
    with redis_proxy(old.port) as name, ExitStack() as stack:
        site = Site(old, tmp_path)
        site.environ |= {"REDIS_URL": name.url} | ({"INGEST_SPOOL_DIR": "off"} if spool == "without" else {})
        web = stack.enter_context(running(ingest("serve"), site.environ, tmp_path / "web.log"))
        worker = stack.enter_context(running(ingest("worker"), site.environ, tmp_path / "worker.log"))
        until(lambda: answers(site.port), "the endpoint")
        with connect(new.url) as client, connect(old.url) as former:
            until(lambda: client.scard("rq:workers"), "the worker, as the replica sees it")
            assert site.send(SOME).complete
            site.wait_for(SOME)
            until(lambda: not Consumer(client).batches(), "a replica that has everything")
            client.replicaof("NO", "ONE")
            name.upstream = new.port
            former.replicaof("127.0.0.1", str(new.port))
            assert site.send(SOME).complete
            site.wait_for(2 * SOME)
            until(lambda: not Consumer(client).batches(), "an empty stream")
            state = orjson.loads(exchange(site.port, READY).partition(b"\r\n\r\n")[2])
            assert (state["redis"], state["breaker"]) == ("serves", "closed")
            assert client.scard("rq:workers") == 1
            until(lambda: not clients(former), "an old primary that is left alone")
        assert (web.stop(), worker.stop()) == (0, 0)
        assert "Traceback" not in web.output + worker.output
        # Everything was taken by the new primary at once: nothing had to wait.
        assert "calls go to the spool" not in web.output


def clients(server: redis.Redis) -> list[str]:
    """Those of ours that are connected to a server, other than the one that asks, and that can be used."""
    return [
        one["id"]
        for one in server.client_list(_type="normal")
        if one["cmd"] not in ("client|list", "replconf", "psync")
    ]
