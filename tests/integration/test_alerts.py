"""Alerts reach their receiver, whatever that does, and say nothing that they should not."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from email import message_from_string
from email.message import Message
from pathlib import Path
from unittest.mock import patch

import orjson
import pytest
import redis
import stamina
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler
from aiosmtpd.smtp import AuthResult, Envelope, Session
from rq.suspension import suspend

from ingest.settings import Settings
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.reports import EndpointReport
from tests.support.builders import event
from tests.support.cli import typed
from tests.support.http import Script, Seen, listening
from tests.support.mail import Mailbox, mail_server
from tests.support.running import free_port
from tests.support.tls import Authority
from workers.alerts import delivery
from workers.alerts.look import look, redis_is_away, trial
from workers.alerts.silence import numbers, unusual
from workers.store.store import Store

PATH = "/geheim-pad?token=geheim-teken"  # behind what the receiver calls itself


@pytest.fixture(autouse=True)
def _at_once() -> Iterator[None]:
    stamina.set_testing(True, attempts=2, cap=True)
    yield
    stamina.set_testing(False)


@pytest.fixture
def receiver() -> Iterator[Script]:
    with listening() as script:
        yield script


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_server() as box:
        yield box


@pytest.fixture
def environ(redis_url: str, sqlite_url: str, receiver: Script, tmp_path: Path) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "DATABASE_URL": sqlite_url,
        "INGEST_DATA_DIR": str(tmp_path),
        "INGEST_ALERT_URL": receiver.url + PATH,
        "INGEST_SPOOL_DIR": "off",
    }


def told(receiver: Script) -> list[tuple[str, str]]:
    news = [(said["state"], said["code"]) for said in (orjson.loads(seen.body) for seen in receiver.seen)]
    receiver.seen.clear()
    return news


def report(client: redis.Redis, refused: int = 0) -> None:
    Heartbeats(client, "web:host:1").report(EndpointReport("on", 9, 0, {"too-old": refused}, 0, 1.0, "closed"))


def test_what_is_wrong_is_told_once_and_when_it_is_over(
    environ: dict[str, str], receiver: Script, client: redis.Redis
) -> None:
    settings = Settings.read(environ)
    report(client)
    suspend(client)
    look(settings, is_worker=True)
    assert told(receiver) == []
    look(settings, is_worker=True)
    assert told(receiver) == [("begun", "workers-suspended")]
    for _ in range(2):
        look(settings, is_worker=False)
    assert told(receiver) == []
    client.delete("rq:suspended")
    for _ in range(3):
        look(settings, is_worker=True)
    assert sorted(told(receiver)) == [("begun", "no-worker"), ("over", "workers-suspended")]


def test_refusals_that_rise_and_dead_letters_are_told(
    environ: dict[str, str], receiver: Script, client: redis.Redis
) -> None:
    settings = Settings.read(environ)
    for refused in (5000, 5099, 5150, 5150):
        report(client, refused)
        look(settings, is_worker=True)
    assert ("begun", "refusals-rising") in told(receiver)


def test_an_endpoint_without_the_database_takes_nothing_for_over(
    environ: dict[str, str], receiver: Script, client: redis.Redis, sqlite_url: str
) -> None:
    settings, blind = Settings.read(environ), Settings.read(environ | {"DATABASE_URL": "sqlite:////no/where.db"})
    with Store.open(sqlite_url) as store, store.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO quarantine VALUES (x'01', '2026-11-26 00:00:00', '', '', x'', 'x')"
        )
    for _ in range(2):
        look(settings, is_worker=True)
    assert ("begun", "quarantined") in told(receiver)
    for _ in range(3):
        look(blind, is_worker=False)
    assert told(receiver) == []


def test_an_alert_says_what_to_do_and_no_secret(
    environ: dict[str, str], receiver: Script, client: redis.Redis
) -> None:
    settings = Settings.read(
        environ | {"REDIS_URL": environ["REDIS_URL"], "INGEST_FORWARD_SECRET": "geheim-sleutel"}
    )
    redis_is_away(settings, is_over=False)
    redis_is_away(settings, is_over=True)
    first, second = (orjson.loads(seen.body) for seen in receiver.seen)
    assert (first["state"], first["code"], first["level"]) == ("begun", "redis-unreachable", "alarm")
    assert first["text"].startswith("Alarm: redis-unreachable: Redis does not serve this endpoint")
    assert first["remedy"] in first["text"]
    assert first["runbook"] == "docs/runbook.md#redis-unreachable"
    assert second["state"] == "over"
    assert "geheim" not in str(first) + str(second)


# --- receivers ---


def refusing(status: int) -> Callable[[Script], None]:
    def refuse(script: Script) -> None:
        script.answer = lambda _: (status, {})

    return refuse


@pytest.mark.parametrize(
    ("status", "attempts", "said"),
    [(200, 1, ""), (204, 1, ""), (302, 1, "answered 302"), (403, 1, "answered 403"), (503, 2, "answered 503")],
)
def test_what_may_pass_is_tried_again_and_no_redirect_is_followed(
    receiver: Script, status: int, attempts: int, said: str
) -> None:
    def answer(seen: Seen) -> tuple[int, dict[str, str]]:
        return status, {"Location": "/elsewhere"}

    receiver.answer = answer
    troubles = delivery.deliver(Settings.read({"INGEST_ALERT_URL": receiver.url + PATH}), trial())
    assert [seen.path for seen in receiver.seen] == ["/old.php" + PATH] * attempts
    assert troubles == ([f"INGEST_ALERT_URL: the receiver {said}"] if said else [])


@pytest.mark.parametrize("behaviour", ["silent", "nonsense", "endless", "closed"])
def test_a_hostile_receiver_costs_no_more_than_its_time(
    behaviour: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "TIMEOUT", 0.2)

    async def hostile(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if behaviour == "nonsense":
                writer.write(b"\x1b[31m" * 10_000)
            elif behaviour == "endless":
                writer.write(b"HTTP/1.1 200 OK\r\n")
                while True:
                    writer.write(b"X-Endless: " + b"x" * 1000 + b"\r\n")
                    await writer.drain()
            elif behaviour == "silent":
                await asyncio.sleep(2)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def tried() -> list[str]:
        async with await asyncio.start_server(hostile, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            settings = Settings.read({"INGEST_ALERT_URL": f"http://127.0.0.1:{port}{PATH}"})
            return await asyncio.to_thread(delivery.deliver, settings, trial())

    caplog.set_level(logging.INFO)
    (trouble,) = asyncio.run(tried())
    assert trouble.startswith("INGEST_ALERT_URL: the receiver ")
    assert "geheim" not in trouble + caplog.text


def test_a_mail_reaches_all_who_are_to_have_it(mailbox: Mailbox) -> None:
    route = f"smtp://127.0.0.1:{mailbox.port}?from=i@example.nl&to=a@example.nl,b@example.nl"
    assert delivery.deliver(Settings.read({"INGEST_ALERT_SMTP": route}), trial()) == []
    assert mailbox.recipients == ["a@example.nl", "b@example.nl"]
    mail = message_from_string(mailbox.mails[0])
    assert (mail["From"], mail["To"], mail["Subject"]) == (
        "i@example.nl",
        "a@example.nl, b@example.nl",
        "[ingest] Test",
    )
    assert "nothing is wrong" in str(mail.get_payload(decode=True))


@pytest.mark.parametrize(
    ("answer", "said"),
    [("450 later", "answered 450"), ("550 geheim", "answered 550"), ("250 ok", "no encryption")],
)
def test_a_mail_server_that_takes_nothing_is_said_without_its_words(
    mailbox: Mailbox, answer: str, said: str
) -> None:
    mailbox.answer = answer
    user = "user:geheim@" if said == "no encryption" else ""
    route = f"smtp://{user}127.0.0.1:{mailbox.port}?from=i@example.nl&to=a@example.nl"
    (trouble,) = delivery.deliver(Settings.read({"INGEST_ALERT_SMTP": route}), trial())
    assert said in trouble
    assert "geheim" not in trouble
    assert mailbox.mails == []


def test_a_mail_server_that_does_not_come_to_an_end_is_left(mailbox: Mailbox) -> None:
    mailbox.answer = "250-and\r\n" * 1000 + "250 ok"
    route = f"smtp://127.0.0.1:{mailbox.port}?from=i@example.nl&to=a@example.nl"
    (trouble,) = delivery.deliver(Settings.read({"INGEST_ALERT_SMTP": route}), trial())
    assert "the mail server does not take it" in trouble
    assert mailbox.mails == []


class Noted(MessageHandler):
    """What it is sent, and whether that was encrypted."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[tuple[str, bool]] = []

    def prepare_message(self, session: Session, envelope: Envelope) -> Message:
        self.mails.append((envelope.rcpt_tos[0], session.ssl is not None))
        return super().prepare_message(session, envelope)

    def handle_message(self, message: Message) -> None:
        """Nothing more."""


