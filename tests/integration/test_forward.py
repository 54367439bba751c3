"""Calls that are passed on to a script that exists already: what it is sent, and what becomes of its answers."""

import base64
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from threading import Barrier, Event
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from sqlalchemy import text

from ingest.batch import Record, unpack
from ingest.copernica.api import retry_after
from ingest.copernica.header_fields import HeaderFields, pack_headers
from ingest.errors import SettingsError
from ingest.settings import Settings
from ingest.stream.keys import Keys
from tests.support.http import Answer, Script, Seen, listening
from tests.support.running import free_port, until
from tests.support.stream import let_pass
from workers.handlers import configured, forward, jobs, throttle
from workers.handlers.throttle import TargetBreaker
from workers.handlers.work_queue import WorkQueue
from workers.store.schema import upgrade
from workers.store.store import Store

pytestmark = pytest.mark.slow

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b"type=open&id=5fd2&recipient=jan%40example.nl&ip=192.0.2.7&note=%E2%82%AC+%ff&time=1795165964"
FORM = b"application/x-www-form-urlencoded"
#: The time of all these tests, in seconds.
NOW = 1_795_165_964


@pytest.fixture
def script() -> Iterator[Script]:
    with listening() as script:
        yield script


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a test takes, no time passes between a failure and a look at when it is tried again."""
    monkeypatch.setattr(WorkQueue, "_now", staticmethod(lambda later=0.0: NOW * 10**6 + int(later * 1e6)))
    monkeypatch.setattr(retry_after, "time", SimpleNamespace(time=lambda: NOW))


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Each test reads its own settings."""
    configured.forget_handlers()
    yield
    configured.forget_handlers()


@dataclass
class Site:
    """One installation whose jobs run in this process."""

    environ: dict[str, str]
    store: Store
    monkeypatch: pytest.MonkeyPatch
    name: str = ""

    def forward_to(self, url: str, **more: str) -> None:
        self.environ |= {"INGEST_FORWARD_URL": url, **more}
        for name, value in self.environ.items():
            self.monkeypatch.setenv(name, value)
        configured.forget_handlers()
        (self.name,) = configured.known_handlers(Settings.read())

    def give(self, *records: Record) -> None:
        with self.store.writing() as connection:
            WorkQueue(self.store).give(connection, self.name, records)

    def work(self) -> dict[str, int]:
        return jobs.handle_job(self.name)

    def waiting(self) -> list[tuple[int, float, list[Record]]]:
        """What is to be tried again: failures so far, seconds until then, calls."""
        with self.store.reading() as connection:
            rows = connection.execute(text("SELECT attempt, due_at, packed FROM handoffs ORDER BY id")).all()
        return [(row.attempt, row.due_at / 1e6 - NOW, unpack(bytes(row.packed))) for row in rows]

    def dead(self) -> dict[bytes, str]:
        with self.store.reading() as connection:
            rows = connection.execute(text("SELECT delivery_id, error FROM dead_letters")).all()
        return {bytes(row.delivery_id): row.error for row in rows}

    def make_due(self) -> None:
        """As if the time of everything had come."""
        with self.store.writing() as connection:
            connection.execute(text("UPDATE handoffs SET due_at = 0"))


