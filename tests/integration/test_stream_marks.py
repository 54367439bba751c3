"""One of several stream servers loses what it had: a gap says so, as it does for that of the queues."""

from collections.abc import Iterator

import pytest
import redis

from ingest.redis_client import connect
from ingest.stream.consumer import Consumer
from ingest.stream.keys import Keys
from ingest.stream.known_streams import KnownStreams, Standing
from ingest.stream.partitions import Partition, Partitions
from tests.support.builders import record
from tests.support.gaps import causes
from tests.support.sql import execute, rows
from tests.support.stream import keep
from workers.gaps import lineage, stream_marks
from workers.gaps.gap import Cause
from workers.gaps.looking import look_job
from workers.store.store import Store

MARK = Keys().mark


@pytest.fixture
def other(client: redis.Redis, redis_url: str) -> Iterator[redis.Redis]:
    with connect(f"{redis_url.partition('?')[0]}?db=3") as found:
        found.flushdb()
        yield found
        found.flushdb()


class Site:
    """An installation whose workers compare."""

    def __init__(self, store: Store, client: redis.Redis, *others: Partition) -> None:
        self.store, self.client = store, client
        self.partitions = Partitions([Partition("one", client, has_queues=True), *others])

    def compare(self, times: int = 1) -> list[Cause]:
        for _ in range(times):
            mark = lineage.compare(self.store, self.client, self.partitions)
            assert mark is not None
            stream_marks.compare(self.store, self.client, self.partitions, mark)
        return causes(self.store)


@pytest.fixture
def site(store: Store, client: redis.Redis, other: redis.Redis) -> Site:
    return Site(store, client, Partition("two", other))


def test_while_nothing_is_lost_there_is_no_gap(site: Site) -> None:
    assert site.compare(4) == []


def test_one_that_comes_back_empty_makes_a_gap_from_when_all_was_stored(site: Site, other: redis.Redis) -> None:
    site.compare(3)
    keep(other, [record(1)])
    other.flushdb()
    assert site.compare() == [Cause.REDIS_OLDER]
    assert site.compare(2) == [Cause.REDIS_OLDER], "it is found once"


def test_the_job_that_looks_for_gaps_compares_them(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, store: Store, database: str, other: redis.Redis
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("INGEST_STREAM_URLS", f"{redis_url},{redis_url.partition('?')[0]}?db=3")
    monkeypatch.setenv("DATABASE_URL", database)
    assert look_job() == 0
    other.flushdb()
    assert look_job() == 1


def test_one_that_is_as_it_was_yesterday_makes_a_gap(site: Site, other: redis.Redis) -> None:
    site.compare(4)
    other.hset(MARK, "stream-number", 1)
    assert site.compare(2) == [Cause.REDIS_OLDER]


def test_one_that_takes_no_writes_or_does_not_answer_makes_none(site: Site, other: redis.Redis) -> None:
    limit = other.config_get("maxmemory")["maxmemory"] or "0"
    other.config_set("maxmemory", 1)
    try:
        stream_marks.compare(site.store, site.client, site.partitions, lineage.Mark(1, 1, 1, "r"))
    finally:
        other.config_set("maxmemory", limit)
    site.compare(2)
    with connect("unix:///nowhere/valkey.sock") as nobody:
        assert Site(site.store, site.client, Partition("two", nobody)).compare(2) == []
    assert site.compare(2) == []


def test_one_that_was_drained_may_come_back_empty(site: Site, other: redis.Redis, client: redis.Redis) -> None:
    site.compare(2)
    Consumer(other).close(is_closed=True)
    site.compare()
    other.flushdb()
    assert site.compare(2) == []
    KnownStreams(client).note({"two": Standing(0, is_drained=True)})
    Site(site.store, client).compare()  # which is taken out of the settings
    other.flushdb()
    assert site.compare() == []


def test_one_that_was_taken_out_with_a_backlog_and_comes_back_empty_makes_a_gap(
    site: Site, other: redis.Redis, client: redis.Redis
) -> None:
    site.compare(2)
    KnownStreams(client).note({"two": Standing(7, is_drained=False)})
    Site(site.store, client).compare()
    other.flushdb()
    assert site.compare() == [Cause.REDIS_OLDER]


def test_one_server_under_several_names_makes_none(site: Site, other: redis.Redis, client: redis.Redis) -> None:
    twice = Site(site.store, client, Partition("two", other), Partition("2", other), Partition("uno", client))
    assert twice.compare(4) == []


def test_nothing_is_written_to_a_server_that_is_anothers(site: Site, other: redis.Redis) -> None:
    other.hset(MARK, "database", "another")
    assert site.compare(2) == []
    assert other.hgetall(MARK) == {b"database": b"another"}


def test_the_longest_name_has_a_row(site: Site, other: redis.Redis) -> None:
    name = "primary@" + ",".join(f"sentinel-{number}.example.com:26379" for number in range(40))
    assert Site(site.store, site.client, Partition(name, other)).compare(3) == []
    assert len(rows(site.store, "SELECT name FROM marks")) == 3
    execute(site.store, "DELETE FROM marks")
    assert Site(site.store, site.client, Partition(name, other)).compare(3) == []
