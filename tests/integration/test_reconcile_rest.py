"""Reconciling over REST, with Copernica's side faked on a real socket and failing on demand."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path

import pytest
import redis

from ingest.copernica.api.retry import RetryPolicy
from ingest.errors import Interrupted, InvalidToken, RestError
from ingest.jobs import DRAIN_JOB, RECONCILE_JOB, JobScheduler
from ingest.settings import Settings
from ingest.simulation.api_faults import Faults
from ingest.simulation.fake_api import FakeCopernica
from ingest.stream.consumer import Consumer
from ingest.stream.keys import Keys
from ingest.stream.partitions import Partitions
from tests.support.builders import aged_call
from tests.support.cli import typed
from tests.support.fake_copernica import TOKEN, fake_copernica
from tests.support.logs import DAY, Happened, a_day, contents, no_progress, stored_keys
from tests.support.stream import job_names, keep
from workers.drain import turns
from workers.drain.drain import Drain
from workers.reconcile import daily, history
from workers.reconcile import sources as reconcile_sources
from workers.reconcile.report import DayReport
from workers.reconcile.run import ReconcileOptions, reconcile
from workers.reconcile.schedule import Schedule
from workers.reconcile.sources import Source, sources
from workers.runtime import stop_flag
from workers.store import tables
from workers.store.schema import upgrade
from workers.store.store import Store

pytestmark = pytest.mark.slow

HASTY = RetryPolicy(attempts=4, first_pause=0.01, max_retry_after=0.01, silence_timeout=0.5, answer_timeout=0.5)


def written(folder: Path, happened: list[Happened], day: date = DAY) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in contents(happened, day).items():
        (folder / name).write_bytes(content)
    return folder


def connect(settings: Settings) -> list[Source]:
    return sources(settings, HASTY)


def reconciled(
    environ: Mapping[str, str], database: str, day: date = DAY, options: ReconcileOptions | None = None
) -> DayReport:
    settings = Settings.read({"DATABASE_URL": database, **environ})
    (report,) = reconcile(settings, [day], options or ReconcileOptions(wait=0), no_progress, connect=connect)
    return report


def test_a_day_is_fetched_and_recovered_and_the_status_says_through_when_all_is_there(
    tmp_path: Path, store: Store, database: str, redis_url: str
) -> None:
    day = a_day(70)
    store.add([one.call(number) for number, one in enumerate(day) if number % 3])
    with fake_copernica(FakeCopernica(written(tmp_path / "logs", day), TOKEN)) as environ:
        report = reconciled(environ, database)
        assert report.complete
        assert report.total("recovered") == 24
        assert {name for kind in report.kinds for name in kind.files} == set(contents(day))
        assert reconciled(environ, database).total("recovered") == 0
    status = typed("status", "--json", environ={"DATABASE_URL": database, "REDIS_URL": redis_url})
    assert json.loads(status.stdout)["reconciled"]["complete_through"] == str(DAY)
    assert (
        "complete through 2026-11-20"
        in typed("status", environ={"DATABASE_URL": database, "REDIS_URL": redis_url}).stdout
    )


PASSING = ("429*2,503", "cut*2@download,short@download", "slow@download", "expired", "401@download", "500@token")
LASTING = ("403@download", "500*99@download", "cut*99@download", "500*99")


@pytest.mark.parametrize("plan", PASSING)
def test_whatever_passes_ends_in_a_complete_day(plan: str, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/events.db"
    upgrade(database)
    day = a_day(70)
    fake = FakeCopernica(written(tmp_path / "logs", day), TOKEN, Faults(plan))
    with fake_copernica(fake) as environ:
        report = reconciled(environ, database)
    assert not fake.faults.left, "the fault was met"
    assert report.complete
    assert report.total("recovered") == len(day)


@pytest.mark.parametrize("plan", LASTING)
def test_what_does_not_pass_is_one_sentence_and_the_day_is_incomplete(plan: str, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/events.db"
    upgrade(database)
    fake = FakeCopernica(written(tmp_path / "logs", a_day(70)), TOKEN, Faults(plan))
    with fake_copernica(fake) as environ:
        report = reconciled(environ, database)
        store = Store.open(database)
        assert report.error is not None
        assert report.error.endswith(".")
        assert not report.complete
        assert not stored_keys(store), "files that were not all there are not taken for the day"
        assert Schedule.of(store, DAY + timedelta(days=1)).incomplete == [DAY]
        fake.faults = Faults()
        assert reconciled(environ, database).complete
        assert Schedule.of(store).through == (DAY, DAY)
        store.close()


def test_events_of_a_kind_without_a_file_are_reported(tmp_path: Path, store: Store, database: str) -> None:
    day = a_day(70)
    store.add([one.call(number) for number, one in enumerate(day)])
    folder = written(tmp_path / "logs", [one for one in day if one.type != "delivery"])
    with fake_copernica(FakeCopernica(folder, TOKEN)) as environ:
        report = reconciled(environ, database)
    assert [(kind.kind, kind.in_log) for kind in report.kinds if kind.only_in_store] == [("delivery", 0)]


def test_a_quiet_day_is_complete_and_one_that_copernica_does_not_know_is_not(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/events.db"
    upgrade(database)
    folder = written(tmp_path / "logs", a_day(7))
    written(folder, a_day(7), DAY - timedelta(days=2))
    with fake_copernica(FakeCopernica(folder, TOKEN)) as environ:
        assert reconciled(environ, database, DAY - timedelta(days=1)).complete
        unknown = reconciled(environ, database, DAY - timedelta(days=3))
    assert not unknown.complete
    assert "2026-11-18 to 2026-11-20" in str(unknown.error)


def test_a_wrong_or_missing_token_is_reported_at_once(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/events.db"
    environ = {"DATABASE_URL": database}
    upgrade(database)
    missing = typed("reconcile", "2026-11-20", environ=environ)
    assert (missing.exit_code, missing.stderr.count("\n")) == (2, 1)
    assert "COPERNICA_TOKEN" in missing.stderr
    with fake_copernica(FakeCopernica(written(tmp_path / "logs", []), TOKEN)) as there:
        wrong = typed("reconcile", "2026-11-20", environ={**environ, **there, "COPERNICA_TOKEN": "another"})
        assert (wrong.exit_code, wrong.stderr.count("\n")) == (1, 1)
        assert "COPERNICA_TOKEN" in wrong.stderr
        with pytest.raises(InvalidToken):
            reconciled({**there, "COPERNICA_TOKEN": "another"}, database)
    assert issubclass(InvalidToken, RestError)


# --- the daily job ---


def yesterday_at_copernica(tmp_path: Path) -> tuple[FakeCopernica, date]:
    yesterday = daily.today() - timedelta(days=1)
    shift = (yesterday - DAY).days * 86_400
    moved = [one._replace(second=one.second + shift) for one in a_day(70)]
    return FakeCopernica(written(tmp_path / "logs", moved, yesterday), TOKEN), yesterday


def test_the_daily_job_reconciles_what_is_due_and_is_put_on_the_queue_once_a_day(
    tmp_path: Path,
    store: Store,
    database: str,
    client: redis.Redis,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake, yesterday = yesterday_at_copernica(tmp_path)
    with fake_copernica(fake) as environ:
        for name, value in {**environ, "DATABASE_URL": database, "REDIS_URL": redis_url}.items():
            monkeypatch.setenv(name, value)
        for _ in range(3):
            JobScheduler(client).enqueue_reconcile(daily.today().isoformat())
        assert job_names(client) == [RECONCILE_JOB]
        assert daily.reconcile_job() == 70
        assert Schedule.of(store).through == (yesterday, yesterday)
        seen = len(fake.seen)
        assert daily.reconcile_job() == 0
        assert len(fake.seen) == seen, "nothing is due any more"


def test_a_daily_job_that_failed_is_tried_again_later(
    tmp_path: Path, database: str, client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, _ = yesterday_at_copernica(tmp_path)
    with fake_copernica(fake) as environ:
        wrong = {**environ, "DATABASE_URL": database, "REDIS_URL": redis_url, "COPERNICA_TOKEN": "another"}
        for name, value in wrong.items():
            monkeypatch.setenv(name, value)
        today = daily.today().isoformat()
        JobScheduler(client).enqueue_reconcile(today)
        assert daily.reconcile_job() == 0
        assert 0 < client.ttl(f"{Keys().reconcile}:{today}") <= daily.LATER


def test_a_day_that_failed_is_tried_again_until_it_is_complete(
    tmp_path: Path,
    store: Store,
    database: str,
    client: redis.Redis,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake, yesterday = yesterday_at_copernica(tmp_path)
    before = yesterday - timedelta(days=2)
    shift = (before - DAY).days * 86_400
    written(tmp_path / "logs", [one._replace(second=one.second + shift) for one in a_day(7)], before)
    history.save(store, DayReport(before, whole=True), history.API)
    with history.attempt(store, before + timedelta(days=1)) as began:
        pass  # as if its worker had been killed …
    with fake_copernica(fake) as environ:
        for name, value in {**environ, "DATABASE_URL": database, "REDIS_URL": redis_url}.items():
            monkeypatch.setenv(name, value)
        today = daily.today().isoformat()
        JobScheduler(client).enqueue_reconcile(today)
        assert daily.reconcile_job() == 70
        schedule = Schedule.of(store)
        assert (schedule.incomplete, schedule.through) == ([before + timedelta(days=1)], (before, before))
        assert 3500 < client.ttl(f"{Keys().reconcile}:{today}") <= 3600, "the next job begins when the day is due"
        # … and an hour later:
        earlier = datetime.fromisoformat(began) - timedelta(hours=1)
        moved = tables.reconciliations.update().values(finished_at=earlier.replace(tzinfo=UTC))
        with store.writing() as connection:
            connection.execute(moved.where(tables.reconciliations.c.error == history.CUT_SHORT))
        daily.reconcile_job()
        schedule = Schedule.of(store)
        assert (schedule.incomplete, schedule.through) == ([], (yesterday, before))


def test_a_day_that_is_over_by_our_clock_only_is_not_complete(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/events.db"
    upgrade(database)
    today = daily.today()
    shift = (today - DAY).days * 86_400
    moved = [one._replace(second=one.second + shift) for one in a_day(70)]
    with (
        fake_copernica(FakeCopernica(written(tmp_path / "logs", moved, today), TOKEN)) as environ,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(reconcile_sources, "datetime", Ahead)
        report = reconciled(environ, database, today)
    assert (report.total("recovered"), report.complete) == (70, False)


class Ahead(datetime):
    """A clock that is a day ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Ahead":
        ahead = datetime.now(tz) + timedelta(days=1)
        return cls.fromtimestamp(ahead.timestamp(), tz)


