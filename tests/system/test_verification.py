"""Verification where it counts: at the endpoint, as processes, with a real DNS server behind it."""

import json
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from ingest import redis_client
from ingest.batch import UNVERIFIED
from ingest.endpoint import budget
from ingest.simulation.forgeries import FORGERIES
from ingest.simulation.signer import Signer as SimulatedSigner
from tests.support.cli import typed
from tests.support.dnsserver import Behaviour, DnsServer
from tests.support.running import Process, answers, exchange, free_port, ingest, run, running, until
from tests.support.signing import Call, Signer, dkim_record, documented, private_key
from tests.support.stream import records
from workers.store.schema import upgrade

ACCOUNT = "account-1234"
STRANGER = private_key(2048, "stranger")


@dataclass
class Guarded:
    port: int
    dns: DnsServer
    signer: Signer
    environ: dict[str, str]
    process: Process

    def send(self, *calls: Call) -> list[int]:
        """Each over a connection of its own; returns the statuses."""
        return [int(exchange(self.port, wire(call)).split(b" ", 2)[1]) for call in calls]

    def status(self) -> dict[str, Any]:
        return dict(json.loads(typed("status", "--json", environ=self.environ).stdout))

    def drain(self) -> str:
        done = run("drain", environ=self.environ)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stored(self) -> list[dict[str, Any]]:
        done = typed("events", "--format", "jsonl", environ=self.environ)
        return [json.loads(line) for line in done.stdout.splitlines()]


def wire(call: Call) -> bytes:
    lines = b"".join(b"%b: %b\r\n" % (name, value) for name, value in call.headers)
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (call.method, call.target, lines, call.body)


@pytest.fixture
def environ() -> dict[str, str]:
    """What a test sets besides."""
    return {}


@pytest.fixture
def guarded(redis_url: str, tmp_path: Path, environ: dict[str, str]) -> Iterator[Guarded]:
    signer = Signer()
    port = free_port()
    with DnsServer() as dns:
        dns.put(signer.key_id, dkim_record(signer.public))
        host, dns_port = dns.address
        environ = environ | {
            "REDIS_URL": redis_url,
            "DATABASE_URL": f"sqlite:///{tmp_path}/events.db",
            "PORT": str(port),
            "WEB_CONCURRENCY": environ.get("WEB_CONCURRENCY", "2"),
            "INGEST_ACCOUNTS": ACCOUNT,
            "INGEST_DNS_SERVERS": f"{host}:{dns_port}",
        }
        upgrade(environ["DATABASE_URL"])
        with running(ingest("serve"), environ, tmp_path / "log") as process:
            until(
                lambda: process.output.count("is ready") == int(environ["WEB_CONCURRENCY"]) and answers(port),
                "the endpoint",
            )
            yield Guarded(port, dns, signer, environ, process)
        assert "Traceback" not in process.output


