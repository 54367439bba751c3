"""Jobs that the version before left on its queues."""

from typing import Any

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

from tests.support.old_jobs import QUEUES, old_jobs, unfinished
from workers.store.schema import upgrade


@pytest.fixture
def environ(redis_url: str, tmp_path: Any) -> dict[str, str]:
    database = f"sqlite:///{tmp_path}/events.db"
    upgrade(database)
    return {"REDIS_URL": redis_url, "DATABASE_URL": database, "INGEST_VERIFY": "off"}


def test_a_plain_rq_worker_works_old_jobs_off_too(
    client: redis.Redis, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    for job in old_jobs():
        job.restore(client)
    queues = [Queue(name, connection=client, serializer=JSONSerializer) for name in QUEUES]
    worker = SimpleWorker(queues, connection=client, serializer=JSONSerializer)
    worker.work(burst=True, logging_level=None)
    assert unfinished(client) == {"events": [], "handlers": []}
