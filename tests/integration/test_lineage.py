"""A database and a Redis that belong together: what is older than it was is noticed, what is another's refused."""

import pytest
import redis

from ingest.errors import OtherDatabase
from ingest.settings import Settings
from ingest.stream.keys import Keys
from tests.support.gaps import causes
from tests.support.sql import execute, rows
from workers.gaps import lineage
from workers.gaps.gap import Cause, cuts
from workers.gaps.looking import update
from workers.store.store import Store

MARK = Keys().mark


def compared(store: Store, client: redis.Redis, times: int = 1) -> lineage.Mark:
    marks = [lineage.compare(store, client) for _ in range(times)]
    assert marks[-1] is not None
    return marks[-1]


def shared(store: Store) -> str:
    return str(rows(store, "SELECT value FROM marks WHERE name = 'shared'")[0][0])


def test_while_nothing_is_restored_there_is_no_gap(store: Store, client: redis.Redis) -> None:
    lineage.claim(store, client)
    assert compared(store, client, 3).number == 3
    assert causes(store) == []


def test_a_worker_that_dies_between_the_two_marks_makes_no_gap(store: Store, client: redis.Redis) -> None:
    compared(store, client, 2)
    client.hincrby(MARK, "number", -1)
    compared(store, client)
    assert causes(store) == []


def test_a_database_of_yesterday_makes_a_gap_from_then_until_now(store: Store, client: redis.Redis) -> None:
    backup = compared(store, client)
    before = shared(store)
    client.set(Keys().daily, 1)
    compared(store, client, 2)
    execute(store, f"UPDATE marks SET value = '{before}' WHERE name = 'shared'")
    now = compared(store, client).at
    with store.reading() as connection:
        [gap] = cuts(connection)
    assert (gap.since, gap.until, gap.cause) == (backup.through, now, Cause.STORE_OLDER)
    assert not client.exists(Keys().daily), "what was done today is done again"
    compared(store, client)
    update(store, [], now + 1)
    assert causes(store) == [Cause.STORE_OLDER], "it is found once, and stays"


def test_a_redis_that_was_emptied_or_replaced_makes_a_gap(store: Store, client: redis.Redis) -> None:
    compared(store, client)
    client.delete(MARK)
    lineage.claim(store, client)  # by a worker that starts before anybody looks
    compared(store, client, 2)
    assert causes(store) == [Cause.REDIS_OLDER]


def test_a_redis_of_yesterday_makes_a_gap(store: Store, client: redis.Redis) -> None:
    compared(store, client, 3)
    client.hset(MARK, "number", 1)
    compared(store, client, 2)
    assert causes(store) == [Cause.REDIS_OLDER]


def test_a_redis_that_takes_no_writes_is_not_taken_for_older(store: Store, client: redis.Redis) -> None:
    limit = client.config_get("maxmemory")["maxmemory"] or "0"
    for begin in (True, False):
        client.config_set("maxmemory", 1)
        try:
            assert {lineage.compare(store, client) is None for _ in range(4)} == {begin}
        finally:
            client.config_set("maxmemory", limit)
        compared(store, client, 2)
    assert causes(store) == []
    client.hset(MARK, "number", 1)
    compared(store, client)
    assert causes(store) == [Cause.REDIS_OLDER]


def test_to_adopt_what_is_ones_own_changes_nothing(store: Store, client: redis.Redis) -> None:
    compared(store, client, 2)
    assert not lineage.adopt(store, client)
    compared(store, client)
    assert causes(store) == []


def test_what_waits_or_is_in_a_spool_is_not_taken_for_stored(store: Store, client: redis.Redis) -> None:
    client.xadd(Keys().stream, {"b": b"x"}, id="1000-0")
    assert compared(store, client).through < 1_000_000_000
    client.delete(Keys().stream)
    through = compared(store, client).through
    client.hset(Keys().reports, "web:a:1", b'{"at": %d, "spooled": 1}' % (redis_seconds(client)))
    assert compared(store, client).through == through


def redis_seconds(client: redis.Redis) -> int:
    return int(client.time()[0])


def test_two_installations_on_one_database_are_told_of(store: Store, client: redis.Redis) -> None:
    compared(store, client)
    first = client.hgetall(MARK)
    client.delete(MARK)
    compared(store, client)  # of the other's Redis
    assert lineage.look(store).clashed_at is None
    client.hset(MARK, mapping=first)  # type: ignore[arg-type]  # its stub knows no answer
    compared(store, client)
    assert lineage.look(store).clashed_at is not None


def test_two_copies_of_one_database_at_one_redis_are_told_of(store: Store, client: redis.Redis) -> None:
    def of_the_copy() -> None:
        client.hincrby(MARK, "number", 2)

    compared(store, client)
    of_the_copy()
    client.set(Keys().daily, 1)
    compared(store, client)  # as after a restore
    assert lineage.look(store).clashed_at is None
    assert not client.exists(Keys().daily)
    of_the_copy()
    client.set(Keys().daily, 1)
    compared(store, client)
    assert lineage.look(store).clashed_at is not None
    assert client.exists(Keys().daily), "what is done daily is not begun each time"
    assert set(causes(store)) == {Cause.STORE_OLDER}, "what the other has is fetched as what is missing"


def test_a_mark_in_which_a_later_release_says_more_is_read() -> None:
    text = '{"number": 1, "at": 2, "through": 3, "server": "r", "news": 4}'
    assert lineage.Mark.of(text) == lineage.Mark(1, 2, 3, "r")


def test_what_is_anothers_is_refused_until_somebody_says_that_it_is_meant(
    store: Store, client: redis.Redis, database: str, redis_url: str
) -> None:
    settings = Settings.read({"REDIS_URL": redis_url, "DATABASE_URL": database})
    lineage.claim(store, client)
    client.hset(MARK, mapping={"database": "another", "redis": "r", "number": 7})
    with pytest.raises(OtherDatabase, match="`ingest db adopt`"):
        lineage.opened(settings, client)
    assert lineage.compare(store, client) is None
    assert client.hget(MARK, "number") == b"7"
    assert lineage.adopt(store, client)
    lineage.opened(settings, client).close()
    compared(store, client)
    assert causes(store) == []
