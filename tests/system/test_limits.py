"""The endpoint as a process, and what keyless clients can take of it: files, memory, and its time to stop."""

import json
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from ingest.endpoint import limits
from tests.support.http import request, status
from tests.support.running import Process, descendants, exchange, free_port, ingest, running, until
from tests.support.signing import Signer, dkim_record
from tests.support.valkey import Valkey, valkey

MIB = 1024 * 1024
#: What the documentation says that a process takes at most, with bodies of 10 MB.
MEMORY = 384 * MIB
SIGNER = Signer()


@dataclass
class Endpoint:
    port: int
    server: Valkey
    process: Process

    def call(self) -> int:
        """A genuine call, and how it is answered."""
        call = SIGNER.call()
        return status(exchange(self.port, request(call.body, call.target, *fields(call.headers))))

    def resident(self) -> int:
        """Bytes of memory that the process which serves takes now."""
        (child,) = descendants(self.process.pid)
        words = Path(f"/proc/{child}/status").read_text().split("VmRSS:")[1].split()
        return int(words[0]) * 1024


def fields(headers: list[tuple[bytes, bytes]]) -> list[bytes]:
    own = (b"host", b"content-length")  # which `request` writes itself
    return [b"%b: %b" % header for header in headers if header[0].lower() not in own]


@pytest.fixture
def files(request: pytest.FixtureRequest) -> int:
    return int(getattr(request, "param", 4096))


@pytest.fixture
def endpoint(tmp_path: Path, files: int) -> Iterator[Endpoint]:
    (tmp_path / "keys.json").write_text(json.dumps({SIGNER.key_id: dkim_record(SIGNER.public)}))
    limited = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *ingest("serve")]
    with valkey() as server:
        port = free_port()
        environ = {
            "REDIS_URL": server.url,
            "PORT": str(port),
            "INGEST_ACCOUNTS": "account-1234",
            "INGEST_KEYS": str(tmp_path / "keys.json"),
        }
        with running(limited, environ, tmp_path / "log") as process:
            until(lambda: "is ready" in process.output, "the endpoint")
            yield Endpoint(port, server, process)
            assert "Traceback" not in process.output


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        yield stack
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(opened: ExitStack, port: int) -> socket.socket:
    return opened.enter_context(socket.create_connection(("127.0.0.1", port), 30))


@pytest.mark.parametrize("files", [256], indirect=True)
def test_idle_connections_take_no_file_that_the_spool_needs(endpoint: Endpoint, opened: ExitStack) -> None:
    silent = [connect(opened, endpoint.port) for _ in range(600)]
    assert endpoint.call() == 200
    endpoint.server.kill()
    assert [endpoint.call() for _ in range(3)] == [200] * 3
    assert silent[0].recv(1000) == b""  # it was given up, and not left waiting
    assert "Too many open files" not in endpoint.process.output


@pytest.mark.parametrize("files", [63], indirect=True)
def test_with_too_few_files_it_does_not_start_and_says_why(tmp_path: Path, files: int) -> None:
    limited = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *ingest("serve")]
    environ = {"REDIS_URL": "redis://127.0.0.1:1", "INGEST_VERIFY": "off", "PORT": str(free_port())}
    with running(limited, environ, tmp_path / "log") as process:
        assert process.wait() == 1
        assert "ulimit -n" in process.output
        assert "Traceback" not in process.output


def test_requests_that_arrive_half_and_large_bodies_stay_within_the_memory(
    endpoint: Endpoint, opened: ExitStack
) -> None:
    most = 0

    def send(size: int, part: int) -> None:
        connection = connect(opened, endpoint.port)
        call = SIGNER.call(b"x" * size)
        with suppress(OSError):
            connection.sendall(request(call.body, call.target, *fields(call.headers))[:part])

    with ThreadPoolExecutor(4) as pool:
        for size, part, times in ((9_000_000, 8_999_000, 40), (65_000, 64_000, 2000)):
            for _ in range(times // 40):
                list(pool.map(send, [size] * 40, [part] * 40))
                most = max(most, endpoint.resident())
                assert endpoint.call() == 200
    assert limits.MAX_HELD // 2 < most < MEMORY
    opened.close()
    until(lambda: endpoint.resident() < 150 * MIB, "the memory to be given back")


def test_senders_that_fetch_nothing_or_send_halves_hold_up_no_stop(endpoint: Endpoint, opened: ExitStack) -> None:
    unsigned, sent = request(b"a=b") * 100, [0]

    def send(connection: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection.sendall(unsigned)
                sent[0] += 1

    def stuck() -> bool:
        before = sent[0]
        time.sleep(0.3)
        return sent[0] == before

    threads = []
    for _ in range(20):
        connection = opened.enter_context(socket.socket())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", endpoint.port))
        threads.append(threading.Thread(target=send, args=(connection,)))
        threads[-1].start()
    assert endpoint.call() == 200
    until(stuck, "senders that are stuck")
    for half in (request(b"a=b")[:-1], request(b"x" * 100_000)[:-1], b"GET / HTTP/1.1\r\nHost"):
        connect(opened, endpoint.port).sendall(half)
    endpoint.process.send(signal.SIGTERM)
    assert endpoint.process.wait() == 0
    for thread in threads:
        thread.join()
    assert "did not stop in time" not in endpoint.process.output
