"""Endpoints tell of dead workers and workers of dead endpoints, each by a process of its own."""

from pathlib import Path

import orjson
import redis

from ingest.jobs import JobScheduler
from ingest.stream.keys import Keys
from tests.support.http import Script, listening
from tests.support.running import free_port, ingest, running, until

#: Seconds until two looks are over, on a busy machine: whose turn it is, is asked every ten.
PATIENCE = 100.0


def told(receiver: Script, client: redis.Redis) -> set[tuple[str, str]]:
    """What came in; it is everybody's turn again, before a minute is over, and workers have something to do."""
    client.delete(Keys().lookout, Keys().looked)
    JobScheduler(client).wake_drain()
    said = (orjson.loads(seen.body) for seen in receiver.seen)
    return {(news["state"], news["code"]) for news in said}


def test_each_tells_of_the_death_of_the_other(
    client: redis.Redis, redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    with listening() as receiver:
        environ = {
            "REDIS_URL": redis_url,
            "DATABASE_URL": sqlite_url,
            "PORT": str(free_port()),
            "INGEST_VERIFY": "off",
            "INGEST_SPOOL_DIR": str(tmp_path / "spool"),
            "INGEST_ALERT_URL": receiver.url + "?token=geheim-teken",
        }
        with running(ingest("serve"), environ, tmp_path / "web.log") as web:
            until(lambda: ("begun", "no-worker") in told(receiver, client), "the endpoint's alert", PATIENCE)
            assert ("begun", "no-endpoint") not in told(receiver, client)
        with running(ingest("worker"), environ, tmp_path / "worker.log") as worker:
            until(lambda: ("over", "no-worker") in told(receiver, client), "that a worker is there", PATIENCE)
            until(lambda: ("begun", "no-endpoint") in told(receiver, client), "the worker's alert", PATIENCE)
    assert "geheim" not in web.output + worker.output
    assert "Traceback" not in web.output + worker.output
