"""The endpoint as a process: the contract's answers, and what it makes of everything that is not a webhook."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import redis

from ingest import redis_client
from ingest.batch import Record
from ingest.endpoint.limits import RETRY_AFTER
from tests.support.http import request, status
from tests.support.running import Process, answers, descendants, exchange, free_port, ingest, running, until
from tests.support.stream import records

MAX_BODY = 2_000_000
HEAD = b"POST /copernica HTTP/1.1\r\nHost: x\r\n"


class Endpoint:
    def __init__(self, port: int, process: Process, client: redis.Redis) -> None:
        self.port = port
        self.process = process
        self._client = client

    def post(self, body: bytes, path: bytes = b"/copernica", *headers: bytes) -> bytes:
        return exchange(self.port, request(body, path, *headers))

    def kept(self) -> list[Record]:
        return records(self._client)


@pytest.fixture(scope="module")
def process(valkey_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Process]]:
    port = free_port()
    environ = {
        "REDIS_URL": valkey_server,
        "PORT": str(port),
        "INGEST_MAX_BODY": str(MAX_BODY),
        "INGEST_VERIFY": "off",
        "INGEST_SPOOL_DIR": "",
    }
    log = tmp_path_factory.mktemp("endpoint") / "log"
    with running(ingest("serve"), environ, log) as served:
        until(lambda: "is ready" in served.output, "the endpoint")
        yield port, served


@pytest.fixture
def endpoint(process: tuple[int, Process], redis_url: str) -> Iterator[Endpoint]:
    client = redis_client.connect(redis_url)
    yield Endpoint(*process, client)
    client.close()
    assert process[1].alive
    assert "Traceback" not in process[1].output


def error(answer: bytes) -> str:
    """The slug of an error, which must be JSON with a sentence."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/json" in head
    said = orjson.loads(body)
    assert set(said) == {"error", "detail"}
    assert said["detail"].endswith(".")
    return str(said["error"])


