"""The console's page about the system: no secret on it, and what does not answer holds up nothing else."""

import asyncio
import os
import signal
import socket
import string
from pathlib import Path

import pytest
import redis
from aiohttp.test_utils import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rq import Queue
from rq.job import JobStatus
from rq.results import Result
from rq.serializers import JSONSerializer

from ingest.console import checking
from ingest.console.checking import Checked, Found
from ingest.console.reading import Reading
from ingest.errors import TookTooLong, Unavailable
from ingest.jobs import EVENTS_QUEUE, JobScheduler
from ingest.settings import Settings
from tests.support.console import console, csrf_of
from tests.support.totals import on_sqlite
from workers.operations import audit, database_facts, job_facts
from workers.store import sqlite
from workers.store.patience import within
from workers.store.store import Store

PARTS = ("redis", "database", "queues", "disks", "settings")
PAGES = ("/system", *(f"/system/{part}" for part in PARTS), "/days", "/gaps", "/day/2026-11-20", "/")

#: Where each setting that may hold a secret has it; the secret stands for `{}`.
PLACES = {
    "REDIS_URL": "redis://ingest:{}@127.0.0.1:1/0?client_name={}",
    "REDIS_TLS_URL": "rediss://:{}@127.0.0.1:1/0",
    "DATABASE_URL": "postgresql://ingest:{}@127.0.0.1:1/events?application_name=x&sslpassword={}",
    "INGEST_STREAM_URLS": "redis://u:{}@127.0.0.1:1/0,redis://:{}@127.0.0.1:2/0",
    "INGEST_FORWARD_URL": "https://u:{}@example.com/hook?token={}#types=open",
    "INGEST_FORWARD_SECRET": "whsec_{}",
    "INGEST_CLICKHOUSE_URL": "https://u:{}@127.0.0.1:1/default/events",
    "INGEST_KAFKA_URL": "kafka+ssl://u:{}@127.0.0.1:1/events",
    "INGEST_ALERT_URL": "https://example.com/services/{}",
    "INGEST_ALERT_SMTP": "smtp://u:{}@mail.example.com:587/?from=a@example.com&to=b@example.com",
    "SENTRY_DSN": "https://{}@example.com/5",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://u:{}@127.0.0.1:1",
    "INGEST_METRICS_TOKEN": "{}",
    "INGEST_CONSOLE_PASSWORD": "{}",
    "INGEST_CONSOLE_READ_PASSWORD": "{}",
    "INGEST_CONSOLE_SECRET": "{}",
    "INGEST_PSEUDONYM_KEY": "0123456789abcdef{}",
    "COPERNICA_TOKEN": "{}",
    "COPERNICA_API_URL": "http://127.0.0.1:1/v4",
    "COPERNICA_AUTH_URL": "http://127.0.0.1:1",
    "INGEST_SMTPETER_TOKEN": "{}",
    "INGEST_SMTPETER_URL": "http://127.0.0.1:1/v1",
}


async def text_of(client: TestClient, path: str, status: int = 200) -> str:  # type: ignore[type-arg]
    answer = await client.get(path)
    assert answer.status == status, path
    return await answer.text()


secrets = st.text(string.ascii_letters + string.digits, min_size=20, max_size=40)


@pytest.mark.slow
@given(secret=secrets)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_secret_of_any_setting_is_on_a_page(secret: str) -> None:
    environ = {name: place.replace("{}", secret) for name, place in PLACES.items()}
    assert {field.alias for field in Settings.model_fields.values() if not field.repr} == set(environ)
    # With these one has to sign in first; what is shown of them is shown like the others.
    signing_in = {name: value for name, value in environ.items() if name.startswith("INGEST_CONSOLE_")}
    async with console({name: value for name, value in environ.items() if name not in signing_in}) as client:
        for path in PAGES:
            answer = await client.get(path)
            assert answer.status in (200, 503)
            assert secret not in await answer.text(), path


@on_sqlite
async def test_each_part_says_what_does_not_answer(database: str) -> None:
    nothing = {"DATABASE_URL": "postgresql://ingest:x@127.0.0.1:1/events", "REDIS_URL": "redis://127.0.0.1:1/0"}
    async with console(nothing) as client:
        for part in ("redis", "database", "queues"):
            text = await text_of(client, f"/system/{part}")
            assert "Not available now" in text
            assert 'class="unavailable"' in text
        assert 'hx-get="/system/database"' in await text_of(client, "/system"), "parts come one by one"
        await text_of(client, "/system/nothing", 404)
        answer = await client.get("/system/check", headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status == 403, "no other site makes us work"
    async with console({**nothing, "DATABASE_URL": database}) as client:
        assert "Write-ahead log" in await text_of(client, "/system/database"), "the other part is shown"


async def test_the_database_says_how_large_it_is(database: str, store: Store) -> None:
    facts = database_facts.look(store)
    assert (facts.size or 0) > 0
    async with console({"DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1/0"}) as client:
        text = await text_of(client, "/system/database?measure=1")
    assert "event_counts" in text, "a table is named"
    if facts.kind == "PostgreSQL":
        assert [one.name for one in facts.partitions if one.name.startswith("events_2")]
        assert facts.statements is not None or "CREATE EXTENSION pg_stat_statements" in text


@on_sqlite
def test_measuring_ends_in_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "CLOCK_STEPS", 1)
    store.hurry()
    assert database_facts.measured(store, 60.0)
    with pytest.raises(Unavailable, match="takes longer than"):
        database_facts.measured(store, -1.0)
    with within(-1.0), pytest.raises(TookTooLong):
        database_facts.look(store)  # over the same connection, which still looks at the clock


