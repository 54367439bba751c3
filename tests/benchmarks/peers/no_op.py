"""Libraries of job queues, each with a job that only counts: what a job costs around the function.

    python -m tests.benchmarks.peers.no_op fill LIBRARY SOCKET JOBS     enqueue
    python -m tests.benchmarks.peers.no_op work LIBRARY SOCKET JOBS     work them off, and say how long it took

Each runs under the interpreter of its own environment, where only the standard library and that one library are.
One worker process; of several ways to work in one, the fastest: no fork, no results kept, as many jobs at once as
it likes. The clock runs from the first job to the last, so starting and connecting are not on it.
"""

import asyncio
import json
import os
import sys
import time
from typing import Any

#: What the jobs get: about as long as an open is.
BODY = "type=open&id=5fd2c1aa90bb&recipient=jan%40example.nl&ip=192.0.2.7&time=1795165200&" + "x" * 230
#: Jobs at once, of those that can.
AT_ONCE = 100


class Counted:
    """Jobs that were called in this process, of how many, and when the first one was."""

    calls = wanted = 0
    began = cpu = 0.0


def count() -> None:
    """Called by every job; the last one says what it took, and ends the process."""
    if not Counted.calls:
        Counted.began, Counted.cpu = time.perf_counter(), time.process_time()
    Counted.calls += 1
    if Counted.calls == Counted.wanted:
        seconds, cpu = time.perf_counter() - Counted.began, time.process_time() - Counted.cpu
        # On a line of its own: Celery prints a banner.
        os.write(1, f"\n{json.dumps({'jobs': Counted.calls, 'seconds': seconds, 'cpu': cpu})}\n".encode())
        os._exit(0)


def job(_body: str) -> None:
    """The job, for those that name it by its module."""
    # By its module's name: under `python -m`, this one is `__main__`.
    sys.modules["__main__"].count()


async def a_job(_context: Any, _body: str = "", **_more: Any) -> None:
    """The job, for those that await it."""
    count()


# --- each library: how jobs are enqueued, and how they are worked off ---


def rq(path: str, jobs: int) -> None:
    import redis
    from rq import Queue, SimpleWorker
    from rq.serializers import JSONSerializer

    queue = Queue("peers", connection=redis.Redis(unix_socket_path=path), serializer=JSONSerializer)
    if jobs:
        for _ in range(jobs):
            queue.enqueue("tests.benchmarks.peers.no_op.job", BODY, result_ttl=0)
        return
    SimpleWorker([queue], connection=queue.connection, serializer=JSONSerializer).work(
        burst=True, logging_level="WARNING"
    )


def celery(path: str, jobs: int) -> None:
    import celery as library

    app = library.Celery("peers", broker=f"redis+socket://{path}")
    app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=AT_ONCE, worker_hijack_root_logger=False)

    @app.task(name="count")
    def counted(_body: str) -> None:
        count()

    if jobs:
        for _ in range(jobs):
            counted.delay(BODY)
        return
    quiet = ["--loglevel=ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    app.worker_main(["worker", "--pool=solo", *quiet])


def dramatiq(path: str, jobs: int) -> None:
    import dramatiq as library
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=f"unix://{path}")
    library.set_broker(broker)

    @library.actor(broker=broker)
    def counted(_body: str) -> None:
        count()

    if jobs:
        for _ in range(jobs):
            counted.send(BODY)
        return
    library.Worker(broker, worker_threads=8).start()
    time.sleep(3600)


async def saq(path: str, jobs: int) -> None:
    import redis.asyncio
    from saq import Worker
    from saq.queue.redis import RedisQueue

    queue = RedisQueue(redis.asyncio.Redis(unix_socket_path=path))
    if jobs:
        for _ in range(jobs):
            await queue.enqueue("a_job", _body=BODY, ttl=-1)
        return
    await Worker(queue, functions=[a_job], concurrency=AT_ONCE).start()


async def arq(path: str, jobs: int) -> None:
    from arq import create_pool
    from arq.connections import RedisSettings
    from arq.worker import Worker, func

    settings = RedisSettings(unix_socket_path=path)
    if jobs:
        pool = await create_pool(settings)
        for _ in range(jobs):
            await pool.enqueue_job("a_job", BODY)
        return
    worker = Worker(
        functions=[func(a_job, keep_result=0)],
        redis_settings=settings,
        max_jobs=AT_ONCE,
        poll_delay=0.005,
        handle_signals=False,
    )
    await worker.async_run()


async def taskiq(path: str, jobs: int) -> None:
    from taskiq.receiver import Receiver
    from taskiq_redis import ListQueueBroker

    broker = ListQueueBroker(url=f"unix://{path}")

    @broker.task(task_name="count")
    async def counted(_body: str) -> None:
        count()

    broker.is_worker_process = not jobs
    await broker.startup()
    if jobs:
        for _ in range(jobs):
            await counted.kiq(BODY)
        return
    await Receiver(broker, max_async_tasks=AT_ONCE).listen(asyncio.Event())


def huey(path: str, jobs: int) -> None:
    from huey import RedisHuey
    from redis import ConnectionPool, UnixDomainSocketConnection

    pool = ConnectionPool(connection_class=UnixDomainSocketConnection, path=path)
    queue = RedisHuey("peers", results=False, connection_pool=pool)

    @queue.task()
    def counted(_body: str) -> None:
        count()

    if jobs:
        for _ in range(jobs):
            counted(BODY)
        return
    queue.create_consumer(workers=1, worker_type="thread", periodic=False, initial_delay=0.001).run()


LIBRARIES = {
    "RQ": rq,
    "Celery": celery,
    "dramatiq": dramatiq,
    "saq": saq,
    "arq": arq,
    "taskiq": taskiq,
    "huey": huey,
}


def main(what: str, library: str, path: str, jobs: int) -> None:
    Counted.wanted = jobs
    done = LIBRARIES[library](path, jobs if what == "fill" else 0)
    if done is not None:
        asyncio.run(done)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