def test_the_daily_job_lets_the_drains_have_their_turn_and_breaks_off_when_asked(
    tmp_path: Path,
    store: Store,
    database: str,
    client: redis.Redis,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("REDIS_URL", redis_url)
    keep(client, [aged_call(0)])
    given = turns.Turns(Partitions.alone(client))
    given.take()
    assert store.stored() == 1
    request.addfinalizer(stop_flag.clear)
    stop_flag.request()
    with pytest.raises(Interrupted):
        given.take()
    assert DRAIN_JOB not in job_names(client)


def test_a_turn_of_the_drains_ends_though_calls_keep_coming(
    sqlite_url: str, client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.0)
    monkeypatch.setattr("workers.drain.source.CLAIM_FIRST", 1)
    for number in range(5):
        keep(client, [aged_call(number)])
    turns.Turns(Partitions.alone(client)).take()
    assert Consumer(client).batches() > 0


def test_a_turn_of_the_drains_is_over_once_only_what_has_just_come_is_left(
    sqlite_url: str, client: redis.Redis
) -> None:
    coming = iter(range(100))

    def another_comes() -> bool:
        keep(client, [aged_call(next(coming))])
        return False

    with Store.open(sqlite_url) as store:
        Drain(client, store, paused=another_comes).run(linger_ms=None)
    assert next(coming) < 10


def test_check_says_whether_the_token_is_taken(tmp_path: Path) -> None:
    def said(environ: Mapping[str, str]) -> tuple[str, str]:
        here = {"INGEST_DATA_DIR": str(tmp_path), "REDIS_URL": "redis://127.0.0.1:1/0"}
        found = json.loads(typed("check", "--json", environ={**here, **environ}).stdout)
        return next((one["level"], one["text"]) for one in found if one["about"] == "log files")

    assert said({})[0] == "risk"
    with fake_copernica(FakeCopernica(written(tmp_path / "logs", []), TOKEN)) as environ:
        assert said(environ) == ("ok", "those of fake, reconciled daily at 04:00 UTC")
        assert said({**environ, "COPERNICA_TOKEN": "another"})[0] == "wrong"