@pytest.fixture
def site(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    url = f"sqlite:///{tmp_path}/events.db"
    upgrade(url)
    with closing(Store.open(url)) as store:
        yield Site({"REDIS_URL": redis_url, "DATABASE_URL": url}, store, monkeypatch)


def call(number: int, body: bytes = BODY) -> Record:
    return Record(number.to_bytes(12, "big"), 1_795_165_964_250_000, b"/copernica", FORM, body)


def targets(url: str, secret: str | None = None) -> list[Any]:
    environ = {"INGEST_FORWARD_URL": url, **({"INGEST_FORWARD_SECRET": secret} if secret is not None else {})}
    return forward.handlers(Settings.read(environ))


# --- what is written behind the # ---


def test_options_stand_behind_the_hash_and_are_never_sent() -> None:
    one, other = targets(
        "https://example.nl/old.php?a=1#types=open|click&rate=600/m&concurrency=7&timeout=2.5, http://other.nl"
    )
    assert one.name == "forward:example.nl/old.php"
    assert one.types == {"open", "click"}
    assert (one.rate, one.concurrency, one.timeout) == (10.0, 7, 2.5)
    assert str(one.call.__self__.url) == "https://example.nl/old.php?a=1"
    assert "unknown" in other.types
    assert (other.rate, other.concurrency, other.timeout) == (None, forward.CONCURRENCY, 30.0)
    assert targets("") == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.nl/x",
        "example.nl/x",
        "http:///x",
        "https://",
        "http://[::1/x",
        "http://example.nl:99999/x",
        "http://e.nl/#types=opened",
        "http://e.nl/#rate=fast",
        "http://e.nl/#rate=0/s",
        "http://e.nl/#concurrency=0",
        "http://e.nl/#concurrency=many",
        "http://e.nl/#timeout=0",
        "http://e.nl/#timeout=-1",
        "http://e.nl/#speed=9",
        "http://e.nl/#timeout=nan",
        "http://e.nl/#timeout=inf",
        "http://a\tb.nl/",
        "http://a b.nl/",
        "http://u:12/geheim@e.nl/",
        "http://u:12?geheim@e.nl/",
        "http://u:12#geheim@e.nl/",
        "http://u:p@geheim/x@e.nl/",
        "http://u:geheim/x@e.nl/#rate=1/s",
        "http://geheim%3Au:p@e.nl/",
        "http://:80/?token=geheim",
        "http://e.nl:geheim/",
    ],
)
def test_what_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="INGEST_FORWARD_URL") as refused:
        targets(url)
    assert "\n" not in str(refused.value)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_é", "not base64!", "whsec_a", "geheim, heel geheim"])
def test_a_secret_that_is_not_base64_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(SettingsError, match="INGEST_FORWARD_SECRET") as refused:
        targets("http://example.nl/", secret)
    assert secret.removeprefix("whsec_") in ("", "a") or secret not in str(refused.value)


@pytest.mark.parametrize("url", ["http://u:geheim@example.nl/#rate=fast", "ftp://u:geheim@example.nl/"])
def test_a_password_in_the_url_is_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        targets(url)
    assert "geheim" not in str(refused.value)


def test_two_targets_are_two_handlers_or_a_mistake() -> None:
    settings = Settings.read({"INGEST_FORWARD_URL": "http://127.0.0.1:1/a.php,http://127.0.0.1:2/a.php"})
    try:
        found = configured.all_handlers(settings)
    except SettingsError:
        return
    assert len(found) == 2


# --- what is sent ---


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("/a%2Fb/%7Ec?sig=a%2Fb%7Ec&x=%c3%a9+%20;|{}'\"", None),
        ("/a/../b/./c//d?", None),
        ("/%zz?a==&&#", "/%zz?a==&&"),
        ("?sig=1", "/?sig=1"),
        ("", "/"),
        ("/é x?q=ö%20", "/%C3%A9%20x?q=%C3%B6%20"),
    ],
)
def test_the_target_is_called_as_it_is_written(site: Site, script: Script, written: str, sent: str | None) -> None:
    site.forward_to(script.url.removesuffix("/old.php") + written)
    site.give(call(1))
    assert site.work()["done"] == 1
    (seen,) = script.seen
    assert seen.path == (written if sent is None else sent)
    assert seen.headers["host"] == script.url.split("/")[2]


@pytest.mark.parametrize(
    ("userinfo", "credentials"),
    [("u:p%40%2F%C3%A9", b"u:p@/\xc3\xa9"), ("u", b"u:"), (":p:q", b":p:q"), ("u:p@q", b"u:p@q")],
)
def test_a_name_and_a_password_in_the_url_are_sent_as_such(
    site: Site, script: Script, userinfo: str, credentials: bytes
) -> None:
    site.forward_to(script.url.replace("//", f"//{userinfo}@"))
    assert site.name == f"forward:{script.url.removeprefix('http://')}"
    site.give(call(1))
    site.work()
    kind, _, encoded = script.seen[0].headers["authorization"].partition(" ")
    assert (kind, base64.b64decode(encoded)) == ("Basic", credentials)


