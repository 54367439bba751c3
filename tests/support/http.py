"""HTTP for tests: calls written byte by byte, and listeners that answer as told."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


def request(body: bytes, path: bytes = b"/copernica", *headers: bytes, method: bytes = b"POST") -> bytes:
    head = b"%b %b HTTP/1.1\r\nHost: hooks.example.nl\r\nContent-Length: %d\r\n" % (method, path, len(body))
    return head + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


#: What a target answers: a status and headers.
Answer = tuple[int, Mapping[str, str]]


@dataclass
class Seen:
    """One call as the target saw it; names of headers in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Script:
    """A target on this machine: notes what it is sent and answers as told."""

    url: str = ""
    answer: Callable[[Seen], Answer] = field(default=lambda _: (200, {}))
    seen: list[Seen] = field(default_factory=list)


@contextmanager
def listening() -> Iterator[Script]:
    script = Script()

    class Listener(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            call = Seen(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            script.seen.append(call)
            status, headers = script.answer(call)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    server.daemon_threads = True
    script.url = f"http://127.0.0.1:{server.server_port}/old.php"
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Answering(asyncio.Protocol):
    """A server that gives the answers it was told, one per request."""

    def __init__(self, answers: Iterator[bytes]) -> None:
        self._answers = answers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        answer = next(self._answers)
        self._transport.write(answer)
        if not answer or b"close" in answer:
            self._transport.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
