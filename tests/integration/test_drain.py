"""The drain, from a real server into a real store: killed at any line, each event is stored once."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer

from ingest.batch import UNVERIFIED, Record, pack
from ingest.jobs import DRAIN_JOB, EVENTS_QUEUE, JobScheduler
from ingest.settings import Settings
from ingest.simulation.calls import Simulator
from ingest.stream.announcements import Announcements
from ingest.stream.consumer import GROUP, Consumer
from tests.support.builders import FORM_BYTES, record, refused_body
from tests.support.has import assert_has
from tests.support.postgres import Server
from tests.support.sql import REFUSALS, execute, stored_numbers
from tests.support.stream import KEYS, keep
from workers.drain import drain
from workers.drain.drain import Drain
from workers.drain.late_verification import verify_job, verify_once
from workers.drain.once import drain_once
from workers.runtime import stop_flag
from workers.store import tables
from workers.store.backend import Row
from workers.store.console_tables import commits
from workers.store.filters import Filter
from workers.store.rows import Added
from workers.store.store import Store


@pytest.fixture
def settings(redis_url: str, database: str) -> Settings:
    return Settings.read({"REDIS_URL": redis_url, "DATABASE_URL": database})


def queue(client: redis.Redis) -> Queue:
    return Queue(EVENTS_QUEUE, connection=client, serializer=JSONSerializer)


def quarantine(store: Store) -> list[tuple[bytes, str]]:
    """Bodies and reasons of what lies there."""
    rows = sorted(store.rows(tables.quarantine), key=lambda row: bytes(row.delivery_id))
    return [(bytes(row.body), row.reason) for row in rows]


def test_everything_is_stored_and_acknowledged(client: redis.Redis, store: Store) -> None:
    calls = Simulator(seed=1)
    records = [record(n, body=calls.call().body) for n in range(2000)]
    keep(client, *(records[at : at + 97] for at in range(0, 2000, 97)))
    done = Drain(client, store).run()
    assert_has(done, stored=2000, doubles=0, quarantined=0, dead=0, batches=21)
    assert stored_numbers(store) == list(range(2000))
    stream = Consumer(client)
    assert (stream.batches(), stream.pending()) == (0, 0)
    assert stream.counts() == {"accepted": 2000, "drained": 2000}
    assert client.xinfo_consumers(KEYS.stream, GROUP) == []
    assert len(queue(client)) == 0


def test_what_came_twice_is_stored_once(client: redis.Redis, store: Store) -> None:
    keep(client, [record(1), record(2)], [record(2), record(1), record(3)])
    done = Drain(client, store).run()
    assert (done.stored, done.doubles, done.events) == (3, 2, 5)
    assert Consumer(client).counts() == {"accepted": 5, "drained": 5, "doubles": 2}


def test_a_damaged_batch_goes_to_the_dead_stream_and_the_rest_is_stored(client: redis.Redis, store: Store) -> None:
    keep(client, [record(1)])
    damaged = pack([record(2)])[:-1] + b"?"
    client.xadd(KEYS.stream, {"b": damaged})
    keep(client, [record(3)])
    done = Drain(client, store).run()
    assert (done.stored, done.dead, stored_numbers(store)) == (2, 1, [1, 3])
    buried = cast(Any, client.xrange(KEYS.dead))[0][1]
    assert (buried[b"b"], buried[b"reason"]) == (damaged, b"The batch is damaged: its checksum does not match.")
    assert Consumer(client).batches() == 0


def test_a_body_that_is_no_form_goes_to_quarantine_and_the_rest_is_stored(
    client: redis.Redis, store: Store
) -> None:
    unreadable = [b"hello", b"\0=\0", b'{"a": NaN}']
    keep(client, [record(1), *(record(n, body=body) for n, body in enumerate(unreadable, 2)), record(5)])
    done = Drain(client, store).run()
    assert (done.stored, done.quarantined, stored_numbers(store)) == (5, 3, [1, 5])
    assert [body for body, _ in quarantine(store)] == unreadable
    assert Consumer(client).batches() == 0


def test_a_batch_drained_ten_times_is_stored_once(client: redis.Redis, store: Store) -> None:
    calls = Simulator(seed=2)
    records = [record(n, body=calls.call().body) for n in range(150)]
    done = []
    for _ in range(10):
        keep(client, records[:120], records[120:])
        done.append(Drain(client, store).run())
    assert [(one.stored, one.doubles) for one in done] == [(150, 0)] + 9 * [(0, 150)]
    assert stored_numbers(store) == list(range(150))
    assert Consumer(client).counts() == {"accepted": 1500, "drained": 1500, "doubles": 1350}


#: The same, by a trigger of the user's own: PostgreSQL has another SQLSTATE for that.
REFUSING_FUNCTION = """
CREATE FUNCTION picky() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF NEW.recipient = 'refused@example.nl' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;
CREATE TRIGGER picky BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION picky()
"""


@pytest.fixture
def added(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events each transaction of the store was given."""
    sizes: list[int] = []
    add = Store.add_rows

    def counted(store: Store, rows: Sequence[Row], *more: Any, **named: Any) -> Added:
        sizes.append(len(rows))
        return add(store, rows, *more, **named)

    monkeypatch.setattr(Store, "add_rows", counted)
    return sizes