def test_every_header_that_copernica_signed_is_passed_on(site: Site, script: Script) -> None:
    sent = [
        (b"host", b"hooks.example.nl"),
        (b"date", b"Fri, 20 Nov 2026 09:12:44 GMT"),
        (b"x-copernica-id", b"account_1234"),
        (b"digest", b"SHA-256=abc="),
        (b"x-nonce", "é:1".encode()),
        (b"x-future", b"yes"),
        (b"content-type", b"text/x-signed"),
        (b"content-length", b"99999"),
        (b"x-ingest-target", b"/forged"),
        (b"x-forwarded-for", b"192.0.2.1"),
    ]
    names = b"(request-target) Host Date X-Copernica-ID Digest X-Nonce X-Future content-type content-length"
    signature = b'keyId="a",headers="%b x-ingest-target transfer-encoding",signature="c="' % names
    headers = HeaderFields.from_pairs([*sent, (b"signature", signature), (b"transfer-encoding", b"x")])
    site.forward_to(script.url)
    site.give(call(1)._replace(headers=pack_headers(headers), target=b"/copernica/%7Eopen?a=%2F"))
    site.work()
    (seen,) = script.seen
    for name in (b"date", b"x-copernica-id", b"digest", b"x-nonce", b"x-future"):
        assert seen.headers[name.decode()].encode("latin-1") == dict(sent)[name]
    assert seen.headers["signature"].encode() == signature
    assert (seen.headers["content-type"], seen.body) == (FORM.decode(), BODY)
    assert seen.headers["x-ingest-target"] == "/copernica/%7Eopen?a=%2F"
    assert seen.headers["x-ingest-host"] == "hooks.example.nl"
    assert not {"x-forwarded-for", "transfer-encoding"} & seen.headers.keys()


def test_a_call_without_a_content_type_is_passed_on_without_one(site: Site, script: Script) -> None:
    site.forward_to(script.url)
    site.give(call(1)._replace(content_type=b""))
    assert site.work()["done"] == 1
    assert "content-type" not in script.seen[0].headers


def test_without_a_secret_nothing_is_signed(site: Site, script: Script) -> None:
    site.forward_to(script.url)
    site.give(call(1))
    assert site.work() == {"done": 1, "unwanted": 0, "failed": 0}
    (seen,) = script.seen
    assert seen.body == BODY
    assert seen.headers["x-ingest-received-at"] == "2026-11-20T09:12:44.250000+00:00"
    assert not [name for name in seen.headers if name.startswith("webhook-")]


def test_odd_bodies_go_on_byte_for_byte(site: Site, script: Script) -> None:
    site.forward_to(script.url, INGEST_FORWARD_SECRET=SECRET)
    bodies = [
        b"type=open&x=%ff%00&y=\xc3\xbc",
        b"type=open&x=" + b"y" * 2_000_000,
        b'{"type": "open"}',
        "type=ü".encode(),
    ]
    site.give(*(call(number, body) for number, body in enumerate(bodies)))
    assert site.work()["done"] == len(bodies)
    assert sorted(seen.body for seen in script.seen) == sorted(bodies)


# --- what becomes of its answers ---


@pytest.mark.parametrize("status", [200, 201, 204])
def test_2xx_is_done(site: Site, script: Script, status: int) -> None:
    script.answer = lambda _: (status, {})
    site.forward_to(script.url)
    site.give(call(1), call(2))
    assert site.work()["done"] == 2
    assert (site.waiting(), site.dead()) == ([], {})


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 410, 413])
def test_a_refusal_is_a_dead_letter_at_once_and_no_redirect_is_followed(
    site: Site, script: Script, status: int
) -> None:
    with listening() as elsewhere:
        script.answer = lambda _: (status, {"Location": elsewhere.url})
        site.forward_to(script.url)
        site.give(call(1))
        assert site.work()["failed"] == 1
        assert elsewhere.seen == []
    assert site.waiting() == []
    assert site.dead() == {call(1).delivery_id: f"GiveUp: the target answered {status}"}


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 599])
def test_trouble_is_tried_again(site: Site, script: Script, status: int) -> None:
    script.answer = lambda _: (status, {})
    site.forward_to(script.url)
    site.give(call(1))
    assert site.work()["failed"] == 1
    ((attempt, seconds, records),) = site.waiting()
    assert (attempt, records) == (1, [call(1)])
    assert 5 <= seconds <= 6  # BACKOFF[0] and the jitter
    assert site.dead() == {}
    assert site.work() == {"done": 0, "unwanted": 0, "failed": 0}  # nothing is due
    script.answer = lambda _: (200, {})
    site.make_due()
    assert site.work()["done"] == 1
    assert site.waiting() == []


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("120", 120, 144),
        (formatdate(NOW + 120, usegmt=True), 120, 144),
        (formatdate(NOW - 120, usegmt=True), 0, 0),
        ("999999999", 3600, 4320),
        ("soon", 5, 6),
        ("²", 5, 6),
        ("-5", 5, 6),
    ],
    ids=["seconds", "date", "past", "ages", "nonsense", "digit", "negative"],
)
def test_retry_after_is_honoured(site: Site, script: Script, header: str, least: float, most: float) -> None:
    script.answer = lambda _: (503, {"Retry-After": header.encode().decode("latin-1")})
    site.forward_to(script.url)
    site.give(call(1))
    site.work()
    if not most:  # it was due at once, so it was tried until the breaker had enough
        assert 1 <= len(script.seen) <= throttle.OPENS_AT
    ((_, seconds, _),) = site.waiting()
    assert least <= seconds <= most


