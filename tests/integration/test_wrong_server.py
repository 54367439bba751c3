"""A connection to a server that says it is the wrong one is left: the next command goes where its name leads."""

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer

from ingest.batch import Batch
from ingest.errors import RedisUnavailable, Unavailable
from ingest.redis_client import connect, connect_async, require
from ingest.redis_errors import is_wrong_server
from ingest.stream.appends import Stream
from ingest.stream.consumer import Consumer
from tests.support.cli import findings
from tests.support.redis_proxy import RedisProxy, redis_proxy

OLD_PRIMARY = b"-READONLY You can't write against a read only replica.\r\n"
WRONG = [
    OLD_PRIMARY,
    b"-ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't write\r\n",
    b"-READONLY You can't write against a read only replica. script: f_1, on @user_script:1.\r\n",
    b"-EXECABORT Transaction discarded because of: READONLY You can't write against a read only replica.\r\n",
    b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
    b"-CLUSTERDOWN The cluster is down\r\n",
    b"-MOVED 3999 127.0.0.1:6381\r\n",
    b"-NOREPLICAS Not enough good replicas to write.\r\n",
    b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n",
    b"-LOADING Redis is loading the dataset in memory\r\n",
    b"-NOAUTH Authentication required.\r\n",
    b"-WRONGPASS invalid username-password pair or user is disabled.\r\n",
]
RIGHT = [
    b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    b"-MISCONF Errors writing to the AOF file: No space left on device\r\n",
    b"-BUSY Redis is busy running a script.\r\n",
    b"-NOPERM User default has no permissions to access one of the keys\r\n",
    b"-ERR unknown command\r\n",
]


@pytest.fixture
def proxy(redis_url: str) -> Iterator[RedisProxy]:
    with redis_proxy(redis_url.removeprefix("unix://")) as proxy:
        yield proxy


@pytest.mark.parametrize("answer", WRONG)
def test_the_next_command_goes_where_the_name_leads(proxy: RedisProxy, answer: bytes) -> None:
    with connect(proxy.url) as client:
        client.set("a", 1)
        proxy.fail_over(answer)
        with pytest.raises(redis.RedisError) as refusal:
            client.set("a", 2)
        assert is_wrong_server(refusal.value)
        assert client.set("a", 3)
        proxy.fail_over(answer)
        with pytest.raises(redis.RedisError), client.pipeline(transaction=True) as transaction:
            transaction.set("a", 4).set("b", 4).execute()
        with client.pipeline(transaction=True) as transaction:
            assert transaction.set("a", 5).set("b", 5).execute() == [True, True]


@pytest.mark.parametrize("answer", RIGHT)
def test_the_right_server_is_kept_whatever_its_mood(proxy: RedisProxy, answer: bytes) -> None:
    with connect(proxy.url) as client:
        client.set("a", 1)
        proxy.fail_over(answer)
        for _ in range(2):
            with pytest.raises(redis.ResponseError) as refusal:
                client.set("a", 2)
            assert not is_wrong_server(refusal.value)


@pytest.mark.parametrize("answer", WRONG[:3])
async def test_a_batch_is_written_to_the_right_server_at_once(
    proxy: RedisProxy, client: redis.Redis, answer: bytes
) -> None:
    async with connect_async(proxy.url) as endpoint:
        stream = Stream(endpoint)
        await stream.append([Batch(b"1", 1)], 5)
        proxy.fail_over(answer)
        await stream.append([Batch(b"2", 1)], 5)
        await stream.close()
    assert Consumer(client).batches() == 2


@pytest.mark.parametrize("use", [Queue.get_job_ids, lambda queue: queue.enqueue("workers.jobs.drain")])
def test_rq_uses_the_right_server(proxy: RedisProxy, use: Callable[[Queue], object]) -> None:
    with connect(proxy.url) as client:
        queue = Queue("events", connection=client, serializer=JSONSerializer)
        use(queue)
        proxy.fail_over(OLD_PRIMARY)
        with pytest.raises(redis.ResponseError):
            use(queue)
        use(queue)


def test_so_does_its_scheduler_which_has_a_pool_of_its_own(proxy: RedisProxy) -> None:
    with connect(proxy.url) as client:
        scheduler = RQScheduler(["handlers"], connection=client)
        with scheduler.connection as own:
            own.set("a", 1)
            proxy.fail_over(OLD_PRIMARY)
            with pytest.raises(redis.ResponseError):
                own.set("a", 2)
            own.set("a", 3)


