"""The job that keeps the figures of mailings: what it leaves to drains, and for how long it rests."""

import time
from collections.abc import Iterator

import pytest
import redis

from ingest.copernica.events import MICROS
from ingest.errors import Interrupted
from ingest.stream.keys import Keys
from tests.support.builders import aged_call, event
from tests.support.stream import keep
from workers.drain import turns
from workers.mailings import job, refresh
from workers.mailings.figures import figures_of
from workers.mailings.refresh import Refreshed, stale_mailings
from workers.runtime import stop_flag
from workers.store.store import Store

RESTS = f"{Keys().mailings}:rests"
HOUR = 3600 * MICROS


@pytest.fixture
def store_of_the_job(sqlite_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The store that jobs are told of; they have the time that a busy machine takes."""
    monkeypatch.setattr(job, "SLICE", 60.0)
    monkeypatch.setattr(job, "SLICE_OLD", 60.0)
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    with Store.open(sqlite_url) as opened:
        yield opened


def at(hours: int) -> int:
    """So many hours ago, in µs."""
    return time.time_ns() // 1000 - hours * HOUR


def test_drains_have_their_turn_while_figures_are_made(
    store_of_the_job: Store, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of_the_job
    store.add([event(n, mailing=7, message_id=f"m{n}", occurred_at=at(n)) for n in range(3)])
    keep(client, [aged_call(0)])
    assert job.mailings_job() >= 1
    assert store.stored() == 4, "what came in meanwhile is stored before the job has ended"
    found = figures_of(store, 7)
    assert found is not None
    assert found.of("open") == (3, 3)


@pytest.mark.slow
def test_what_is_old_is_made_in_a_larger_share_of_the_time(
    store_of_the_job: Store, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_of_the_job
    store.add([event(n, mailing=7, occurred_at=at(n * 24)) for n in range(9)])
    monkeypatch.setattr(job, "SLICE", 0.0)
    monkeypatch.setattr(job, "SLICE_OLD", 0.0)
    monkeypatch.setattr(job, "SHARE", 1e-9)
    with caplog.at_level("INFO"):
        job.mailings_job()
    assert "and of others back to" in caplog.text
    assert stale_mailings(store), "no more than its slices"
    assert client.pttl(RESTS) < 600_000 - 60_000, "not what the share of new ones says"
    job.mailings_job()
    client.delete(RESTS)
    store.add([event(90, mailing=7, occurred_at=at(0)), event(91, mailing=7, occurred_at=at(1))])
    for _ in range(9):
        job.mailings_job()
    assert not stale_mailings(store)
    assert client.pttl(RESTS) > 540_000


def test_only_what_is_of_days_before_is_old() -> None:
    now = 1_795_000_000.0
    for hours, old in ((0, False), (20, False), (30, True)):
        hour = time.strftime("%Y-%m-%d %H", time.gmtime(now - hours * 3600))
        assert Refreshed(0, 0, 1, hour).is_old(now) is old
    assert not Refreshed(0, 0, 0).is_old(now)


@pytest.mark.slow
def test_parts_are_kept_together_and_those_that_are_kept_are_not_made_again(
    store_of_the_job: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of_the_job
    store.add([event(n, mailing=7, occurred_at=at(n)) for n in range(10)])
    monkeypatch.setattr(refresh, "KEPT_TOGETHER", 3)
    kept: list[int] = []
    whole = refresh._replace

    def replace(*given: object) -> None:
        whole(*given)  # type: ignore[arg-type]
        kept.append(len(given[1]))  # type: ignore[arg-type]

    monkeypatch.setattr(refresh, "_replace", replace)
    breaths = iter(range(100))

    def breathe() -> None:
        if next(breaths) == 7:
            raise Interrupted("stop")

    with pytest.raises(Interrupted):
        refresh.refresh(store, 60, breathe)
    assert kept == [3, 3]
    assert refresh.refresh(store, 60).parts == 4
    assert kept == [3, 3, 3, 1]


@pytest.mark.slow
def test_a_worker_that_is_asked_to_stop_leaves_the_rest(
    store_of_the_job: Store, client: redis.Redis, request: pytest.FixtureRequest
) -> None:
    store_of_the_job.add([event(1, mailing=7)])
    request.addfinalizer(stop_flag.clear)
    stop_flag.request()
    assert job.mailings_job() == 0
    assert stale_mailings(store_of_the_job)
    assert turns.TURN_SECONDS < 10
