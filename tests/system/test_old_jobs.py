"""Jobs that the version before left on its queues, and the worker of this one."""

import redis

from tests.support.old_jobs import QUEUES, old_jobs, unfinished
from tests.support.running import run


def test_our_worker_works_old_jobs_off(client: redis.Redis, redis_url: str, sqlite_url: str) -> None:
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "INGEST_VERIFY": "off"}
    for job in old_jobs():
        job.restore(client)
    for queue in QUEUES:
        done = run("worker", "--burst", "--queue", queue, environ=environ)
        assert done.returncode == 0, done.stderr
    assert unfinished(client) == {"events": [], "handlers": []}