@pytest.mark.parametrize(
    "answer", [b"-MOVED\r\n", b"-ASK 1 2 3\r\n", b"HTTP/1.1 200 OK\r\n", b"$x\r\n", b"\0\r\n"]
)
async def test_what_no_server_says_is_an_error_of_redis(proxy: RedisProxy, answer: bytes) -> None:
    with connect(proxy.url) as client:
        proxy.fail_over(answer)
        client.ping()
        proxy.fail_over(answer)
        with pytest.raises(redis.RedisError):
            client.ping()
        assert client.ping()
    async with connect_async(proxy.url) as endpoint:
        await endpoint.ping()
        proxy.fail_over(answer)
        with pytest.raises(redis.RedisError):
            await endpoint.ping()
        assert await endpoint.ping()


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (b"-MASTERDOWN Link with MASTER is down\r\n", RedisUnavailable, "does not serve us (MASTERDOWN Link"),
        (b"-LOADING Redis is loading\r\n", RedisUnavailable, "does not answer (LOADING Redis"),
        (b"-BUSY Redis is busy\r\n", RedisUnavailable, "does not serve us (BUSY Redis"),
        (b"-NOAUTH Authentication required.\r\n", Unavailable, "refuses our credentials (NOAUTH"),
        (b"-NOPERM no permissions to run\r\n", Unavailable, "does not allow us what we need (NOPERM"),
        (b"-DENIED Redis is running in protected mode\r\n", Unavailable, "does not serve us (DENIED"),
    ],
)
def test_a_start_says_what_is_wrong_and_whether_it_may_pass(
    proxy: RedisProxy, answer: bytes, kind: type[Unavailable], said: str
) -> None:
    proxy.mood = lambda _: answer
    with connect(proxy.url) as client, pytest.raises(Unavailable) as refusal:
        require(client, proxy.url)
    assert type(refusal.value) is kind
    assert said in str(refusal.value)


async def test_the_name_is_looked_up_again(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, client: redis.Redis
) -> None:
    look_up = socket.getaddrinfo
    with (
        redis_proxy(redis_url.removeprefix("unix://")) as old,
        redis_proxy(redis_url.removeprefix("unix://")) as new,
    ):
        leads_to = [old.port]

        def looked_up(host: str, port: int, *more: Any, **options: Any) -> Any:
            return look_up("127.0.0.1" if host == "redis.test" else host, leads_to[-1], *more, **options)

        monkeypatch.setattr(socket, "getaddrinfo", looked_up)
        async with connect_async("redis://redis.test:6379/0") as endpoint:
            with connect("redis://redis.test:6379/0") as worker:
                await endpoint.set("a", 1)
                worker.set("a", 1)
                old.mood = lambda _: OLD_PRIMARY
                leads_to.append(new.port)
                for _ in range(2):
                    with suppress(redis.ResponseError):
                        await endpoint.set("a", 2)
                    with suppress(redis.ResponseError):
                        worker.set("b", 2)
    assert (client.get("a"), client.get("b")) == (b"2", b"2")


@pytest.mark.parametrize(
    ("refused", "answer"),
    [
        (b"EVAL", OLD_PRIMARY),
        (b"XREADGROUP", b"-NOPERM User default has no permissions to run the 'xreadgroup' command\r\n"),
        (b"BLMOVE", b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"),
        (b"SUBSCRIBE", b"-NOPERM No permissions to access a channel\r\n"),
    ],
)
def test_check_does_what_the_program_does(
    proxy: RedisProxy, client: redis.Redis, tmp_path: Path, refused: bytes, answer: bytes
) -> None:
    environ = {"REDIS_URL": proxy.url, "INGEST_VERIFY": "off", "INGEST_DATA_DIR": str(tmp_path)}
    assert findings(environ)[1]["commands"] == ("ok", "Redis takes what calls and jobs need")
    proxy.mood = lambda command: answer if command == refused else None
    code, found = findings(environ)
    assert code == 1
    level, text = found["commands"]
    assert level == "wrong"
    assert answer.decode().strip().removeprefix("-") in text
    assert client.keys("*trial*") == []
