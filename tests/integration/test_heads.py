"""What the head of a request may be: named host or not, folded signature or not, up to which lengths."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import batch
from ingest.copernica.header_fields import unpack_headers
from ingest.endpoint import intake
from ingest.endpoint.heads import HEAD_MAX, HEADERS_MAX, TARGET_MAX
from ingest.endpoint.turns import Turns
from ingest.settings import Settings
from ingest.verification import Verifier
from tests.support.http import status
from tests.support.running import exchange
from tests.support.signing import BODY, HOST, REQUIRED, TARGET, Call, Signer, dkim_record, documented, plain
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


# --- folds ---


@pytest.mark.parametrize("body", [BODY, FILLED], ids=["small", "large"])
def test_a_folded_signature_is_read_whatever_the_body_and_wherever_the_packets_end(
    ways: Ways, body: bytes
) -> None:
    request = wire(Signer(form=documented).call(body), TARGET)
    cut = request.index(b"\r\n headers") + 2  # between the end of a line and the blank that continues it
    for port in (ways.fast, ways.plain):
        answer = exchange(port, request[:cut], request[cut:] + request)
        assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_no_other_header_may_be_folded(ways: Ways) -> None:
    for form in (plain, documented):
        call = Signer(form=form).call().also("X", "a\r\n b")
        assert sent(ways, wire(call, TARGET)) == (400, 400)


def test_what_looks_like_a_folded_signature_in_a_body_stays_as_it_is(ways: Ways) -> None:
    body = b"a=\r\n\r\nSignature: b\r\n c\r\n\r\n"
    for filled in (body, body + FILLED):
        ways.records()
        assert sent(ways, wire(SIGNER.call(filled), TARGET) * 2) == (200, 200)
        assert {record.body for record in ways.records()} == {filled}


# --- lengths ---


def path_of(length: int) -> bytes:
    return TARGET + b"?" + b"x" * (length - len(TARGET) - 1)


@pytest.mark.parametrize("body", [BODY, FILLED], ids=["small", "large"])
def test_the_longest_target_is_taken_and_a_longer_one_is_not(ways: Ways, body: bytes) -> None:
    longest, longer = path_of(TARGET_MAX), path_of(TARGET_MAX + 1)
    assert sent(ways, wire(SIGNER.call(body, longest), longest)) == (200, 200)
    assert sent(ways, wire(SIGNER.call(body, longer), longer)) == (414, 414)


@pytest.mark.parametrize("length", [TARGET_MAX + 1, 66_000])
@pytest.mark.parametrize("method", [b"POST", b"GET", b"BREW"])
@pytest.mark.parametrize("path", [b"/copernica/", b"/elsewhere/", b"http://x/"])
def test_a_target_that_is_too_long_is_answered_414_before_anything_else(
    ways: Ways, method: bytes, path: bytes, length: int
) -> None:
    line = method + b" " + path + b"x" * (length - len(path)) + b" HTTP/1.1\r\n"
    for rest in (b"", b"Host: x\r\n\r\n", b"Content-Length: 99999999999\r\n\r\n"):
        assert sent(ways, line + rest) == (414, 414)
    assert sent(ways, line[: length // 2] + line[length // 2 :]) == (414, 414)


def test_a_target_without_end_is_answered_414_at_once(ways: Ways) -> None:
    for port in (ways.fast, ways.plain):
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(b"POST /copernica/" + b"x" * TARGET_MAX)
            assert connection.recv(1000).startswith(b"HTTP/1.1 414 ")
            connection.sendall(b"x" * 100_000)  # what still comes does not take the answer away
            assert connection.recv(1000) == b""


def headed(*headers: tuple[str, bytes]) -> bytes:
    call = SIGNER.call()
    for header in headers:
        call = call.also(*header)
    return wire(call, TARGET)


def test_a_head_may_be_as_long_as_it_may_be_in_one_header_or_in_many(ways: Ways) -> None:
    room = HEAD_MAX - len(headed(("X", b""))) + len(BODY)
    assert sent(ways, headed(("X", b"y" * room))) == (200, 200)
    assert sent(ways, headed(("X", b"y" * (room + 1)))) == (400, 400)
    assert sent(ways, headed(("X" + "y" * room, b""))) == (200, 200)
    assert sent(ways, headed(("X" + "y" * (room + 1), b""))) == (400, 400)
    many = HEADERS_MAX - len(SIGNER.call().headers)
    assert sent(ways, headed(*((f"X{number}", b"") for number in range(many)))) == (200, 200)
    assert sent(ways, headed(*((f"X{number}", b"") for number in range(many + 1)))) == (400, 400)


def test_requests_behind_one_another_are_all_answered_though_the_sender_has_ended(ways: Ways) -> None:
    good = wire(SIGNER.call(), TARGET)
    chunked = wire(Signer(covered=REQUIRED).call().without("Content-Length"), TARGET)
    chunks = chunked.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY), 1)
    large = wire(SIGNER.call(FILLED), TARGET)
    too_long = wire(SIGNER.call(), path_of(TARGET_MAX + 1))
    for port in (ways.fast, ways.plain):
        assert re.findall(rb"HTTP/1.1 (\d+)", exchange(port, good + good + too_long)) == [b"200", b"200", b"414"]
        for last, code in ((good, 200), (too_long, 414)):
            answer = exchange(port, good + chunks + b"\r\n0\r\n\r\n" + good + large + last)
            assert [int(code) for code in re.findall(rb"HTTP/1.[01] (\d+)", answer)] == [200, 200, 200, 200, code]


# --- work that takes long ---


def test_large_bodies_are_hashed_and_packed_in_a_thread(ways: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    apart: list[bool] = []

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **named: Any) -> Any:
            apart.append(threading.current_thread().name.startswith("uvloop"))
            return function(*args, **named)

        return noted

    monkeypatch.setattr(intake, "LARGE_BODY", len(FILLED))
    monkeypatch.setattr(batch, "MAX_SIZE", len(FILLED))
    monkeypatch.setattr(batch, "pack", noting(batch.pack))
    monkeypatch.setattr(Verifier, "examine", noting(Verifier.examine))
    assert sent(ways, wire(SIGNER.call(FILLED), TARGET)) == (200, 200)
    assert apart == [True] * 4
    forged = SIGNER.call(FILLED).changed("Digest", "SHA-256=" + "A" * 43 + "=")
    assert sent(ways, wire(forged, TARGET)) == (401, 401)
    assert sent(ways, wire(SIGNER.call(), TARGET)) == (200, 200)
    assert apart[4:] == [True, True, False, False, False, False]


def test_a_body_in_a_few_tiny_chunks_is_taken_and_one_in_thousands_is_not(ways: Ways) -> None:
    head = wire(Signer(covered=REQUIRED).call(b"x" * 900).without("Content-Length"), TARGET)[:-900]
    chunked = head[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
    assert sent(ways, chunked + b"1\r\nx\r\n" * 900 + b"0\r\n\r\n") == (200, 200)
    assert sent(ways, chunked + b"1;a=b\r\nx\r\n" * 20_000 + b"0\r\n\r\n") == (400, 400)


@pytest.mark.parametrize("way", ["fast", "plain"])
def test_a_call_that_trickles_in_is_read_less_often_and_taken(
    ways: Ways, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[object] = []
    wait = Turns.wait_a_while

    def noted(turns: Turns, read_on: Callable[[], None]) -> None:
        paused.append(read_on)
        wait(turns, read_on)

    monkeypatch.setattr(Turns, "wait_a_while", noted)
    request = wire(SIGNER.call(), TARGET)
    with socket.create_connection(("127.0.0.1", getattr(ways, way)), timeout=20) as sender:
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent_so_far = 0
        while not paused and sent_so_far < len(request) // 2:  # far enough: the head is not whole yet
            sender.sendall(request[sent_so_far : sent_so_far + 1])
            sent_so_far += 1
            time.sleep(0.001)
        sender.sendall(request[sent_so_far:])
        assert status(sender.recv(1000)) == 200
    assert paused