@pytest.fixture
def starttls(tmp_path: Path) -> Iterator[tuple[Noted, int, Authority]]:
    """A mail server that offers STARTTLS and takes passwords; the authority of its certificate is its own."""
    authority = Authority(tmp_path)
    identity = authority.identity("localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(identity.certificate, identity.key)
    noted = Noted()
    taken = AuthResult(success=True)
    server = Controller(
        noted, hostname="127.0.0.1", port=free_port(), tls_context=context, authenticator=lambda *_: taken
    )
    server.start()
    yield noted, server.port, authority
    server.stop()


def test_mail_is_encrypted_where_the_server_can_whoever_signed_its_certificate(
    starttls: tuple[Noted, int, Authority],
) -> None:
    noted, port, _ = starttls
    route = f"smtp://127.0.0.1:{port}?from=i@example.nl&to=a@example.nl"
    assert delivery.deliver(Settings.read({"INGEST_ALERT_SMTP": route}), trial()) == []
    assert noted.mails == [("a@example.nl", True)]


def test_a_password_is_for_a_server_only_whose_certificate_is_trusted(
    starttls: tuple[Noted, int, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    noted, port, authority = starttls
    settings = Settings.read(
        {"INGEST_ALERT_SMTP": f"smtp://user:geheim@127.0.0.1:{port}?from=i@example.nl&to=a@example.nl"}
    )
    (trouble,) = delivery.deliver(settings, trial())
    assert "signed by nobody whom this machine trusts" in trouble
    assert noted.mails == []
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    assert delivery.deliver(settings, trial()) == []
    assert noted.mails == [("a@example.nl", True)]


def test_an_alert_can_be_tried(receiver: Script, mailbox: Mailbox) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"smtp://127.0.0.1:{closed.getsockname()[1]}?from=i@example.nl&to=a@example.nl"
        done = typed(
            "alert", "test", environ={"INGEST_ALERT_URL": receiver.url + PATH, "INGEST_ALERT_SMTP": nowhere}
        )
    assert (done.exit_code, done.stdout) == (1, "INGEST_ALERT_URL: taken.\n")
    assert "INGEST_ALERT_SMTP: the mail server does not take it (ConnectionRefusedError)." in done.stderr
    assert typed("alert", "test", environ={}).exit_code == 2
    assert "geheim" not in done.output
    (seen,) = receiver.seen
    assert orjson.loads(seen.body)["state"] == "test"


def test_who_tells_that_redis_is_away_says_whether_anybody_took_it(receiver: Script, mailbox: Mailbox) -> None:
    receiver.answer = lambda _: (403, {})
    only_url = {"INGEST_ALERT_URL": receiver.url + PATH}
    by_mail = {"INGEST_ALERT_SMTP": f"smtp://127.0.0.1:{mailbox.port}?from=i@example.nl&to=a@example.nl"}
    assert not redis_is_away(Settings.read(only_url), is_over=False)
    assert redis_is_away(Settings.read(only_url | by_mail), is_over=False)
    with patch("signal.alarm"):  # that of this process ends the test
        assert typed("alert", "look", "--redis-is-away", environ=only_url).exit_code == 1
        assert typed("alert", "look", "--redis-is-away", environ=only_url | by_mail).exit_code == 0


# --- silence, in both databases ---


def test_the_hours_of_the_weeks_before_are_what_is_compared(store: Store) -> None:
    now = 1_795_165_200 + 30 * 60  # 2026-11-20 09:30 UTC
    week = 7 * 24 * 3600
    stored = [
        event(number, occurred_at=(now - weeks * week - hours * 3600) * 1_000_000)
        for number, (weeks, hours) in enumerate((weeks, hours) for weeks in (1, 2, 3, 4) for hours in range(-1, 6))
    ]
    store.add(stored)
    found = numbers(store, now)
    assert sum(found.values()) == len(stored)
    assert {hour.hour for hour in found} == {4, 5, 6, 7, 8, 9, 10}
    assert unusual(store, now - 3500, now) is None
    said = unusual(store, now - 3700, now)
    assert said == "No call has come in for 62 min: at this hour of the week it is usually 60 min at most."
