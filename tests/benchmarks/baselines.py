"""What ours is measured against: the least that any endpoint does, and what one would write at first.

bare PORT          aiohttp that answers 200 and looks at nothing: the ceiling of an endpoint on aiohttp
jobs PORT REDIS    aiohttp that enqueues one RQ job per call, and answers 200 when RQ has it
worker REDIS FILE  RQ's SimpleWorker (the fast one: it does not fork) on such jobs, each one row in SQLite
counter REDIS      the same worker on jobs that only count: what RQ itself costs for calling a function
"""

import asyncio
import importlib
import json
import os
import sqlite3
import sys
import time
from functools import cache
from urllib.parse import parse_qs

import redis
import uvloop
from aiohttp import web
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

from tests.benchmarks.plan import PATH

QUEUE = "baseline"
#: Connections that may wait to be accepted: with aiohttp's own 128, a crowd would wait for its own repetitions.
BACKLOG = 4096
#: The job by name, as ours has it too: the endpoint need not import what workers do.
JOB = "tests.benchmarks.baselines.store_open"
#: The job that only counts, in which module and by name.
MODULE = "tests.benchmarks.baselines"
COUNT_JOB = f"{MODULE}.count"
#: The environment variable that tells the job where its database is.
DATABASE = "BASELINE_DATABASE"


def queue(url: str) -> Queue:
    return Queue(QUEUE, connection=redis.Redis.from_url(url), serializer=JSONSerializer)


def bare() -> web.Application:
    async def take(_request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_post(PATH, take)
    return app


def job_per_call(url: str) -> web.Application:
    jobs = queue(url)

    async def take(request: web.Request) -> web.Response:
        body = await request.text()
        await asyncio.to_thread(jobs.enqueue, JOB, body)
        return web.Response()

    app = web.Application()
    app.router.add_post(PATH, take)
    return app


def serve(app: web.Application, port: int) -> None:
    loop = uvloop.new_event_loop()
    web.run_app(app, host="127.0.0.1", port=port, backlog=BACKLOG, access_log=None, print=None, loop=loop)


@cache
def database() -> sqlite3.Connection:
    """Opened once per worker, and as safe as ours: on disk when the commit returns."""
    connection = sqlite3.connect(os.environ[DATABASE])
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS events "
        "(message_id TEXT, type TEXT, time INTEGER, recipient TEXT, ip TEXT, useragent TEXT, payload TEXT)"
    )
    return connection


def store_open(body: str) -> None:
    """The RQ job."""
    fields = parse_qs(body, keep_blank_values=True)
    names = ("id", "type", "time", "recipient", "ip", "useragent")
    row = [fields[name][0] for name in names]
    database().execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, json.dumps(fields)))
    database().commit()


class Counted:
    """Calls of the job that only counts, in this process."""

    calls = 0


def count(_body: str) -> None:
    """The RQ job that does nothing else."""
    Counted.calls += 1


def work(url: str, file: str) -> None:
    os.environ[DATABASE] = file
    database()
    seconds, cpu = _work_off(url)
    stored = database().execute("SELECT count(*) FROM events").fetchone()[0]
    print(json.dumps({"events": stored, "seconds": seconds, "cpu": cpu}))


def work_counting(url: str) -> None:
    seconds, cpu = _work_off(url)
    counted = importlib.import_module(MODULE).Counted  # of the module that RQ imported: this one is `__main__`
    print(json.dumps({"events": counted.calls, "seconds": seconds, "cpu": cpu}))


def _work_off(url: str) -> tuple[float, float]:
    """Work until no job is left; returns seconds, and seconds of processor time."""
    jobs = queue(url)
    worker = SimpleWorker([jobs], connection=jobs.connection, serializer=JSONSerializer)
    began, before = time.perf_counter(), time.process_time()
    worker.work(burst=True, logging_level="WARNING")
    return time.perf_counter() - began, time.process_time() - before


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["bare", port]:
            serve(bare(), int(port))
        case ["jobs", port, url]:
            serve(job_per_call(url), int(port))
        case ["worker", url, file]:
            work(url, file)
        case ["counter", url]:
            work_counting(url)
