"""The built-in handler that writes events to a topic of Kafka.

`INGEST_KAFKA_URL=kafka+ssl://user:password@one:9093,two:9093/topic?mechanism=SCRAM-SHA-512&ca=/etc/ca.pem#types=open`;
`kafka://` goes without TLS. Options come after `#`, as those of forward targets. A message's value is the event as
`ingest events --format jsonl` prints it. Its key is the message id, so that the events of one message are in one
partition, in the order in which they were handed on; an event without one has its delivery id. The producer is
idempotent and waits for all replicas (`acks=all`).

    every message is confirmed                 done
    one is too large                           tried again in halves; alone, a dead letter at once
    anything else, or no answer                all of them later; those that were confirmed come twice
"""

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

from confluent_kafka import KafkaError, KafkaException, Producer

from ingest.copernica.events import Event
from ingest.errors import SettingsError, Unavailable
from ingest.settings import Settings
from workers.handlers.forward import Options
from workers.handlers.registry import GiveUp, Handler, TryLater
from workers.operations.exporting import as_row
from workers.store.rows import json_text

log = logging.getLogger(__name__)

#: The name of the handler.
NAME = "kafka"
#: Events that are written together: a failure has all of them written again.
BATCH = 1_000
#: Seconds for which the library is waited for at a time, so that a time limit can break in.
SLICE = 0.2
#: Seconds before the handler's own time limit at which messages that are not confirmed are given up.
MARGIN = 2.0
#: Seconds that `ingest check` waits.
PATIENCE = 10.0
#: Ways to sign in.
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
#: Bytes that a message may have before Kafka is asked: the topic's own limit decides, not the library's 1 MB.
MAX_MESSAGE = 100 * 1024 * 1024
#: What is wrong with the message rather than with Kafka.
ABOUT_MESSAGE = frozenset(
    {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE, KafkaError.INVALID_RECORD, KafkaError.INVALID_MSG}
)

_URL = re.compile(r"kafka(\+ssl)?://(?:([^/?#]*)@)?([^/?#@]+)/([^/?#]+)(?:\?([^#]*))?(?:#(.*))?", re.IGNORECASE)
_SERVER = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