def test_what_the_database_refuses_goes_to_quarantine_and_the_rest_is_stored(
    client: redis.Redis, store: Store, added: list[int]
) -> None:
    sql, reason = REFUSALS[store.engine.dialect.name]
    execute(store, sql)
    refused = {7: refused_body(7), 251: refused_body(251), 499: refused_body(499)}
    bodies = [refused.get(n, b"type=open&recipient=jan%%40example.nl&id=%d" % n) for n in range(500)]
    keep(client, [record(n, body=body) for n, body in enumerate(bodies)])
    done = Drain(client, store).run()
    assert_has(done, stored=500, events_stored=497, quarantined=3, doubles=0)
    assert stored_numbers(store) == [n for n in range(500) if n not in refused]
    assert [body for body, _ in quarantine(store)] == list(refused.values())
    assert all(reason in said for _, said in quarantine(store))
    assert (Consumer(client).batches(), Consumer(client).pending()) == (0, 0)
    assert len(added) < 60
    # Once more, as after a drain that was killed before it could acknowledge.
    keep(client, [record(n, body=body) for n, body in enumerate(bodies)])
    done = Drain(client, store).run()
    assert (done.stored, done.doubles, store.stored(), store.quarantined()) == (0, 500, 497, 3)


def test_what_a_trigger_of_postgresql_refuses_goes_to_quarantine(
    client: redis.Redis, postgres_server: Server
) -> None:
    store = Store.open(postgres_server.new_database("events", "template"))
    try:
        execute(store, REFUSING_FUNCTION)
        keep(client, [record(1), record(2, body=refused_body(2)), record(3, body=b"no form"), record(4)])
        assert Drain(client, store).run().quarantined == 2
        assert stored_numbers(store) == [1, 4]
        assert [body for body, _ in quarantine(store)] == [refused_body(2), b"no form"]
        assert "not this one" in quarantine(store)[0][1]
    finally:
        store.close()


def test_a_batch_that_is_refused_as_a_whole_ends_too(client: redis.Redis, store: Store, added: list[int]) -> None:
    execute(store, REFUSALS[store.engine.dialect.name][0])
    keep(client, [record(n, body=refused_body(n)) for n in range(64)])
    assert Drain(client, store).run().quarantined == 64
    assert (store.stored(), store.quarantined(), Consumer(client).batches()) == (0, 64, 0)
    assert len(added) <= 4 * 64


JSON = b"application/json"
#: Bodies that some database or some library is known to choke on.
ODD_BODIES = [
    (b"type=open&recipient=a%00b%40example.nl&id=%00&tags[]=%00&x=%00&fields[%00]=1", FORM_BYTES),
    (b"type=open%00&time=%00&profile=%00&description=%EF%BF%BE%00", FORM_BYTES),
    (b"type=click&original=%ED%A0%80&recipient=%FF%FE&tags[0]=%C3&useragent=%F4%90%80%80&%FF=%FF", FORM_BYTES),
    (b'{"type":"open","id":"\\ud800","recipient":"x\\udfff","tags":["\\udc80"],"\\ud83d":1}', JSON),
    (b'{"type":"open","id":"a\\u0000b","tags":["\\u0000"],"deep":{"\\u0000":["\\u0000"]}}', JSON),
    (
        b"type=delivery&code=99999999999999999999&profile=9223372036854775808&mailing=-1&database=" + b"9" * 500,
        FORM_BYTES,
    ),
    (b'{"type":"delivery","code":18446744073709551616,"profile":-9223372036854775809,"x":1e400,"y":-0.0}', JSON),
    (b'{"type":"delivery","code":9223372036854775807,"x":1E5,"y":' + b"9" * 5000 + b"}", JSON),
    (b'{"type":"open","code":true,"profile":1.5,"tags":{"a":1},"time":null,"recipient":["a",["b"]]}', JSON),
    (b"type=open&time=99999999999999999999&timestamp=9999-12-31+23%3A59%3A59", FORM_BYTES),
    (b"type=open&time=-1&timestamp=0000-00-00+00%3A00%3A00", FORM_BYTES),
    (b"type=open&time=4102444799", FORM_BYTES),
    (b"type=open&time=1e9&timestamp=-271821-04-20", FORM_BYTES),
    (b'{"type":"open","time":-62135596801,"timestamp":"0001-01-01T00:00:00+14:00"}', JSON),
    (b"type=bounce&id=1&mime=" + b"%0D%0AReceived%3A+from+caf%C3%A9" * 310_000, FORM_BYTES),  # 10 MB
    (b"type=bounce&recipient=" + b"x" * 1_000_000 + b"&id=" + b"y" * 1_000_000, FORM_BYTES),  # > index page
    (b"type=open&recipient=" + bytes(range(33, 256)).replace(b"&", b"").replace(b"%", b"") * 40, FORM_BYTES),
    (b"&".join(b"f%d=%d" % (n, n) for n in range(9_000)), FORM_BYTES),
    (b"a" + b"[x]" * 500 + b"=1&b" + b"[0]" * 14 + b"=1", FORM_BYTES),
    (b"", b""),
    (b"=&=&=", b"\xff;charset=\xff"),
]


