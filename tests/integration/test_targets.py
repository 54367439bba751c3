"""A request line may name the host (absolute-form): what counts is the path and query that the sender signed."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.settings import Settings
from ingest.verification import Verifier, unpack_headers
from tests.support.http import status
from tests.support.running import exchange
from tests.support.signing import HOST, Call, Signer, dkim_record
from tests.support.ways import Ways, both_ways

SIGNER = Signer()
FILLED = b"a=" + b"b" * 70_000  # too large for the fast path, so both ports end at aiohttp


@pytest.fixture(scope="module")
def ways(valkey_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    keys.write_text(json.dumps({SIGNER.key_id: dkim_record(SIGNER.public)}))
    environ = {"INGEST_ACCOUNTS": "account-1234", "INGEST_HOSTS": HOST, "INGEST_KEYS": str(keys)}
    with both_ways(valkey_server, 100_000, Verifier.from_settings(Settings.read(environ))) as ways:
        yield ways


def wire(call: Call, target: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    lines = b"".join(b"%b: %b\r\n" % header for header in call.headers)
    return b"POST %b %b\r\n%b\r\n%b" % (target, version, lines, call.body)


def sent(ways: Ways, request: bytes) -> tuple[int, int]:
    return status(exchange(ways.fast, request)), status(exchange(ways.plain, request))


@pytest.mark.parametrize(
    "prefix",
    [
        b"http://hooks.example.nl",
        b"https://hooks.example.nl",
        b"HTTP://HOOKS.example.NL",
        b"http://hooks.example.nl:80",
        b"https://hooks.example.nl:443",
        b"http://hooks.example.nl:",
    ],
)
@pytest.mark.parametrize("path", [b"/copernica", b"/copernica/open?x=http://y/z&%41=%2f"])
def test_a_signed_call_is_taken_as_if_its_target_named_no_host(ways: Ways, prefix: bytes, path: bytes) -> None:
    call = SIGNER.call(target=path)
    ways.records()
    assert sent(ways, wire(call, prefix + path)) == (200, 200)
    kept = ways.records()
    assert {record.target for record in kept} == {path}
    assert {dict(unpack_headers(record.headers))[b"host"] for record in kept} == {HOST.encode()}


def test_the_host_of_the_target_counts_instead_of_the_header(ways: Ways) -> None:
    call, target = SIGNER.call(), b"http://elsewhere.example/copernica"
    assert sent(ways, wire(call.changed("Host", "proxy"), b"http://hooks.example.nl/copernica")) == (200, 200)
    assert sent(ways, wire(call, target)) == (401, 401)
    assert sent(ways, wire(SIGNER.call(host="elsewhere.example"), target)) == (401, 401)


def test_http_1_0_needs_no_host_beside_that_of_the_target(ways: Ways) -> None:
    call = SIGNER.call().without("Host")
    assert sent(ways, wire(call, b"http://hooks.example.nl/copernica", b"HTTP/1.0")) == (200, 200)
    assert sent(ways, wire(call, b"http://hooks.example.nl/copernica")) == (400, 400)


def test_another_path_than_the_signed_one_is_refused_in_this_form_too(ways: Ways) -> None:
    assert sent(ways, wire(SIGNER.call(), b"http://hooks.example.nl/copernica/open")) == (401, 401)


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        (b"http://user@hooks.example.nl/copernica", 400),
        (b"http://hooks.example.nl/copernica#x", 400),
        (b"http:///copernica", 400),
        (b"http:/copernica", 400),
        (b"http:copernica", 400),
        (b"ftp://hooks.example.nl/copernica", 400),
        (b"http://hooks.example.nl:x/copernica", 400),
        (b"http://hooks.example.nl:99999/copernica", 400),
        (b"//hooks.example.nl/copernica", 404),
        (b"http://hooks.example.nl//copernica", 404),
        (b"http://hooks.example.nl", 404),
        (b"http://hooks.example.nl?/copernica", 404),
        (b"hooks.example.nl:80", 400),
        (b"copernica", 400),
        (b"*", 400),
    ],
)
def test_what_is_no_address_of_ours_is_refused(ways: Ways, target: bytes, answer: int) -> None:
    ways.records()
    assert sent(ways, wire(SIGNER.call(), target)) == (answer, answer)
    assert ways.records() == []
    assert sent(ways, wire(SIGNER.call(FILLED), target)) == (answer, answer)


paths = st.from_regex(rb"/copernica(/[!-\"$-~]{0,8})?(\?[!-\"$-~]{0,8})?", fullmatch=True)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=paths)
def test_both_forms_of_any_target_are_answered_alike(ways: Ways, path: bytes) -> None:
    request = SIGNER.call(target=path)
    assert sent(ways, wire(request, path)) == sent(ways, wire(request, b"http://hooks.example.nl" + path))
