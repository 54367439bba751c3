"""The health check of the image, against a server that answers and one that does not."""

import importlib.util
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType

import pytest

from tests.support.hosts import DEPLOY
from tests.support.running import free_port


@pytest.fixture(scope="module")
def healthcheck() -> ModuleType:
    specification = importlib.util.spec_from_file_location("healthcheck", DEPLOY / "healthcheck.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "command", [["python", "/opt/ingest/bin/ingest", "serve"], ["init", "--", "ingest", "all"]]
)
def test_an_endpoint_is_healthy_as_long_as_it_answers(
    healthcheck: ModuleType, port: int, command: list[str]
) -> None:
    assert healthcheck.exit_code(command, "0.0.0.0", port) == 0
    assert healthcheck.exit_code(command, "127.0.0.1", free_port()) == 1


def test_the_console_is_asked_where_it_listens(healthcheck: ModuleType, port: int) -> None:
    words = ["python", "/opt/ingest/bin/ingest", "console"]
    assert healthcheck.LISTENING[healthcheck.command(words)] == (
        "INGEST_CONSOLE_HOST",
        "INGEST_CONSOLE_PORT",
        8001,
    )
    assert healthcheck.exit_code(words, "0.0.0.0", port) == 0
    assert healthcheck.exit_code(words, "", free_port()) == 1


def test_a_worker_is_never_unhealthy(healthcheck: ModuleType) -> None:
    assert healthcheck.exit_code(["ingest", "worker", "--queue", "events"], "", free_port()) == 0
