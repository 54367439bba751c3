"""Redis refuses everything, in each way that it can: nobody ends, everybody goes on, every call is stored once."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle

import pytest

from ingest.redis_client import connect
from ingest.stream.consumer import Consumer
from ingest.stream.keys import Keys
from tests.support.redis_proxy import RedisProxy, redis_proxy
from tests.support.running import Process, all_running, answers, until
from tests.support.site import Site
from tests.support.valkey import Valkey, valkey

HANDLERS = """
from workers import on


@on()
def seen(event):
    print("handled", event.payload["number"], flush=True)
"""
#: What servers say, as it goes over the wire; the last are no answers at all.
MOODS = {
    "READONLY": b"-READONLY You can't write against a read only replica.\r\n",
    "READONLY in a script": b"-ERR Error running script (call to f_1): @user_script:1: -READONLY You can't\r\n",
    "MASTERDOWN": b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
    "LOADING": b"-LOADING Redis is loading the dataset in memory\r\n",
    "MISCONF": b"-MISCONF Errors writing to the AOF file: No space left on device\r\n",
    "CLUSTERDOWN": b"-CLUSTERDOWN Hash slot not served\r\n",
    "MOVED": b"-MOVED 3999 127.0.0.1:6381\r\n",
    "TRYAGAIN": b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
    "NOAUTH": b"-NOAUTH Authentication required.\r\n",
    "WRONGPASS": b"-WRONGPASS invalid username-password pair or user is disabled.\r\n",
    "NOPERM": b"-NOPERM User default has no permissions to run the command\r\n",
    "BUSY": b"-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n",
    "OOM": b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "NOREPLICAS": b"-NOREPLICAS Not enough good replicas to write.\r\n",
    "NOSCRIPT": b"-NOSCRIPT No matching script.\r\n",
    "UNBLOCKED": b"-UNBLOCKED force unblock from blocking operation, instance state changed\r\n",
    "max clients": b"-ERR max number of clients reached\r\n",
    "a nonsensical MOVED": b"-MOVED\r\n",
    "something unknown": b"-WHATEVER it may be\r\n",
    "an HTTP answer": b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
}
#: Those that go on long enough for everybody to meet them: one of each way in which the program takes them.
LONG_MOODS = ("READONLY in a script", "MASTERDOWN", "NOAUTH", "OOM", "an HTTP answer")


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


class Everybody:
    """An installation with every process that speaks to Redis, through a proxy."""

    def __init__(self, site: Site, proxy: RedisProxy, processes: dict[str, Process]) -> None:
        self.site = site
        self.proxy = proxy
        self.processes = processes
        self.sent = 0

    def send(self, calls: int) -> None:
        assert self.site.send(calls).complete
        self.sent += calls

    def check(self) -> None:
        for name, process in self.processes.items():
            assert process.alive, f"{name} has ended"


@pytest.fixture(scope="module")
def everybody(server: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everybody]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "mine.py").write_text(HANDLERS)
    with redis_proxy(f"{server.folder}/valkey.sock") as proxy, ExitStack() as stack:
        site = Site(server, folder)
        environ = {**site.environ, "REDIS_URL": proxy.url, "INGEST_HANDLERS": "mine", "PYTHONPATH": str(folder)}
        commands = {
            "endpoint": ("serve",),
            "worker": ("worker",),
            "handlers": ("worker", "--queue", "handlers"),
            "follower": ("events", "--follow", "--format", "jsonl"),
        }
        processes = stack.enter_context(all_running(commands, environ, folder))
        until(lambda: answers(site.port), "the endpoint")
        with connect(server.url) as client:
            until(lambda: client.scard("rq:workers") == 2, "the workers")
            until(lambda: client.pubsub_numsub(Keys().stored)[0][1], "the follower")
        yield Everybody(site, proxy, processes)
        for name, process in processes.items():
            process.send(signal.SIGINT if name == "follower" else signal.SIGTERM)
        assert {name: process.wait() for name, process in processes.items()} == dict.fromkeys(processes, 0)


@pytest.mark.parametrize("mood", [*LONG_MOODS, "all of them in turn"])
def test_everybody_outlasts_it(everybody: Everybody, mood: str) -> None:
    proxy = everybody.proxy
    proxy.refused.clear()
    turn = cycle([MOODS[mood]] if mood in MOODS else MOODS.values())
    proxy.mood = lambda _: next(turn)
    proxy.cut()  # whoever waits for an answer asks again
    everybody.send(10)
    least = 8 if mood in MOODS else len(MOODS)
    until(lambda: proxy.refused.total() >= least, "a few attempts")
    everybody.check()
    proxy.mood = lambda _: None
    everybody.send(10)
    everybody.site.wait_for(everybody.sent)
    follower, handlers = everybody.processes["follower"], everybody.processes["handlers"]
    until(lambda: handlers.output.count("handled") == everybody.sent, "the handler's calls")
    until(lambda: follower.output.count('"delivery_id"') == everybody.sent, "the follower's events")
    with connect(everybody.site.server.url) as client:
        until(lambda: not Consumer(client).batches(), "an empty stream")
    everybody.check()


def test_it_was_said_once_each_time_and_in_one_line(everybody: Everybody) -> None:
    for name, process in everybody.processes.items():
        assert "Traceback" not in process.output, name
        waits = [line for line in process.output.splitlines() if "waits for Redis" in line]
        assert len(waits) == len(set(waits)), name
