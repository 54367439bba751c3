"""The daily export: when it is enqueued, what it notes, and what `check` and `status` say of it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from ingest.jobs import RECONCILE_JOB, JobScheduler
from ingest.settings import Settings
from ingest.stream.exports import Exports
from ingest.stream.keys import Keys
from tests.support.builders import event
from tests.support.cli import findings, status_figures
from workers.export.daily import export_job
from workers.store.store import Store


@pytest.fixture
def environ(redis_url: str, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    environ = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": sqlite_url,
        "INGEST_DATA_DIR": str(tmp_path),
        "INGEST_EXPORT_TO": f"{tmp_path}/to",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with Store.open(sqlite_url) as store:
        store.add([event(1)])
    return environ


def test_the_job_exports_and_says_when_and_why_not(
    environ: dict[str, str], client: redis.Redis, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    assert export_job() == 1
    last = Exports(client).last()
    assert last is not None
    assert (last.failed_at, last.done_at is not None) == (None, True)
    assert findings(environ)[1]["export"] == ("ok", f"{tmp_path}/to takes files, daily as parquet")
    assert sorted(one.name for one in (tmp_path / "to").iterdir()) == [".ingest-export.lock", "day=2026-11-20"]
    (tmp_path / "to").rename(tmp_path / "away")
    (tmp_path / "to").write_text("")
    today = datetime.now(UTC).date().isoformat()
    JobScheduler(client).enqueue_export(today)
    assert export_job() == 0
    assert 0 < client.ttl(f"{Keys().export}:{today}") <= 3600
    failed = status_figures(environ)[1]["export"]
    assert failed["done_at"] == last.done_at
    assert (
        failed["why"]
        == f"{tmp_path}/to cannot be written to: File exists; let this user write there, or name another place."
    )
    assert findings(environ)[1]["export"][0] == "wrong"


def test_it_is_enqueued_once_a_day_after_log_files_were_compared(client: redis.Redis) -> None:
    scheduler = JobScheduler(client)
    scheduler.enqueue_reconcile("2026-11-26")
    assert not scheduler.enqueue_export("2026-11-26")
    client.flushall()
    assert [scheduler.enqueue_export("2026-11-26") for _ in range(2)] == [True, False]
    assert scheduler.enqueue_export("2026-11-27")
    assert RECONCILE_JOB.startswith("workers.jobs.")


@pytest.mark.parametrize(
    ("environ", "hour", "due"),
    [
        ({}, 23, None),
        ({"INGEST_EXPORT_TO": "x"}, 3, None),
        ({"INGEST_EXPORT_TO": "x"}, 4, "2026-11-26"),
        ({"INGEST_EXPORT_TO": "x", "INGEST_RECONCILE_AT": "off"}, 4, "2026-11-26"),
        ({"INGEST_EXPORT_TO": "x", "INGEST_RECONCILE_AT": "06:00"}, 4, None),
    ],
)
def test_it_is_due_when_log_files_are(environ: dict[str, str], hour: int, due: str | None) -> None:
    assert Settings.read(environ).exports_on(datetime(2026, 11, 26, hour, 30, tzinfo=UTC)) == due