@dataclass(slots=True)
class Topic:
    """A topic, and the producer for it while a job runs."""

    servers: str
    name: str
    config: dict[str, str] = field(repr=False)
    options: Options
    producer: Producer | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str) -> Self:
        """The topic of a URL.

        Raises:
            SettingsError: it, or one of its options, is invalid; the message does not quote it.
        """
        match = _URL.fullmatch(url)
        if match is None or not url.isprintable():
            raise SettingsError("INGEST_KAFKA_URL is not a URL: write kafka+ssl://user:password@host:9093/topic.")
        tls, userinfo, servers, topic, query, fragment = match.groups()
        if not all(_SERVER.fullmatch(one) for one in servers.split(",")) or not _TOPIC.fullmatch(topic):
            raise SettingsError(
                "INGEST_KAFKA_URL: write each server as host:port, with commas, and the topic behind a slash."
            )
        try:
            config = _security(bool(tls), userinfo, dict(parse_qsl(query or "")))
            options = Options.parse(fragment or "")
        except ValueError as error:
            raise SettingsError(f"INGEST_KAFKA_URL is invalid: {error}.") from None
        return cls(servers, topic, config, options)

    @property
    def shown(self) -> str:
        """The topic for messages: without anything secret."""
        return f"kafka://{self.servers}/{self.name}"

    def write(self, events: Sequence[Event]) -> None:
        """Write events; returns when all of them are confirmed.

        Raises:
            TryLater: Kafka has a problem, or cannot be reached.
            GiveUp: it does not take one of these events.
        """
        until = time.monotonic() + max(self.options.timeout - MARGIN, SLICE)
        failed: list[KafkaError] = []

        def report(error: KafkaError | None, _message: Any) -> None:
            if error is not None:
                failed.append(error)

        try:
            producer = self._producer()
            for event in events:
                key = event.message_id or event.delivery_id.hex()
                self._produce(producer, key, json_text(as_row(event)), event, report, until)
            while (left := producer.flush(SLICE)) and time.monotonic() < until and not failed:
                pass
        except (KafkaException, BufferError, TimeoutError) as error:
            self._forget()
            raise _failure(error) from None
        if failed or left:
            self._forget()
            raise _failure(failed[0] if failed else TimeoutError())

    def _produce(self, producer: Producer, key: str, value: str, event: Event, report: Any, until: float) -> None:
        headers: Any = {"delivery_id": event.delivery_id.hex(), "type": event.type.value}
        while True:
            try:
                producer.produce(
                    self.name,
                    key=key.encode("utf-8", "replace"),
                    value=value.encode("utf-8", "replace"),
                    headers=headers,
                    on_delivery=report,
                )
            except BufferError:  # its queue is full: let it send
                if time.monotonic() > until:
                    raise
                producer.poll(SLICE)
            else:
                producer.poll(0)
                return

    def _producer(self) -> Producer:
        if self.producer is None:
            self.producer = Producer(
                {
                    "bootstrap.servers": self.servers,
                    "client.id": "copernica-ingest",
                    "enable.idempotence": True,
                    "acks": "all",
                    "compression.type": "zstd",
                    "linger.ms": 5,
                    "message.max.bytes": MAX_MESSAGE,
                    "message.timeout.ms": max(1000, int((self.options.timeout - MARGIN) * 1000)),
                    "log_level": 2,  # what matters comes with the reports
                    **self.config,
                },
                logger=log,
            )
        return self.producer

    def _forget(self) -> None:
        """Drop a producer with all that it has not sent: an idempotent one may be of no use after an error."""
        if self.producer is not None:
            self.producer.purge()
            self.producer.poll(0)
            self.producer = None

    async def close(self) -> None:
        """Let the producer go; everything is confirmed by then."""
        self.producer = None

    def try_out(self) -> int:
        """Ask for the topic; returns how many partitions it has.

        Raises:
            Unavailable: Kafka does not answer, or there is no such topic.
        """
        try:
            producer = self._producer()
            found = producer.list_topics(self.name, PATIENCE).topics[self.name]
        except KafkaException as error:
            raise Unavailable(
                f"{self.shown} does not answer ({_code(error)}): see that it runs and INGEST_KAFKA_URL is right."
            ) from None
        finally:
            self._forget()
        if found.error is not None:
            raise Unavailable(
                f"{self.shown} cannot be used ({found.error.name()}): make the topic, or name another."
            )
        return len(found.partitions)


def _security(tls: bool, userinfo: str | None, query: dict[str, str]) -> dict[str, str]:
    """How a connection is secured, in the library's words."""
    mechanism, ca = query.pop("mechanism", "PLAIN").upper(), query.pop("ca", "")
    if query:
        raise ValueError(f"{', '.join(query)} is neither mechanism nor ca")
    config = {"security.protocol": "SSL" if tls else "PLAINTEXT"}
    if tls and ca:
        config["ssl.ca.location"] = ca
    if userinfo is None:
        return config
    if mechanism not in MECHANISMS:
        raise ValueError(f"mechanism should be one of {', '.join(MECHANISMS)}")
    user, _, password = userinfo.partition(":")
    return config | {
        "security.protocol": "SASL_SSL" if tls else "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
        "sasl.username": unquote(user),
        "sasl.password": unquote(password),
    }


def _failure(error: Exception | KafkaError) -> Exception:
    """What to tell whoever calls the handler; never the library's own text, which may hold anything."""
    cause = error.args[0] if isinstance(error, KafkaException) else error
    if isinstance(cause, KafkaError):
        if cause.code() in ABOUT_MESSAGE:
            return GiveUp(f"Kafka does not take it ({cause.name()})")
        return TryLater(f"Kafka did not confirm it ({cause.name()})")
    return TryLater("Kafka did not confirm it in time")


def _code(error: KafkaException) -> str:
    cause = error.args[0]
    return cause.name() if isinstance(cause, KafkaError) else type(error).__name__


def handlers(settings: Settings) -> list[Handler]:
    """The handler, if there is a topic.

    Raises:
        SettingsError: its URL is invalid.
    """
    if settings.kafka_url is None:
        return []
    topic = Topic.of(settings.kafka_url)
    return [topic.options.handler(NAME, topic.write, BATCH, topic.close)]
