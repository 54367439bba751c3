"""The simulator's calls are realistic and reproducible, and its sender counts what became of each."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count, islice, repeat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ingest.copernica import dkim
from ingest.copernica.events import LOGGED_ONLY, EventType, decode
from ingest.copernica.signature import Policy, check
from ingest.errors import CallRejected, SettingsError
from ingest.simulation import calls as simulated
from ingest.simulation.calls import FORM, TYPES, Call, Simulator, chosen_types
from ingest.simulation.forgeries import FORGERIES, forge
from ingest.simulation.report import Report
from ingest.simulation.sender import Sender
from ingest.simulation.signer import Signer
from ingest.simulation.target import Target
from tests.support.has import assert_has
from tests.support.http import OK, Answering


@pytest.fixture(autouse=True)
def _few_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing messages is most of what a few calls take."""
    monkeypatch.setattr(simulated, "AUDIENCE", 500)


def some(count: int, **options: object) -> list[Call]:
    return list(islice(Simulator(**options), count))  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_calls() -> None:
    assert some(500, seed=7) == some(500, seed=7)
    assert some(500, seed=7) != some(500, seed=8)


def test_nothing_happens_before_its_call_is_made() -> None:
    began = int(time.time())
    times = [int(str(call.fields["time"])) for call in some(2000)]
    assert min(times) >= began
    assert max(times) <= time.time()


def test_calls_are_varied_and_of_the_types_asked_for() -> None:
    calls = some(5000, seed=1)
    kinds = Counter(call.type for call in calls)
    assert set(kinds) == set(TYPES)
    assert kinds["delivery"] > kinds["bounce"]
    events = [decode(call.body, call.content_type, "/copernica", 1) for call in calls]
    assert [event.type for event in events] == [call.type for call in calls]
    assert len({event.recipient for event in events}) > 1000
    assert any(":" in (event.ip or "") for event in events)
    assert any("." in (event.ip or "") for event in events)
    assert len({event.user_agent for event in events}) > 3
    assert len({event.occurred_at for event in events}) > 10
    assert {call.type for call in some(50, seed=1, types=["bounce", "failure"])} == {"bounce", "failure"}


def test_every_type_that_webhooks_bring_can_be_simulated() -> None:
    assert set(TYPES) == set(chosen_types(None)) == set(EventType) - LOGGED_ONLY - {EventType.UNKNOWN}
    assert chosen_types(" Open,profile-delete") == ["open", "profile-delete"]
    with pytest.raises(SettingsError, match="'unknown' cannot be simulated"):
        chosen_types("open,unknown")


@pytest.mark.parametrize("kind", TYPES)
def test_a_simulated_call_has_the_fields_that_copernica_documents(kind: str) -> None:
    sample = Path(__file__).parents[2] / "ingest" / "simulation" / "payloads" / f"{kind}.form"
    documented = names_in(decode(sample.read_bytes(), FORM, "/copernica", 1).fields)
    for call in some(50, seed=3, types=[kind]):
        event = decode(call.body, call.content_type, "/copernica", 1)
        assert (call.type, event.type, event.raw) == (kind, kind, None)
        assert names_in(event.fields) == documented
        assert ("time" in event.fields) == (event.occurred_at != 1)


def names_in(fields: object) -> object:
    """The names of fields, also of those in maps."""
    return {name: names_in(value) for name, value in fields.items()} if isinstance(fields, dict) else None


def send(answers: list[bytes], events: int, rate: float | None = None) -> Report:
    async def both() -> Report:
        feed = iter(answers)
        server = await asyncio.get_running_loop().create_server(lambda: Answering(feed), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        sender = Sender(Target(f"http://127.0.0.1:{port}/x"), iter(Simulator(1)), events, rate)
        try:
            return await sender.run(2)
        finally:
            server.close()

    return asyncio.run(both())


@contextmanager
def at_least(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began >= seconds


def test_the_report_tells_acknowledged_refused_and_lost_apart() -> None:
    refused = b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    closing = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    report = send([OK, refused, b"", closing, OK, OK], 6)
    assert_has(report, sent=6, acknowledged=4, refused={503: 1}, lost=1)
    assert not report.complete
    assert len(report.latencies) == 4


def test_the_rate_asked_for_is_not_exceeded() -> None:
    with at_least(0.45):
        assert send([OK] * 100, 100, rate=200).complete


def test_each_forgery_is_refused_for_a_reason_of_its_own() -> None:
    signer = Signer.new("account-1")
    key, policy = dkim.parse(signer.dkim_record.encode()).public, Policy.from_settings(["account-1"])

    def refusal(headers: dict[str, str]) -> str | None:
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        try:
            check(b"POST", b"/c", sent, b"a=1", time.time(), policy, key)
        except CallRejected as rejected:
            return rejected.reason
        return None

    assert refusal(signer.sign("/c", "x.nl", FORM, b"a=1")) is None
    assert {kind: refusal(forge(signer, kind, "/c", "x.nl", FORM, b"a=1")) for kind in FORGERIES} == {
        "unsigned": "no-signature",
        "too-old": "too-old",
        "too-new": "too-new",
        "other-body": "wrong-digest",
        "other-path": "wrong-signature",
        "other-account": "wrong-account",
        "stranger": "wrong-signature",
        "hmac": "bad-algorithm",
        "weak-digest": "bad-digest",
        "absent-header": "absent-header",
        "uncovered": "not-covered",
        "two-keys": "repeated-header",
    }


def test_a_signer_that_cannot_be_read_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "signer.json"
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    other_key = json.dumps({"private_key": key.decode(), "account": "a", "key_id": "k"})
    for content in (other_key, '{"private_key": 7}', "[]", "{}", "x"):
        path.write_text(content)
        with pytest.raises(SettingsError, match="cannot be read"):
            Signer.load(path)
    Signer.new("account-7").save(path)
    assert Signer.load(path).account == "account-7"


@pytest.mark.parametrize("rate", [None, 100.0])
async def test_a_sender_whose_calls_cannot_be_made_ends_with_the_reason(rate: float | None) -> None:
    def no_call(_: int) -> Call:
        raise RuntimeError("no more ideas")

    server = await asyncio.get_running_loop().create_server(lambda: Answering(repeat(OK)), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    with closing(server), pytest.raises(RuntimeError, match="no more ideas"):
        await asyncio.wait_for(Sender(Target(url), map(no_call, count()), 10, rate).run(2), 10)


def test_a_sender_that_keeps_going_needs_a_rate() -> None:
    with pytest.raises(ValueError, match="rate"):
        Sender(Target("http://127.0.0.1/"), iter(()), 1, keep_going=True)


@pytest.mark.parametrize("url", ["ftp://x/", "127.0.0.1:8000", "http://"])
def test_a_url_that_cannot_be_sent_to_is_named(url: str) -> None:
    with pytest.raises(Exception, match=url):
        Target(url)
