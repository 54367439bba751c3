"""The stream, on a real server: what was acknowledged is in it, and leaves it only when it has been processed."""

from typing import Any, cast

import pytest
import redis
from rq import Queue
from rq.serializers import JSONSerializer

from ingest.batch import Record, pack
from ingest.jobs import EVENTS_QUEUE, JobScheduler
from ingest.stream.consumer import GROUP, Consumer, Entry
from ingest.stream.keys import Keys

KEYS = Keys()


def record(number: int, size: int = 20) -> Record:
    return Record(number.to_bytes(12, "big"), number, b"/copernica", b"text/plain", b"%d" % number + b"x" * size)


def fill(client: redis.Redis, batches: int) -> list[bytes]:
    """Put batches of one record into the stream; returns their ids."""
    return [cast(bytes, client.xadd(KEYS.stream, {"b": pack([record(n)])})) for n in range(batches)]


def jobs(client: redis.Redis) -> int:
    return len(Queue(EVENTS_QUEUE, connection=client, serializer=JSONSerializer))


def consumers(client: redis.Redis) -> set[str]:
    return {consumer["name"].decode() for consumer in cast(Any, client.xinfo_consumers(KEYS.stream, GROUP))}


def test_what_is_claimed_is_pending_and_what_is_acknowledged_is_gone(client: redis.Redis) -> None:
    ids = fill(client, 3)
    backlog = Consumer(client, "a")
    claimed = backlog.claim(2)
    assert claimed == [Entry(id, pack([record(n)])) for n, id in enumerate(ids[:2])]
    assert (backlog.batches(), backlog.pending()) == (3, 2)
    backlog.ack([entry.id for entry in claimed], 2, 1)
    assert (backlog.batches(), backlog.pending()) == (1, 0)
    assert backlog.counts() == {"drained": 2, "doubles": 1}
    assert [entry.id for entry in backlog.claim(9)] == ids[2:]
    assert backlog.claim(9) == []


def test_what_another_drain_works_on_is_left_to_it(client: redis.Redis) -> None:
    fill(client, 2)
    assert len(Consumer(client, "a").claim(9)) == 2
    other = Consumer(client, "b")
    assert (other.claim(9), other.reclaim(9)) == ([], [])


def test_what_a_silent_drain_held_is_taken_over(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = fill(client, 250)
    Consumer(client, "a").claim(250)
    client.xdel(KEYS.stream, *ids[:120])  # deleted while pending: nothing to be done about these
    monkeypatch.setattr("ingest.stream.consumer.RECLAIM_IDLE_MS", 0)
    other = Consumer(client, "b")
    taken: list[bytes] = []
    while entries := other.reclaim(40):
        taken += [entry.id for entry in entries]
    assert taken == ids[120:]
    other.ack(taken, len(taken))
    assert (other.batches(), other.pending()) == (0, 0)


# Of a stream that is not there fakeredis says something else than NOGROUP.
@pytest.mark.usefixtures("only_real")
def test_a_lost_group_is_created_again_from_the_first_entry(client: redis.Redis) -> None:
    backlog = Consumer(client, "a")
    assert (backlog.claim(9), backlog.pending(), backlog.drains_at_work()) == ([], 0, 1)
    ids = fill(client, 2)
    client.xgroup_destroy(KEYS.stream, GROUP)
    assert [entry.id for entry in backlog.claim(9)] == ids
    client.xgroup_destroy(KEYS.stream, GROUP)
    assert Consumer(client, "b").reclaim(9) == []
    assert [entry.id for entry in Consumer(client, "b").claim(9)] == ids


def test_a_damaged_batch_is_buried_raw_with_the_reason(client: redis.Redis) -> None:
    client.xadd(KEYS.stream, {"b": b"\0damaged\xff"})
    client.xadd(KEYS.stream, {"not": "ours"})
    backlog = Consumer(client, "a")
    damaged, empty = backlog.claim(9)
    backlog.bury(damaged, "its checksum")
    backlog.bury(empty, "cut off")
    buried = [fields for _, fields in cast(Any, client.xrange(KEYS.dead))]
    assert buried == [{b"b": b"\0damaged\xff", b"reason": b"its checksum"}, {b"b": b"", b"reason": b"cut off"}]
    assert (backlog.batches(), backlog.pending(), backlog.dead_batches()) == (0, 0, 2)


def test_a_consumer_that_leaves_is_removed_unless_it_holds_batches(client: redis.Redis) -> None:
    fill(client, 1)
    holder, idler = Consumer(client, "holder"), Consumer(client, "idler")
    (entry,) = holder.claim(1)
    idler.claim(1)
    holder.leave()
    idler.leave()
    assert consumers(client) == {"holder"}
    assert holder.pending() == 1
    holder.ack([entry.id], 1)
    holder.leave()
    assert consumers(client) == set()


def test_a_silent_consumer_is_removed_unless_it_holds_batches(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(client, 1)
    Consumer(client, "holder").claim(1)
    Consumer(client, "idler").claim(1)
    Consumer(client, "c").leave()
    assert consumers(client) == {"holder", "idler"}
    monkeypatch.setattr("ingest.stream.consumer.CONSUMER_TTL_MS", 0)
    Consumer(client, "c").leave()
    assert consumers(client) == {"holder"}


def test_leaving_without_a_stream_or_a_group_is_no_error(client: redis.Redis) -> None:
    Consumer(client, "a").leave()
    assert Consumer(client, "a").batches() == 0


def test_wake_ups_do_not_pile_up(client: redis.Redis) -> None:
    scheduler = JobScheduler(client)
    assert [scheduler.wake_drain() for _ in range(3)] == [True, False, False]
    assert jobs(client) == 1


def test_a_sweep_wakes_a_drain_only_for_unattended_work(client: redis.Redis) -> None:
    scheduler = JobScheduler(client)
    assert (scheduler.sweep_backlog(), jobs(client)) == (False, 0)
    fill(client, 2)
    worker = Consumer(client, "worker")
    worker.claim(1)
    assert (scheduler.sweep_backlog(), jobs(client)) == (False, 0)
    client.xgroup_delconsumer(KEYS.stream, GROUP, "worker")
    assert (scheduler.sweep_backlog(), jobs(client)) == (True, 1)
    assert (scheduler.sweep_backlog(), jobs(client)) == (False, 1)


def test_counts_settle_when_everything_was_drained(client: redis.Redis) -> None:
    fill(client, 1)
    client.hset(KEYS.counts, mapping={"accepted": 10, "drained": 7})
    backlog = Consumer(client, "a")
    (entry,) = backlog.claim(1)
    backlog.leave()
    assert backlog.counts() == {"accepted": 10, "drained": 7}
    backlog.ack([entry.id], 1)
    backlog.leave()
    assert backlog.counts() == {"accepted": 10, "drained": 10}
