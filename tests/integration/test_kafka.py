"""Events in a topic of Kafka: the mock cluster that comes with librdkafka, over loopback."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from confluent_kafka import Consumer, KafkaError, Producer

from ingest.errors import SettingsError, Unavailable
from ingest.settings import Settings
from tests.support.builders import event
from tests.support.cli import findings
from tests.support.running import PATIENCE, all_running, answers, free_port, until
from workers.handlers.configured import all_handlers
from workers.handlers.kafka import BATCH, Topic, _failure
from workers.handlers.registry import GiveUp, TryLater
from workers.store.schema import upgrade
from workers.store.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Its servers, as a URL has them; it ends with the producer that has it."""
    host = Producer({"bootstrap.servers": "x", "test.mock.num.brokers": 3, "log_level": 0})
    brokers = host.list_topics(timeout=30).brokers.values()
    yield ",".join(f"{one.host}:{one.port}" for one in brokers)
    host.flush(1)


def read(cluster: str, topic: str, number: int) -> list[tuple[str, dict[str, object], dict[str, str], int]]:
    consumer = Consumer({"bootstrap.servers": cluster, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    found: list[tuple[str, dict[str, object], dict[str, str], int]] = []
    while len(found) < number:
        message = consumer.poll(60)
        assert message is not None
        if message.error() is not None:
            continue
        headers = {name: value.decode() for name, value in cast("list[tuple[str, bytes]]", message.headers())}
        key, value = cast(bytes, message.key()), cast(bytes, message.value())
        found.append((key.decode(), json.loads(value), headers, message.partition() or 0))
    consumer.close()
    return found


def test_all_events_arrive_those_of_a_message_in_one_partition(cluster: str) -> None:
    topic = Topic.of(f"kafka://{cluster}/arriving")
    events = [event(number, message_id=f"m{number % 7}") for number in range(1, 60)]
    odd = event(60, message_id=None, recipient="Zoë", payload={"lone": "\udcff", "nul": "\x00"})
    topic.write([*events, odd])
    found = read(cluster, "arriving", 60)
    assert {headers["delivery_id"] for _, _, headers, _ in found} == {
        one.delivery_id.hex() for one in [*events, odd]
    }
    assert all(len({part for key, _, _, part in found if key == f"m{one}"}) == 1 for one in range(7))
    (last,) = (value for key, value, _, _ in found if key == odd.delivery_id.hex())
    assert (last["recipient"], last["type"]) == ("Zoë", "open")
    assert last["payload"] == {"lone": "\ufffd", "nul": "\ufffd"}


def test_what_the_topic_takes_arrives_however_large(cluster: str) -> None:
    Topic.of(f"kafka://{cluster}/roomy").write([event(1, description="x" * 2_000_000)])
    assert len(str(read(cluster, "roomy", 1)[0][1]["description"])) == 2_000_000


def test_what_is_too_large_is_given_up_and_the_rest_is_not(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.handlers.kafka.MAX_MESSAGE", 1_000_000)
    topic = Topic.of(f"kafka://{cluster}/large")
    with pytest.raises(GiveUp, match="MSG_SIZE_TOO_LARGE"):
        topic.write([event(1), event(2, description="x" * 2_000_000)])
    topic.write([event(1)])
    assert any(value["delivery_id"] == event(1).delivery_id.hex() for _, value, _, _ in read(cluster, "large", 1))


def test_who_does_not_confirm_in_time_gets_it_again() -> None:
    topic = Topic.of("kafka://127.0.0.1:1/x#timeout=3")
    with pytest.raises(TryLater, match="did not confirm"):
        topic.write([event(1), event(2)])
    assert topic.producer is None


def test_a_client_that_cannot_be_made_fails_no_event() -> None:
    topic = Topic.of("kafka+ssl://127.0.0.1:1/x?ca=/nowhere.pem")
    with pytest.raises(TryLater, match="_INVALID_ARG"):
        topic.write([event(1)])
    with pytest.raises(Unavailable, match="_INVALID_ARG"):
        topic.try_out()


def test_failures_are_told_without_the_words_of_others() -> None:
    assert isinstance(_failure(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "geheim")), TryLater)
    assert "geheim" not in str(_failure(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "geheim")))


def test_check_really_asks(
    cluster: str, sqlite_url: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"DATABASE_URL": sqlite_url, "INGEST_DATA_DIR": f"{tmp_path}"}
    servers = cluster.partition(",")[0]
    found = findings(environ | {"INGEST_KAFKA_URL": f"kafka://{servers}/arriving"})[1]["kafka"]
    assert (found[0], "partitions" in found[1]) == ("ok", True)
    monkeypatch.setattr("workers.handlers.kafka.PATIENCE", 0.5)
    away = findings(environ | {"INGEST_KAFKA_URL": "kafka://u:geheim@127.0.0.1:1/x"})[1]["kafka"]
    assert (away[0], "does not answer" in away[1], "geheim" in away[1]) == ("wrong", True, False)


@pytest.mark.parametrize(
    "url",
    ["kafka:9092", "kafka://h/t", "kafka://h:1/", "kafka://h:1/t?x=1", "kafka://u:geheim@h:1/t?mechanism=geheim2",
     "kafka://h:1/t#types=x"],
)  # fmt: skip  # a list to be read across
def test_a_url_that_cannot_be_used_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        all_handlers(Settings.read({"INGEST_KAFKA_URL": url}))
    assert "geheim" not in str(refused.value)


def test_a_url_says_how_to_sign_in_and_what_it_wants() -> None:
    url = "kafka+ssl://u:p%40ss@a:1,b:2/t?mechanism=scram-sha-256&ca=/x.pem#types=open&timeout=60"
    handler = all_handlers(Settings.read({"INGEST_KAFKA_URL": url}))["kafka"]
    assert (handler.batch, sorted(handler.types), handler.timeout) == (BATCH, ["open"], 60)
    assert Topic.of(url).config == {
        "security.protocol": "SASL_SSL", "ssl.ca.location": "/x.pem", "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": "u", "sasl.password": "p@ss",
    }  # fmt: skip  # a list to be read across
    assert "p@ss" not in repr(Topic.of(url))


def test_each_call_that_an_endpoint_took_is_in_the_topic_once(
    cluster: str, redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    port = free_port()
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "PORT": f"{port}", "INGEST_VERIFY": "off"}
    environ["INGEST_KAFKA_URL"] = f"kafka://{cluster}/whole-way"
    upgrade(sqlite_url)
    commands = {"web": ("serve",), "worker": ("worker",), "handlers": ("worker", "--queue", "handlers")}
    with all_running(commands, environ, tmp_path):
        until(lambda: answers(port), "the endpoint", 3 * PATIENCE)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for number in range(50):
            connection.request("POST", "/copernica", f"type=open&id={number}")
            with connection.getresponse() as answer:
                assert answer.status == 200
                answer.read()
        connection.close()
        found = read(cluster, "whole-way", 50)
        with Store.open(sqlite_url) as store:
            assert store.stored() == 50
    assert {key for key, _, _, _ in found} == set(map(str, range(50)))
    assert len({headers["delivery_id"] for _, _, headers, _ in found}) == 50