def test_odd_bodies_are_stored_or_quarantined_and_hold_no_others_up(client: redis.Redis, store: Store) -> None:
    odd = [record(1000 + n, body=body, content_type=kind) for n, (body, kind) in enumerate(ODD_BODIES)]
    odd += [one._replace(delivery_id=bytes([0xFF, n]) + bytes(10)) for n, one in enumerate(odd[:2])]
    odd += [one._replace(delivery_id=bytes([7, n]) * 6, target=b"/\0\xff%00") for n, one in enumerate(odd)]
    good = [record(n) for n in range(len(odd))]
    keep(client, *([one, other] for one, other in zip(odd, good, strict=True)), odd[:5])
    done = Drain(client, store).run()
    assert (done.stored, done.doubles) == (2 * len(odd), 5)
    assert (Consumer(client).batches(), Consumer(client).pending(), Consumer(client).dead_batches()) == (0, 0, 0)
    assert store.stored() + store.quarantined() == 2 * len(odd)
    found = {event.delivery_id for event in store.find(Filter())}  # and can be read
    assert {one.delivery_id for one in good} <= found
    kept = found | {bytes(row.delivery_id) for row in store.rows(tables.quarantine)}
    assert kept == {one.delivery_id for one in odd + good}


# --- calls that are verified later ---


@pytest.fixture
def kept_apart(client: redis.Redis, store: Store) -> Callable[..., None]:
    """Have these in the table of unverified calls."""

    def kept(*records: Record) -> None:
        keep(client, [one._replace(flags=UNVERIFIED, headers=b"") for one in records])
        Drain(client, store).run()
        assert store.unverified() == len(records)

    return kept


@pytest.fixture
def unguarded(settings: Settings) -> Settings:
    """The operator takes any call now, so that none needs a key."""
    return settings.model_copy(update={"verify": "off"})


def test_what_the_database_refuses_of_verified_calls_goes_to_quarantine_too(
    unguarded: Settings, store: Store, kept_apart: Callable[..., None]
) -> None:
    execute(store, REFUSALS[store.engine.dialect.name][0])
    kept_apart(record(1), record(2, body=refused_body(2)), record(3, body=b"no form"), record(4))
    assert verify_once(unguarded) == 0
    assert stored_numbers(store) == [1, 4]
    assert [body for body, _ in quarantine(store)] == [refused_body(2), b"no form"]


def test_followers_are_told_of_calls_that_were_verified_later(
    client: redis.Redis, unguarded: Settings, kept_apart: Callable[..., None]
) -> None:
    kept_apart(record(1))
    heard = Announcements(client).listen(0.2)
    assert next(heard) == []
    assert verify_once(unguarded) == 0
    assert next(heard) == [record(1).delivery_id]