def test_after_its_last_attempt_a_call_is_a_dead_letter(site: Site, script: Script, client: redis.Redis) -> None:
    script.answer = lambda _: (500, {})
    site.forward_to(script.url)
    site.give(call(1))
    tries = 0
    while site.waiting():
        TargetBreaker(client, site.name, 30).succeeded()
        site.make_due()
        site.work()
        tries += 1
        assert tries < 10
    assert tries == len(script.seen) == 7
    assert site.dead() == {call(1).delivery_id: "TryLater: the target answered 500"}


def test_a_target_that_is_not_there_is_tried_again(site: Site) -> None:
    site.forward_to(f"http://127.0.0.1:{free_port()}/old.php")
    site.give(call(1))
    assert site.work()["failed"] == 1
    assert [attempt for attempt, _, _ in site.waiting()] == [1]


def test_a_target_that_does_not_answer_in_time_is_tried_again(site: Site, script: Script) -> None:
    over = Event()

    def never(_: Seen) -> Answer:
        over.wait(30)
        return 200, {}

    script.answer = never
    site.forward_to(f"{script.url}#timeout=0.2")
    site.give(call(1), call(2))
    assert site.work()["failed"] == 2
    over.set()
    assert sum(len(records) for attempt, _, records in site.waiting() if attempt == 1) == 2


def test_no_more_calls_at_once_than_allowed(site: Site, script: Script) -> None:
    now, most = [0], [0]
    all_three = Barrier(3)

    def count(_: Seen) -> Answer:
        now[0] += 1
        most[0] = max(most[0], now[0])
        all_three.wait(20)
        now[0] -= 1
        return 200, {}

    script.answer = count
    site.forward_to(f"{script.url}#concurrency=3")
    site.give(*map(call, range(30)))
    assert site.work()["done"] == 30
    assert most[0] == 3


# --- the breaker and the bucket ---


def test_a_target_in_trouble_is_left_alone_and_looked_at_with_one_call(
    site: Site, script: Script, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "OPEN_FIRST", 20)
    script.answer = lambda _: (500, {})
    site.forward_to(f"{script.url}#concurrency=1")
    site.give(*map(call, range(50)))
    site.work()
    assert len(script.seen) == throttle.OPENS_AT
    site.work()
    assert len(script.seen) == throttle.OPENS_AT  # left alone
    let_pass(client, Keys().breaker(site.name), 20)
    site.work()
    assert len(script.seen) == throttle.OPENS_AT + 1  # the one call to see
    script.answer = lambda _: (200, {})
    site.work()
    assert len(script.seen) == throttle.OPENS_AT + 1  # for twice as long
    let_pass(client, Keys().breaker(site.name), 40)
    site.work()
    assert len(script.seen) == 50  # each once: those that failed wait for their second time
    assert len({seen.headers["x-ingest-delivery-id"] for seen in script.seen}) == 50
    assert sum(len(records) for _, _, records in site.waiting()) == throttle.OPENS_AT + 1


def test_a_target_that_refuses_the_one_call_is_back(
    site: Site, script: Script, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "OPEN_FIRST", 20)
    script.answer = lambda _: (500, {})
    site.forward_to(f"{script.url}#concurrency=1")
    site.give(*map(call, range(20)))
    site.work()
    script.answer = lambda _: (410, {})
    let_pass(client, Keys().breaker(site.name), 20)
    site.work()
    assert len(site.dead()) == 20 - throttle.OPENS_AT


def test_calls_are_passed_on_at_their_rate(site: Site, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "SLICE", 0.3)
    site.forward_to(f"{script.url}#rate=1/h")
    site.give(*map(call, range(8)))
    until(lambda: site.work()["done"], "the one call that there may be")
    assert site.work()["done"] == 0
    assert len(script.seen) == 1
