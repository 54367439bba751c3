"""Several stream servers: one is killed, frozen or drained, and every call is stored once all the same."""

import http.client
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis

from ingest.jobs import HANDLERS_QUEUE
from ingest.stream.consumer import Consumer
from tests.support.redis_proxy import RedisProxy, redis_proxy
from tests.support.running import PATIENCE, all_running, answers, free_port, until
from tests.support.valkey import Valkey, valkey
from workers.store.schema import upgrade
from workers.store.store import Store


class Load:
    """Calls over some connections, one after the other on each, until it is stopped."""

    def __init__(self, port: int, connections: int = 4, pause: float = 0.01) -> None:
        self.statuses: list[int] = []
        self.slowest = 0.0
        self._port, self._pause = port, pause
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(connections)]

    def _send(self, sender: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        number = 0
        while not self._over.wait(self._pause):
            number += 1
            began = time.monotonic()
            connection.request("POST", "/copernica", f"type=open&id={sender}-{number}")
            answer = connection.getresponse()
            answer.read()
            self.statuses.append(answer.status)
            self.slowest = max(self.slowest, time.monotonic() - began)
        connection.close()

    def more(self, calls: int) -> None:
        """Wait until so many more were answered."""
        wanted = len(self.statuses) + calls
        until(lambda: len(self.statuses) >= wanted, f"{calls} more calls")

    @contextmanager
    def running(self) -> Iterator["Load"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def servers() -> Iterator[list[Valkey]]:
    with ExitStack() as stack:
        yield [stack.enter_context(valkey()) for _ in range(3)]


@pytest.fixture
def environ(tmp_path: Path, servers: list[Valkey]) -> dict[str, str]:
    url = f"sqlite:///{tmp_path}/events.db"
    upgrade(url)
    return {
        "DATABASE_URL": url,
        "PORT": str(free_port()),
        "INGEST_VERIFY": "off",
        "INGEST_SPOOL_DIR": str(tmp_path / "spool"),
        "REDIS_URL": servers[0].url,
        "INGEST_STREAM_URLS": ",".join(server.url for server in servers),
    }


def stored(environ: dict[str, str]) -> int:
    with Store.open(environ["DATABASE_URL"]) as store:
        return store.stored()


def batches(server: Valkey) -> int:
    with server.client() as client:
        return Consumer(client).batches()


@contextmanager
def site(environ: dict[str, str], folder: Path) -> Iterator[None]:
    commands = {"web": ("serve",), "worker": ("worker", "--queue", "events")}
    with all_running(commands, environ, folder) as processes:
        until(lambda: answers(int(environ["PORT"])), "the endpoint", 3 * PATIENCE)
        yield
        assert "spool" not in processes["web"].output.replace("in the spool", ""), processes["web"].output
        assert "Traceback" not in processes["web"].output + processes["worker"].output


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("which", [0, 2], ids=["with-the-queues", "another"])
def test_one_goes_and_comes_back_and_every_call_is_kept_and_stored_once(
    environ: dict[str, str], servers: list[Valkey], tmp_path: Path, how: signal.Signals, which: int
) -> None:
    gone = servers[which]
    with site(environ, tmp_path), Load(int(environ["PORT"])).running() as load:
        load.more(300)
        if how is signal.SIGKILL:
            gone.kill()
        else:
            gone.send(how)
        before = stored(environ)
        load.more(300)
        until(lambda: stored(environ) >= before + 200, "that what comes in is stored meanwhile", 3 * PATIENCE)
        if how is signal.SIGKILL:
            gone.start()
        else:
            gone.send(signal.SIGCONT)
        load.more(300)
        load.stop()
        until(lambda: stored(environ) == len(load.statuses), "everything in the store", 3 * PATIENCE)
        # What it had stored, and could not acknowledge, is taken over later.
        until(lambda: not any(batches(server) for server in servers), "the end of the backlogs", 3 * PATIENCE)
    assert set(load.statuses) == {200}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_who_starts_while_the_server_of_the_queues_is_away_keeps_and_stores_calls_and_has_jobs_when_it_is_back(
    environ: dict[str, str], servers: list[Valkey], tmp_path: Path, how: signal.Signals
) -> None:
    queues = servers[0]
    if how is signal.SIGKILL:
        queues.kill()
    else:
        queues.send(how)
    with site(environ, tmp_path), Load(int(environ["PORT"]), connections=2).running() as load:
        load.more(50)
        until(lambda: stored(environ) >= 50, "that what comes in is stored meanwhile", 3 * PATIENCE)
        if how is signal.SIGKILL:
            queues.start()
        else:
            queues.send(signal.SIGCONT)
        with queues.client() as client:
            until(lambda: idle_workers(client) == 1, "that the worker waits for jobs", 3 * PATIENCE)
        load.more(50)
        load.stop()
        until(lambda: stored(environ) == len(load.statuses), "everything in the store", 3 * PATIENCE)
    assert set(load.statuses) == {200}


@pytest.fixture
def link(servers: list[Valkey]) -> Iterator[RedisProxy]:
    """What lies between everybody and the server of the queues."""
    with redis_proxy(f"{servers[0].folder}/valkey.sock") as proxy:
        yield proxy


def test_a_worker_that_waits_for_jobs_drains_the_others_while_the_network_swallows_all_for_the_queues(
    environ: dict[str, str], servers: list[Valkey], link: RedisProxy, tmp_path: Path
) -> None:
    environ |= {"REDIS_URL": link.url, "INGEST_STREAM_URLS": f"{link.url},{servers[1].url}"}
    environ |= {"INGEST_HANDLERS": "noted", "PYTHONPATH": str(tmp_path)}
    (tmp_path / "noted.py").write_text("from workers import on\n\n@on('open')\ndef note(event): pass\n")
    with site(environ, tmp_path), servers[0].client() as client:
        until(lambda: idle_workers(client) == 1, "a worker that waits", 3 * PATIENCE)
        swallow = threading.Event()
        link.mood = lambda _command: None if swallow.wait() else b""
        with Load(int(environ["PORT"]), connections=2).running() as load:
            load.more(50)
            until(lambda: stored(environ) >= 50, "that the other server's calls are stored", 3 * PATIENCE)
        client.delete(f"rq:queue:{HANDLERS_QUEUE}")
        swallow.set()
        until(lambda: client.llen(f"rq:queue:{HANDLERS_QUEUE}") > 0, "that handlers are told", 3 * PATIENCE)
        until(lambda: stored(environ) == len(load.statuses), "everything in the store", 3 * PATIENCE)
        until(lambda: idle_workers(client) == 1, "that the worker waits for jobs again", 3 * PATIENCE)
    assert set(load.statuses) == {200}


def idle_workers(client: redis.Redis) -> int:
    return sum(client.hget(key, "state") == b"idle" for key in client.smembers("rq:workers"))