def test_a_verify_job_without_its_database_ends_with_one_line(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:geheim@127.0.0.1:1/d")
    assert verify_job() == -1
    assert len(caplog.records) == 1
    assert "127.0.0.1:1/d cannot be used" in caplog.text
    assert "Traceback" not in caplog.text
    assert "geheim" not in caplog.text


def test_deep_nesting_holds_nothing_up(client: redis.Redis, store: Store) -> None:
    levels = range(100, 1100)  # some can be decoded but not encoded again
    bodies = {n: b'{"a":' + b"[" * n + b"]" * n + b"}" for n in levels}
    keep(client, *([record(n, body=body, content_type=JSON)] for n, body in bodies.items()))
    assert Drain(client, store).run().stored == len(levels)
    assert store.stored() + store.quarantined() == len(levels)


def test_calls_that_come_one_by_one_are_gathered_for_one_commit(
    client: redis.Redis, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit costs the same for one call as for twenty, and on a small machine others need that processor."""
    pauses = []

    def more_comes(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            keep(client, [record(2)], [record(3)], [record(4)])

    monkeypatch.setattr(time, "sleep", more_comes)
    keep(client, [record(1)])
    assert_has(Drain(client, store).run(linger_ms=1), stored=4, batches=4)
    assert len(list(store.rows(commits))) == len(pauses) == 2
    assert all(0 <= pause <= drain.GATHER for pause in pauses)
    keep(client, [record(5)])
    Drain(client, store).run()  # somebody waits for it
    assert len(pauses) == 2


@pytest.mark.parametrize("waits", [True, False])
def test_a_drain_that_calls_trickle_into_ends_early_for_other_jobs_only(
    client: redis.Redis, store: Store, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    monkeypatch.setattr("workers.drain.desk.LOOK_EVERY", 0.0)
    scheduler = JobScheduler(client)
    scheduler.wake_drain()
    if waits:
        scheduler.wake_verify()
    came = 0

    def another_comes() -> bool:
        nonlocal came
        came += 1
        keep(client, [record(came)])
        return came == 20

    Drain(client, store, paused=another_comes).run(linger_ms=10_000)
    assert (came < 20) is waits


def test_one_drain_by_hand_needs_no_worker(client: redis.Redis, settings: Settings, store: Store) -> None:
    keep(client, [record(1), record(2)])
    keep(client, [record(3)])
    Consumer(client, "another").claim(1)
    done, left = drain_once(settings)
    assert (done.stored, left, stored_numbers(store)) == (1, 1, [3])
    assert client.keys("rq:*") == []


def test_a_full_server_can_be_drained(
    client: redis.Redis,
    settings: Settings,
    store: Store,
    fill_memory: Callable[[], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.drain.desk.REPORT_EVERY", 0.0)
    everything = drain.SIBLING_BATCHES + 100
    keep(client, *([record(n)] for n in range(everything)))
    assert Consumer(client).pending() == 0  # makes the group
    fill_memory()
    drain_once(settings)
    assert (store.stored(), Consumer(client).batches()) == (everything, 0)


def test_a_damaged_batch_in_a_full_server_stays_and_the_rest_is_stored(
    client: redis.Redis, settings: Settings, store: Store, fill_memory: Callable[[], object]
) -> None:
    keep(client, [record(1)])
    client.xadd(KEYS.stream, {"b": b"damaged"})
    keep(client, [record(2)])
    assert Consumer(client).pending() == 0  # makes the group
    fill_memory()
    drain_once(settings)
    assert stored_numbers(store) == [1, 2]
    assert Consumer(client).batches() + Consumer(client).dead_batches() == 1


def test_a_drain_whose_time_is_over_lets_another_go_on(client: redis.Redis, store: Store) -> None:
    keep(client, [record(1)])
    assert Drain(client, store).run(deadline=time.monotonic()).stored == 0
    assert [job.func_name for job in queue(client).jobs] == [DRAIN_JOB]


def test_a_drain_that_is_asked_to_stop_lets_another_go_on(
    client: redis.Redis, store: Store, request: pytest.FixtureRequest
) -> None:
    keep(client, [record(1)])
    request.addfinalizer(stop_flag.clear)
    stop_flag.request()
    assert Drain(client, store).run().stored == 0
    assert len(queue(client)) == 1


def test_a_long_backlog_wakes_one_sibling(client: redis.Redis, store: Store) -> None:
    keep(client, *([record(n)] for n in range(3 * drain.SIBLING_BATCHES)))
    assert Drain(client, store).run().stored == 3 * drain.SIBLING_BATCHES
    assert len(queue(client)) == 1


def test_a_drain_lets_the_next_batch_wake_a_worker(client: redis.Redis, store: Store) -> None:
    client.set(KEYS.wake, 1)
    Drain(client, store).run()
    assert client.exists(KEYS.wake) == 0


@pytest.fixture
def _signals() -> Iterator[None]:
    """A worker takes SIGINT and SIGTERM for itself."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals")
def test_the_job_runs_under_a_standard_worker(
    client: redis.Redis, settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", settings.redis)
    monkeypatch.setenv("DATABASE_URL", settings.database)
    monkeypatch.setattr(drain, "LINGER_MS", 1)
    keep(client, [record(1), record(2)])
    JobScheduler(client).enqueue_drain()
    worker = SimpleWorker([queue(client)], connection=client, serializer=JSONSerializer)
    worker.work(burst=True, logging_level=None)
    assert FailedJobRegistry(queue=queue(client)).get_job_ids() == []
    assert (stored_numbers(store), Consumer(client).batches(), len(queue(client))) == ([1, 2], 0, 0)


def test_handlers_are_woken_before_a_batch_is_acknowledged(
    client: redis.Redis, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise redis.ConnectionError("gone")

    keep(client, [record(1)])
    monkeypatch.setattr(Consumer, "ack", refuse)
    with pytest.raises(redis.ConnectionError):
        Drain(client, store, has_handlers=True).run()
    assert client.exists(KEYS.handoffs)
    assert len(Queue("handlers", connection=client, serializer=JSONSerializer)) == 1
