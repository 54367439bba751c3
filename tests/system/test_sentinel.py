"""Redis with Sentinels: everybody asks them for the primary, and a fail-over costs no call."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from ingest.redis_client import connect
from ingest.stream.consumer import Consumer
from ingest.stream.keys import Keys
from tests.support.running import Process, all_running, answers, run, until
from tests.support.sentinel import NAME, Watched, watched
from tests.support.site import Site

HANDLERS = """
from workers import on


@on()
def seen(event):
    print("handled", event.payload["number"], flush=True)
"""
#: Calls per second while the primary goes, and how many there are.
RATE, CALLS = 1000, 8000


@pytest.fixture
def redis_servers() -> Iterator[Watched]:
    with watched() as found:
        yield found


class Everybody:
    """Every process that speaks to Redis."""

    def __init__(self, servers: Watched, folder: Path, stack: ExitStack) -> None:
        (folder / "mine.py").write_text(HANDLERS)
        self.site = Site(servers.servers[0], folder)
        self.site.environ |= {
            "REDIS_URL": servers.url(),
            "INGEST_HANDLERS": "mine",
            "PYTHONPATH": str(folder),
        }
        commands = {
            "endpoint": ("serve",),
            "worker": ("worker",),
            "handlers": ("worker", "--queue", "handlers"),
            "follower": ("events", "--follow", "--format", "jsonl"),
        }
        self.processes: dict[str, Process] = stack.enter_context(all_running(commands, self.site.environ, folder))
        until(lambda: answers(self.site.port), "the endpoint")
        with connect(servers.primary.url) as client:
            until(lambda: client.scard("rq:workers") == 2, "the workers")
            until(lambda: client.pubsub_numsub(Keys().stored)[0][1], "the follower")

    def check(self, calls: int) -> None:
        """Everything was stored once, and came to whoever wants it; nobody has ended."""
        self.site.wait_for(calls)
        handlers, follower = self.processes["handlers"], self.processes["follower"]
        until(lambda: handlers.output.count("handled") >= calls, "the handler's calls")
        until(lambda: follower.output.count('"delivery_id"') == calls, "the follower's events")
        with connect(self.site.environ["REDIS_URL"]) as client:
            until(lambda: not Consumer(client).batches(), "an empty stream")
        for name, process in self.processes.items():
            assert process.alive, f"{name} has ended"
            assert "Traceback" not in process.output, name


def test_a_primary_that_is_killed_under_load_costs_no_call(redis_servers: Watched, tmp_path: Path) -> None:
    with ExitStack() as stack:
        everybody = Everybody(redis_servers, tmp_path, stack)
        killing = threading.Timer(2.0, redis_servers.servers[0].kill)
        killing.start()
        report = everybody.site.send(CALLS, RATE)
        killing.join()
        assert report.complete, report
        until(lambda: redis_servers.primary is redis_servers.servers[1], "a fail-over")
        everybody.check(CALLS)


def test_one_that_is_replaced_is_left_by_everybody(redis_servers: Watched, tmp_path: Path) -> None:
    old, new = redis_servers.servers
    for server in (old, new):
        with connect(server.url) as client:
            # A primary that was replaced takes writes for some ten seconds, unless it wants them on a replica.
            client.config_set("min-replicas-to-write", 1)
    with ExitStack() as stack:
        everybody = Everybody(redis_servers, tmp_path, stack)
        assert everybody.site.send(100).complete
        everybody.check(100)
        redis_servers.sentinels[0].process.stop()  # the first in the URL: nobody waits for it
        with redis.Redis(port=redis_servers.sentinels[1].port) as client:
            client.execute_command("SENTINEL", "FAILOVER", NAME)
        until(lambda: redis_servers.primary is new, "a fail-over")
        assert everybody.site.send(100).complete
        everybody.check(200)
        with connect(old.url) as former:
            until(
                lambda: former.info("replication")["role"] == "slave", "an old primary that has become a replica"
            )
            assert former.info("replication")["connected_slaves"] == 0


def test_credentials_that_sentinels_refuse_keep_it_from_starting(redis_servers: Watched, tmp_path: Path) -> None:
    for sentinel in redis_servers.sentinels:
        with redis.Redis(port=sentinel.port) as client:
            client.execute_command("ACL SETUSER default on >geheim ~* &* +@all resetpass >geheim")
    site = Site(redis_servers.servers[0], tmp_path)
    refused = run("serve", environ=site.environ | {"REDIS_URL": redis_servers.url()})
    assert refused.returncode == 1
    assert "its own password is the option sentinel_password" in refused.stderr
    assert "Traceback" not in refused.stderr
    url = redis_servers.url(options="?sentinel_password=geheim")
    checked = run("check", "--json", environ=site.environ | {"REDIS_URL": url})
    assert '"Redis takes what calls and jobs need"' in checked.stdout


def test_a_name_that_no_sentinel_knows_keeps_it_from_starting(redis_servers: Watched, tmp_path: Path) -> None:
    site = Site(redis_servers.servers[0], tmp_path)
    url = redis_servers.url().replace(NAME, "other")
    refused = run("serve", environ=site.environ | {"REDIS_URL": url})
    assert refused.returncode == 1
    assert "no Sentinel knows a primary with the name other" in refused.stderr