@pytest.mark.parametrize("environ", [{"WEB_CONCURRENCY": "1"}])
def test_readyz_says_that_dns_is_silent(guarded: Guarded) -> None:
    def codes() -> list[str]:
        got = exchange(guarded.port, b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return list(json.loads(got.partition(b"\r\n\r\n")[2])["codes"])

    assert "dns-silent" not in codes()
    guarded.dns.otherwise = Behaviour.SERVFAIL
    assert guarded.send(Signer(key_id="new._domainkey.copernica.com").call()) == [200], (
        "kept until its key can be looked up"
    )
    until(lambda: "dns-silent" in codes(), "the risk")


def test_the_same_call_sent_again_is_acknowledged_and_stored_once(guarded: Guarded) -> None:
    call, other = guarded.signer.call(), guarded.signer.call(b"type=click&id=2")
    assert guarded.send(*[call] * 6, other) == [200] * 7  # six connections: both processes take it
    assert "2 events stored, 5 were there already" in guarded.drain()
    assert len(guarded.stored()) == 2


def test_a_large_body_is_verified_too_and_an_unsigned_one_not_even_read(guarded: Guarded) -> None:
    large = guarded.signer.call(b"type=bounce&mime=" + b"x" * 1_000_000)
    assert guarded.send(large, large._replace(body=large.body[:-1] + b"y")) == [200, 401]
    head = wire(large.without("Signature")).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", guarded.port), 5) as connection:
        connection.sendall(head)
        assert connection.recv(1000).startswith(b"HTTP/1.1 401 ")


def test_a_signature_in_several_lines_as_documented_is_read(guarded: Guarded) -> None:
    assert guarded.send(Signer(form=documented).call()) == [200]


def test_every_kind_of_forgery_is_refused_with_its_reason_and_counted(
    guarded: Guarded, client: Any, tmp_path: Path
) -> None:
    simulated = SimulatedSigner.new(ACCOUNT)
    guarded.dns.put(simulated.key_id, simulated.dkim_record)
    simulated.save(tmp_path / "signer.json")
    url = f"http://127.0.0.1:{guarded.port}/copernica"
    sent = run(
        *("simulate", "--url", url, "--key", str(tmp_path / "signer.json"), "--forge", "0.5", "--json"),
        *("--events", str(4 * len(FORGERIES))),
        environ={},
    )
    assert sent.returncode == 0, sent.stdout
    figures = json.loads(sent.stdout)
    assert figures["forged_refused"] == figures["acknowledged"] == 2 * len(FORGERIES)
    assert len(records(client)) == 2 * len(FORGERIES)
    until(lambda: sum(guarded.status()["refused"].values()) == 2 * len(FORGERIES), "the counts", 10)
    assert guarded.process.output.count("rejected a call: too-old") in (1, 2)  # by each process, not by each call


def test_strangers_are_not_told_why_and_the_log_is(guarded: Guarded) -> None:
    guarded.dns.put("revoked.copernica.com", "v=DKIM1; p=")
    refused = {
        "revoked-key": Signer(key_id="revoked.copernica.com").call(),
        "unknown-key": Signer(key_id="absent.copernica.com").call(),
        "wrong-account": Signer().call(account="account_1235"),
        "too-old": Signer().call(date=0),
        "wrong-digest": Signer().call()._replace(body=Signer().call().body.swapcase()),
        "no-signature": Signer().call().without("Signature"),
    }
    answers = {exchange(guarded.port, wire(call)).partition(b"\r\n\r\n")[2] for call in refused.values()}
    assert [orjson.loads(answer)["error"] for answer in answers] == ["not-accepted"]
    for reason in refused:
        assert f"rejected a call: {reason}" in guarded.process.output


def test_a_replaced_key_is_noticed(guarded: Guarded) -> None:
    assert guarded.send(guarded.signer.call()) == [200]
    newer = Signer(private_key(2048, "newer"))
    guarded.dns.put(newer.key_id, dkim_record(newer.public))
    assert guarded.send(newer.call()) == [200]


def test_without_dns_calls_are_kept_apart_until_their_key_is_known(guarded: Guarded, client: Any) -> None:
    late = Signer(key_id="late.copernica.com")
    guarded.dns.otherwise = Behaviour.SERVFAIL
    genuine = late.call(b"type=open&id=genuine&time=1795165964")
    forged = Signer(STRANGER, key_id=late.key_id).call(b"type=open&id=forged")
    assert guarded.send(genuine, forged, genuine) == [200] * 3
    assert [record.flags for record in records(client)] == [UNVERIFIED] * 3

    assert "2 calls could not be verified yet" in guarded.drain()
    assert guarded.stored() == []
    status = guarded.status()
    assert status["unverified"] == 2
    assert any("wait to be verified" in warning["text"] for warning in status["warnings"])

    guarded.dns.put(late.key_id, dkim_record(late.public))
    guarded.drain()
    (event,) = guarded.stored()
    assert event["message_id"] == "genuine"
    status = guarded.status()
    assert (status["unverified"], status["quarantined"]) == (0, 1)


def test_workers_ask_again_by_themselves(guarded: Guarded, tmp_path: Path) -> None:
    late = Signer(key_id="late.copernica.com")
    guarded.dns.otherwise = Behaviour.SERVFAIL
    assert guarded.send(late.call()) == [200]
    with running(ingest("worker"), guarded.environ, tmp_path / "worker.log"):
        until(lambda: guarded.status()["unverified"] == 1, "the unverified call")
        guarded.dns.put(late.key_id, dkim_record(late.public))
        redis_client.connect(guarded.environ["REDIS_URL"]).delete("ingest:{0}:verify:30")  # or half a minute
        until(lambda: len(guarded.stored()) == 1, "the verified event")


def test_invented_key_ids_cost_nobody_anything_while_dns_is_well(guarded: Guarded, client: Any) -> None:
    """Once, more names at a time than were looked up meant that their calls were kept."""
    assert guarded.send(*[guarded.signer.call()] * 6) == [200] * 6  # both processes know the key
    drained = len(records(client))
    invented = [Signer(STRANGER, key_id=f"x{n}.copernica.com").call(b"type=open") for n in range(600)]
    genuine = [guarded.signer.call(b"type=open&id=%d" % n) for n in range(200)]
    with ThreadPoolExecutor(100) as senders:
        to_invented = senders.map(lambda call: guarded.send(call)[0], invented)
        to_genuine = list(senders.map(lambda call: guarded.send(call)[0], genuine))
    assert to_genuine == [200] * len(genuine)
    assert set(to_invented) <= {401, 503}
    kept = records(client)[drained:]
    assert [record.flags for record in kept] == [0] * len(genuine)
    assert guarded.status()["unverified"] == 0


def test_a_name_that_dns_cannot_resolve_is_not_kept_while_dns_is_well(guarded: Guarded, client: Any) -> None:
    guarded.dns.let("odd.copernica.com", Behaviour.SERVFAIL)
    answer = exchange(guarded.port, wire(Signer(key_id="odd.copernica.com").call()))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After" in answer
    assert records(client) == []
    until(lambda: guarded.status()["refused"] == {"key-unavailable": 1}, "the count", 10)


@pytest.mark.parametrize("environ", [{"INGEST_UNVERIFIED_MAX": "40KiB", "WEB_CONCURRENCY": "1"}])
def test_what_is_kept_while_dns_is_away_is_bounded(guarded: Guarded, client: Any) -> None:
    assert guarded.send(guarded.signer.call()) == [200]
    guarded.dns.otherwise = Behaviour.SERVFAIL
    flood = [Signer(STRANGER, key_id=f"x{n}.copernica.com").call(b"type=open") for n in range(60)]
    with ThreadPoolExecutor(20) as senders:
        statuses = Counter(senders.map(lambda call: guarded.send(call)[0], flood))
    assert statuses == {200: 40 * 1024 // budget.CALL_BYTES, 503: 60 - 40 * 1024 // budget.CALL_BYTES}
    assert guarded.send(guarded.signer.call(b"type=open&id=known")) == [200]
    guarded.drain()
    assert guarded.send(Signer(STRANGER, key_id="y.copernica.com").call()) == [503]


def test_a_process_that_starts_while_dns_is_away_knows_the_keys_of_the_others(
    guarded: Guarded, client: Any, tmp_path: Path
) -> None:
    assert guarded.send(guarded.signer.call()) == [200]
    until(lambda: client.exists("ingest:{0}:known-keys"), "the shared key")
    guarded.dns.otherwise = Behaviour.SILENCE
    guarded.dns.let(guarded.signer.key_id, Behaviour.SILENCE)
    port = free_port()
    environ = guarded.environ | {"PORT": str(port), "WEB_CONCURRENCY": "1"}
    with running(ingest("serve"), environ, tmp_path / "late.log") as late:
        until(lambda: "is ready" in late.output and answers(port), "the endpoint")
        call = guarded.signer.call(b"type=open&id=late")
        until(lambda: exchange(port, wire(call)).startswith(b"HTTP/1.1 200 "), "the key to be learned")
    assert records(client)[-1].flags == 0


def test_check_says_whether_keys_are_available(guarded: Guarded) -> None:
    found = run("check", "--key-id", guarded.signer.key_id, environ=guarded.environ)
    assert f"ok     keys        {guarded.signer.key_id}: RSA, 2048 bits" in found.stdout
    guarded.dns.let("dead.copernica.com", Behaviour.SERVFAIL)
    found = run("check", "--key-id", "dead.copernica.com", environ=guarded.environ)
    assert found.returncode == 1
    assert "wrong  keys" in found.stdout