@on_sqlite
async def test_a_job_that_failed_is_shown_as_text_put_on_its_queue_again_or_forgotten(
    database: str, store: Store, redis_url: str, client: redis.Redis
) -> None:
    queue = Queue(EVENTS_QUEUE, connection=client, serializer=JSONSerializer)
    JobScheduler(client).enqueue_drain()
    (job,) = queue.jobs
    ids = []
    for number in range(2):
        failed = queue.enqueue("workers.jobs.drain", job_id=f"drain-{number}", description="<b>x</b>\u202e")
        queue.remove(failed.id)
        trace = "Traceback\n" + "a" * 1_000_000 + "\nValueError: <script>alert(1)</script>\x1b"
        failed.set_status(JobStatus.FAILED)
        queue.failed_job_registry.add(failed, ttl=3600)
        Result.create_failure(failed, 3600, trace)
        ids.append(failed.id)
    client.hset("rq:job:broken", "data", b"\xff\x00")
    client.zadd(queue.failed_job_registry.key, {"broken": 2e9})
    async with console({"DATABASE_URL": database, "REDIS_URL": redis_url}) as visitor:
        text = await text_of(visitor, "/system/queues")
        assert len(text) < 60_000
        assert "&lt;script&gt;alert(1)" in text
        assert not any(part in text for part in ("<script>alert", "<b>x", "\u202e", "\x1b"))
        csrf = csrf_of(text)
        for action, said in (("requeue", "on its queue again"), ("requeue", "gone already")):
            answer = await visitor.post(f"/system/queues/events/{action}", data={"_csrf": csrf, "job": ids[0]})
            assert said in await answer.text()
        assert queue.job_ids == [job.id, ids[0]]
        answer = await visitor.post("/system/queues/events/drop", data={"_csrf": csrf, "job": ids[1]})
        assert "The job is forgotten." in await answer.text()
        assert not client.exists(f"rq:job:{ids[1]}")
        for path, data in (("other/drop", {"job": "x"}), ("events/drop", {}), ("events/explode", {"job": "x"})):
            assert (await visitor.post(f"/system/queues/{path}", data={"_csrf": csrf, **data})).status == 404
    assert [(entry.action, entry.affected) for entry in audit.entries(store, 9)][-1] == ("requeue job", 1)
    assert job_facts.drop(client, EVENTS_QUEUE, "broken") == 1, "what cannot be read can be forgotten"


@pytest.mark.slow
async def test_everything_is_checked_on_demand_and_within_its_time(
    database: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys.json").write_text("{}")
    environ = {
        "DATABASE_URL": database,
        "REDIS_URL": redis_url,
        "INGEST_KEYS": str(tmp_path / "keys.json"),
        "INGEST_SPOOL_DIR": "off",
    }
    async with console(environ) as client:
        text = await text_of(client, "/system/check")
        assert "Nothing is wrong." not in text
        assert "INGEST_ACCOUNTS is not set" in text
    monkeypatch.setattr(checking, "PATIENCE", 0.01)
    async with console(environ) as client:
        assert "since it took too long" in await text_of(client, "/system/check")


async def test_a_stop_does_not_wait_for_a_database_that_takes_connections_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://ingest:x@127.0.0.1:{silent.getsockname()[1]}/events"
        reading = Reading(Settings.read({"DATABASE_URL": url, "REDIS_URL": "redis://127.0.0.1:1/0"}))
        with pytest.raises(Unavailable, match="did not answer within"):
            await reading.store(lambda _store: None, patience=0.05)
        reading.close()
        assert reading._lock.locked(), "its thread still waits"


@pytest.mark.slow
async def test_a_check_ends_though_what_a_handler_has_started_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = "import subprocess\nfrom pathlib import Path\none = subprocess.Popen(['sleep', '120'])\n"
    (tmp_path / "mine.py").write_text(f"{started}Path({str(tmp_path / 'pid')!r}).write_text(str(one.pid))\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(checking, "LEFT_TO_READ", 0.1)
    monkeypatch.setattr(checking, "PATIENCE", 60.0)
    nothing = {"DATABASE_URL": f"sqlite:///{tmp_path}/events.db", "REDIS_URL": "redis://127.0.0.1:1/0"}
    try:
        async with asyncio.timeout(50):
            found = await checking._run(nothing | {"INGEST_HANDLERS": "mine", "INGEST_SPOOL_DIR": "off"})
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert not found.cut
    assert found.findings


def test_what_is_no_finding_is_left_out() -> None:
    lines = b'hello\n{"level": "ok"}\n{"level": "odd", "about": "a", "text": "b", "code": null}\n[1]\n'
    good = b'{"level": "risk", "about": "a", "text": "b", "code": null}\n'
    assert checking._findings(lines + good) == [Found("risk", "a", "b", "")]
    assert Checked((), 0.0, 0.0).error == ""


@on_sqlite
async def test_settings_say_where_they_come_from(database: str, tmp_path: Path) -> None:
    environ = {"DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1/0", "INGEST_TZ": "Europe/Amsterdam"}
    async with console(environ) as client:
        text = await text_of(client, "/system/settings")
        row = text.partition("<code>INGEST_TZ</code>")[2].partition("</tr>")[0]
        assert "Europe/Amsterdam" in row
        assert "environment" in row