def test_a_call_is_kept_raw_with_its_path_and_type(endpoint: Endpoint) -> None:
    body = b"type=open&x=%00\xff&tags%5B%5D=a"
    answer = endpoint.post(body, b"/copernica/open?x=1", b"Content-Type: application/x-www-form-urlencoded")
    assert status(answer) == 200
    assert answer.endswith(b"\r\n\r\n")
    (record,) = endpoint.kept()
    assert record.body == body
    assert record.target == b"/copernica/open?x=1"
    assert record.content_type == b"application/x-www-form-urlencoded"
    assert record.delivery_id[:4] == (record.received_at // 1_000_000).to_bytes(4, "big")


@pytest.mark.parametrize("size", [0, 300_000, MAX_BODY])
def test_bodies_of_every_allowed_size_are_kept(endpoint: Endpoint, size: int) -> None:
    body = b"a" * size
    assert status(endpoint.post(body)) == 200
    assert [record.body for record in endpoint.kept()] == [body]


@pytest.mark.parametrize(
    ("sent", "code", "slug"),
    [
        (request(b"", b"/elsewhere"), 404, "not-found"),
        (request(b"", b"/copernicaX"), 404, "not-found"),
        (request(b"", method=b"PUT"), 405, "method-not-allowed"),
        (request(b"", method=b"DELETE"), 405, "method-not-allowed"),
        (request(b"x" * (MAX_BODY + 1)), 413, "too-large"),
        (HEAD + b"Content-Length: 99999999999\r\n\r\nabc", 413, "too-large"),
        (request(b"abc", b"/copernica", b"Content-Encoding: gzip"), 415, "content-encoding"),
        (b"complete nonsense\r\n\r\n", 400, "bad-request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad-request"),
        (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400, "bad-request"),
        (HEAD + b"Content-Length: -3\r\n\r\nabc", 400, "bad-request"),
        (HEAD + b"Content-Length: 1e1\r\n\r\nabc", 400, "bad-request"),
        (HEAD + b"Content-Length: 10\r\n\r\nshort", 400, "bad-request"),
        (HEAD.replace(b"ca ", b"ca/%41 ") + b"Content-Length: 10\r\n\r\nshort", 400, "bad-request"),
        (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", 400, "bad-request"),
        (HEAD + b"Bad Header: 1\r\nContent-Length: 3\r\n\r\nabc", 400, "bad-request"),
        (HEAD + b"A: b\r\n folded\r\nContent-Length: 3\r\n\r\nabc", 400, "bad-request"),
        (b"POST /copernica HTTP/9.9\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 400, "bad-request"),
        (HEAD + b"X: " + b"y" * 20_000 + b"\r\n\r\n", 400, "bad-request"),
        (b"POST /" + b"y" * 20_000 + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 414, "target-too-long"),
    ],
)
def test_what_is_no_webhook_is_refused_in_json_and_not_kept(
    endpoint: Endpoint, sent: bytes, code: int, slug: str
) -> None:
    answer = exchange(endpoint.port, sent)
    assert (status(answer), error(answer)) == (code, slug)
    assert endpoint.kept() == []


def test_a_body_in_chunks_is_kept_whole(endpoint: Endpoint) -> None:
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    assert status(exchange(endpoint.port, head + b"3\r\na=b\r\n2\r\n&c\r\n0\r\n\r\n")) == 200
    assert endpoint.kept()[0].body == b"a=b&c"


def test_a_chunked_body_that_goes_wrong_halfway_is_refused_at_once(endpoint: Endpoint) -> None:
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = exchange(endpoint.port, head + b"3\r\na=", b"b\r\nno length\r\n0\r\n\r\n", seconds=2.0)
    assert (status(answer), error(answer)) == (400, "bad-request")
    assert endpoint.kept() == []


def test_a_chunked_body_beyond_the_limit_is_refused(endpoint: Endpoint) -> None:
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%b\r\n" % (MAX_BODY, b"x" * MAX_BODY)
    assert status(exchange(endpoint.port, head + chunk + chunk + b"0\r\n\r\n")) == 413
    assert endpoint.kept() == []


def test_100_continue_is_sent_only_for_a_body_that_will_be_accepted(endpoint: Endpoint) -> None:
    head = HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    taken = exchange(endpoint.port, head % 3, b"a=b")
    assert taken.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    assert status(exchange(endpoint.port, head % (MAX_BODY + 1))) == 413


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_person_who_looks_gets_one_line_of_text(endpoint: Endpoint, method: bytes) -> None:
    answer = exchange(endpoint.port, b"%b /copernica HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % method)
    assert status(answer) == 200
    body = answer.partition(b"\r\n\r\n")[2]
    assert body.count(b"\n") == (1 if method == b"GET" else 0)


def test_errors_never_quote_what_was_sent(endpoint: Endpoint) -> None:
    for sent in (
        b"POST /<script> HTTP/1.1\r\nHost: x\r\n\r\n",
        b"<script> HTTP\r\n\r\n",
        request(b"", b"/<script>"),
    ):
        assert b"<script>" not in exchange(endpoint.port, sent)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"&".join([b"a="] * 500_000),
        b"\x00" * 1000,
        b"\xff\xfe\xfd",
        b"type=open&recipient=%zz%4",
        b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
    ids=["empty", "1 MB of pairs", "NUL", "not UTF-8", "bad percent-encoding", "deep JSON", "long number"],
)
def test_odd_bodies_are_kept_as_they_are(endpoint: Endpoint, body: bytes) -> None:
    assert status(endpoint.post(body)) == 200
    assert endpoint.kept()[0].body == body


def test_requests_in_one_packet_are_all_answered_in_order(endpoint: Endpoint) -> None:
    answer = exchange(endpoint.port, request(b"a=1") + request(b"a=2") + request(b"a=3") + request(b"", b"/no"))
    assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [200, 200, 200, 404]
    assert [record.body for record in endpoint.kept()] == [b"a=1", b"a=2", b"a=3"]


def test_a_request_in_many_packets_is_kept(endpoint: Endpoint) -> None:
    whole = request(b"type=open&id=1")
    assert (
        status(exchange(endpoint.port, *(whole[at : at + 20] for at in range(0, len(whole), 20)), pause=0.01))
        == 200
    )
    assert endpoint.kept()[0].body == b"type=open&id=1"


def test_health_and_readiness(endpoint: Endpoint) -> None:
    for path in (b"/healthz", b"/readyz"):
        answer = exchange(endpoint.port, b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
        assert status(answer) == 200


def test_while_redis_refuses_writes_calls_get_503_and_are_not_acknowledged(
    endpoint: Endpoint, redis_url: str
) -> None:
    client = redis_client.connect(redis_url)
    try:
        client.config_set("maxmemory", 1)
        answer = endpoint.post(b"a=b")
        assert (status(answer), error(answer)) == (503, "unavailable")
        assert b"Retry-After: %d\r\n" % RETRY_AFTER in answer
    finally:
        client.config_set("maxmemory", 0)
    assert endpoint.kept() == []
    assert status(endpoint.post(b"a=b")) == 200
    client.close()


def test_two_servers_on_one_port_are_one_too_many(endpoint: Endpoint, redis_url: str, tmp_path: Path) -> None:
    environ = {"REDIS_URL": redis_url, "PORT": str(endpoint.port), "INGEST_VERIFY": "off"}
    with running(ingest("serve"), environ, tmp_path / "log") as second:
        assert second.wait() == 1
        assert str(endpoint.port) in second.output
        assert "Traceback" not in second.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_call_that_waits_at_a_process_that_is_still_starting_is_answered_before_the_stop(
    redis_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    """Also where Ctrl-C reaches all of a Procfile, and what runs that signals each command once more."""
    port = free_port()
    environ = {"REDIS_URL": redis_url, "PORT": str(port), "INGEST_VERIFY": "off"}
    with running(ingest("serve"), environ, tmp_path / "log") as served:
        until(lambda: "taking webhooks" in served.output and descendants(served.pid), "the start of its process")
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(request(b"type=open&id=1"))
            os.killpg(served.pid, number)
            served.send(signal.SIGTERM)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        assert served.wait() == 0


def test_it_outlives_its_terminal_where_nohup_started_it(redis_url: str, tmp_path: Path) -> None:
    port = free_port()
    environ = {"REDIS_URL": redis_url, "PORT": str(port), "INGEST_VERIFY": "off"}
    with running(["nohup", *ingest("serve")], environ, tmp_path / "log") as served:
        until(lambda: answers(port), "the endpoint")
        for pid in (served.pid, *descendants(served.pid)):
            ignored = re.search(r"SigIgn:\s+([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
            assert ignored is not None
            assert int(ignored[1], 16) & 1, "SIGHUP ends it"
