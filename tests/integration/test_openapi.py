"""The endpoint answers as its OpenAPI document says: each status is provoked, by both ways in."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingest import failpoints
from ingest.endpoint import answers, fast_path, limits
from ingest.endpoint.validation_files import ValidationFiles
from ingest.settings import Settings
from ingest.verification import Verifier
from tests.support.http import request
from tests.support.openapi import DOCUMENT, answered, documented_statuses
from tests.support.running import exchange
from tests.support.signing import BODY, HOST, Signer, dkim_record
from tests.support.ways import Ways, both_ways

SIGNER = Signer()
CALLS, BELOW, FILE = "/copernica", "/copernica/{rest}", "/smtpeter-{name}.txt"
GET = b"GET %b HTTP/1.1\r\nHost: hooks.example.nl\r\n\r\n"
SIGNED = (b"Signature: nobody's",)


@contextmanager
def opened(redis_url: str, folder: Path) -> Iterator[Ways]:
    (folder / "keys.json").write_text(json.dumps({SIGNER.key_id: dkim_record(SIGNER.public)}))
    (folder / "smtpeter-4f2a.txt").write_text("proof")
    environ = {"INGEST_ACCOUNTS": "account-1234", "INGEST_HOSTS": HOST, "INGEST_KEYS": str(folder / "keys.json")}
    verifier = Verifier.from_settings(Settings.read(environ))
    with both_ways(redis_url, 100_000, verifier, files=ValidationFiles(folder, "/copernica")) as ways:
        yield ways


@pytest.fixture(scope="module")
def ways(valkey_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    with opened(valkey_server, tmp_path_factory.mktemp("files")) as ways:
        yield ways


@pytest.fixture(scope="module")
def without_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    with opened("redis://127.0.0.1:1", tmp_path_factory.mktemp("files")) as ways:
        yield ways


def genuine(target: bytes = b"/copernica") -> bytes:
    call = SIGNER.call(target=target)
    lines = b"".join(b"%b: %b\r\n" % header for header in call.headers)
    return b"POST %b HTTP/1.1\r\n%b\r\n%b" % (target, lines, call.body)


#: What is sent, which method of which path it is, and the status of the answer.
SENT = [
    ("GET", CALLS, 200, GET % b"/copernica"),
    ("GET", BELOW, 200, GET % b"/copernica/open"),
    ("GET", "/healthz", 200, GET % b"/healthz"),
    ("GET", "/readyz", 200, GET % b"/readyz"),
    ("GET", FILE, 200, GET % b"/smtpeter-4f2a.txt"),
    ("GET", FILE, 404, GET % b"/smtpeter-none.txt"),
    ("POST", CALLS, 400, b"POST /copernica HTTP/1.1\r\nHost: x\r\nContent-Length: none\r\n\r\n"),
    (
        "POST",
        BELOW,
        400,
        b"POST /copernica/open HTTP/1.1\r\nHost: x\r\nSignature: x\r\nContent-Length: 9\r\n\r\nab",
    ),
    ("POST", CALLS, 401, request(BODY)),
    ("POST", BELOW, 401, request(BODY, b"/copernica/open")),
    ("POST", CALLS, 405, request(BODY, method=b"PUT")),
    ("POST", BELOW, 405, request(BODY, b"/copernica/open", method=b"DELETE")),
    ("POST", CALLS, 413, request(b"a" * 100_001)),
    ("POST", BELOW, 413, request(b"a" * 100_001, b"/copernica/open")),
    ("POST", CALLS, 414, request(BODY, b"/copernica?" + b"a" * 9000)),
    ("POST", BELOW, 414, request(BODY, b"/copernica/" + b"a" * 9000)),
    ("POST", CALLS, 415, request(BODY, b"/copernica", b"Content-Encoding: gzip")),
    ("POST", BELOW, 415, request(BODY, b"/copernica/open", b"Content-Encoding: gzip")),
]
#: What can be got, and by which target.
GOT = {
    CALLS: b"/copernica",
    BELOW: b"/copernica/open",
    "/healthz": b"/healthz",
    "/readyz": b"/readyz",
    FILE: b"/smtpeter-4f2a.txt",
}
#: What is provoked below in other ways.
PROVOKED_APART = {
    *((f"POST {path}", status) for path in (CALLS, BELOW) for status in (200, 408, 500, 503)),
    *((f"GET {path}", 503) for path in GOT),
}


@pytest.mark.slow
def test_the_document_is_one_of_openapi() -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator  # takes seconds to import

    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_every_status_of_the_document_is_provoked_here() -> None:
    assert documented_statuses() == {(f"{method} {path}", code) for method, path, code, _ in SENT} | PROVOKED_APART


def test_every_answer_of_the_endpoint_is_told_of() -> None:
    there = [one for one in vars(answers).values() if isinstance(one, answers.Answer)]
    assert [one for one in there if one not in [told for told, _ in answers.ALL]] == []


@pytest.mark.parametrize(
    ("method", "path", "code", "sent"), SENT, ids=[f"{one[2]} {one[0]} {one[1]}" for one in SENT]
)
def test_each_status_is_answered_as_the_document_says(
    ways: Ways, method: str, path: str, code: int, sent: bytes
) -> None:
    for port in (ways.fast, ways.plain):
        assert answered(exchange(port, sent), path, method.lower()) == code


@pytest.mark.parametrize(("path", "target"), [(CALLS, b"/copernica"), (BELOW, b"/copernica/open")])
def test_a_kept_call_is_answered_as_the_document_says(ways: Ways, path: str, target: bytes) -> None:
    for port in (ways.fast, ways.plain):
        assert answered(exchange(port, genuine(target)), path) == 200


def test_a_slow_request_is_answered_as_the_document_says(ways: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_DEADLINE", 0.1)
    monkeypatch.setattr(fast_path, "BODY_DEADLINE", 0.1)
    for port in (ways.fast, ways.plain):
        for path, target in ((CALLS, b"/copernica"), (BELOW, b"/copernica/open")):
            with socket.create_connection(("127.0.0.1", port), 5) as connection:
                connection.sendall(request(BODY, target, *SIGNED)[:-1])
                assert answered(connection.recv(1000), path) == 408


def test_a_fault_is_answered_as_the_document_says(ways: Ways, caplog: pytest.LogCaptureFixture) -> None:
    failpoints.arm({failpoints.VARIABLE: "body-read=raise"})
    try:
        assert answered(exchange(ways.plain, request(BODY, b"/copernica", *SIGNED)), CALLS) == 500
    finally:
        failpoints.arm({})


def test_a_connection_too_many_is_answered_as_the_document_says(valkey_server: str) -> None:
    with both_ways(valkey_server, 100_000, limit=0) as full:
        for path, target in GOT.items():
            assert answered(exchange(full.fast, GET % target), path, "get") == 503
        assert answered(exchange(full.fast, genuine()), CALLS) == 503


def test_too_much_at_once_is_answered_as_the_document_says(ways: Ways) -> None:
    ways.intake.memory.used += ways.intake.memory.most
    try:
        for port in (ways.fast, ways.plain):
            assert answered(exchange(port, genuine()), CALLS) == 503
    finally:
        ways.intake.memory.used -= ways.intake.memory.most


def test_without_redis_and_spool_calls_and_readiness_are_answered_as_the_document_says(
    without_redis: Ways,
) -> None:
    for port in (without_redis.fast, without_redis.plain):
        assert answered(exchange(port, genuine()), CALLS) == 503
        assert answered(exchange(port, genuine(b"/copernica/open")), BELOW) == 503
        assert answered(exchange(port, GET % b"/readyz"), "/readyz", "get") == 503
