"""When a call was stored, by whom, and where it came from can be found again."""

import secrets
import time

import pytest
import redis
from sqlalchemy import event as listening

from ingest.batch import pack
from ingest.copernica.events import MICROS
from ingest.stream.keys import Keys
from tests.support.builders import event, record
from tests.support.stream import keep
from workers.drain.drain import Drain
from workers.store import commits
from workers.store import console_tables as tables
from workers.store.commits import Batch, Commit, Stored
from workers.store.rows import event_row
from workers.store.store import Store


def found(store: Store, delivery_id: bytes) -> list[Stored]:
    with store.reading() as connection:
        return commits.of_event(connection, delivery_id)


def stored(store: Store, seconds: list[int], commit: Commit) -> list[bytes]:
    """Store an event signed at each of these Unix seconds; returns their delivery ids."""
    ids = [second.to_bytes(4, "big") + secrets.token_bytes(8) for second in seconds]
    rows = [event_row(event(n)._replace(delivery_id=one)) for n, one in enumerate(ids)]
    store.add_rows(rows, list, commit=commit)
    return ids


def test_a_drain_notes_which_batch_brought_a_call_and_who_wrote_it(store: Store, client: redis.Redis) -> None:
    keep(client, [record(1), record(2)])
    client.xadd(Keys().stream, {"b": pack([record(3)]), "e": "web:host:7"})
    before = time.time_ns() // 1000
    Drain(client, store).run()
    (first,), (third,) = found(store, record(2).delivery_id), found(store, record(3).delivery_id)
    assert before <= first.stored_at == third.stored_at <= time.time_ns() // 1000
    assert first.drain == third.drain
    assert first.drain.startswith("drain:")
    assert first.batch is not None
    assert (first.batch.endpoint, first.batch.calls) == ("", 2)
    assert third.batch is not None
    assert (third.batch.endpoint, third.batch.calls) == ("web:host:7", 1)
    assert abs(third.batch.written_at - before) < 60 * MICROS
    assert found(store, record(4).delivery_id) == []


def test_a_call_that_comes_twice_has_both_commits_the_first_of_them_first(
    store: Store, client: redis.Redis
) -> None:
    for _ in range(2):
        keep(client, [record(1)])
        Drain(client, store).run()
    one, other = found(store, record(1).delivery_id)
    assert one.stored_at < other.stored_at


def test_calls_hours_apart_are_found_and_none_is_looked_for_among_all(store: Store) -> None:
    seconds = [1_700_000_000 + 1000 * n for n in range(20)] + [1_700_000_001]
    batches = [Batch("1-0", "web:a:1", 20), Batch("2-0", "web:b:1", 1)]
    ids = stored(store, seconds, Commit("drain:a", batches))
    assert [one.batch for one in found(store, ids[20])] == [Batch("2-0", "web:b:1", 1)]
    assert all(found(store, one) for one in ids)
    with store.reading() as connection:
        spans = connection.execute(tables.commits.select()).all()
    width = max(int.from_bytes(row.last[:4], "big") - int.from_bytes(row.first[:4], "big") for row in spans)
    assert width <= commits.WIDTH
    assert len(spans) == 20


def test_what_is_older_than_a_month_is_forgotten_some_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "DELETE_ROWS", 2)
    ids = stored(store, [1_700_000_000 + 1000 * n for n in range(5)], Commit("drain:a"))
    now = int(time.time())
    store.expire_notes(now)
    assert all(len(found(store, one)) == 1 for one in ids)
    ended: list[object] = []
    listening.listen(store.engine, "commit", ended.append)
    store.expire_notes(now + commits.KEPT + 10)
    assert not any(found(store, one) for one in ids)
    assert len(ended) >= 3, "others get their turn in between"
