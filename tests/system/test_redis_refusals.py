"""An endpoint does not start with a Redis that will never take its calls, although it has a spool."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from ingest.redis_client import connect
from tests.support.running import answers, exchange, free_port, ingest, run, running, until
from tests.support.site import Site
from tests.support.tls import Authority, tls_front
from tests.support.valkey import Valkey, valkey

READY = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@contextmanager
def cluster(_folder: Path) -> Iterator[str]:
    with valkey(free_port(), "--cluster-enabled", "yes", "--cluster-port", str(free_port())) as server:
        yield server.url


@contextmanager
def unknown_certificate(folder: Path) -> Iterator[str]:
    with valkey(free_port()) as server, tls_front(server.port, Authority(folder).identity("localhost")) as port:
        yield f"rediss://127.0.0.1:{port}/0"


@contextmanager
def no_password(_folder: Path) -> Iterator[str]:
    with with_password() as server:
        yield server.url


@contextmanager
def wrong_password(_folder: Path) -> Iterator[str]:
    with with_password() as server:
        yield server.url.replace("//", "//:wrong@")


@contextmanager
def with_password() -> Iterator[Valkey]:
    with valkey(free_port()) as server:
        with connect(server.url) as admin:
            admin.config_set("requirepass", "geheim")
        yield server


@pytest.mark.parametrize(
    ("redis", "said"),
    [
        (cluster, "runs as a Redis Cluster"),
        (unknown_certificate, "INGEST_REDIS_TLS=no-verify"),
        (no_password, "refuses our credentials"),
        (wrong_password, "refuses our credentials"),
    ],
)
def test_serve_and_workers_refuse_to_start(
    tmp_path: Path, redis: Callable[[Path], AbstractContextManager[str]], said: str
) -> None:
    with redis(tmp_path) as url, valkey() as other:
        site = Site(other, tmp_path)
        for command in ("serve", "worker"):
            refused = run(command, environ=site.environ | {"REDIS_URL": url})
            assert refused.returncode == 1
            assert said in refused.stdout + refused.stderr
            assert "Traceback" not in refused.stderr
            assert "geheim" not in refused.stdout + refused.stderr


def test_one_that_is_only_away_is_waited_for_and_a_disk_that_goes_is_told(tmp_path: Path) -> None:
    with valkey(free_port()) as server:
        site = Site(server, tmp_path)
        site.environ["DYNO"] = "web.1"
        server.end()
        with running(ingest("serve"), site.environ, tmp_path / "web.log") as web:
            until(lambda: answers(site.port), "the endpoint")
            assert site.send(5).complete
            assert b"goes with its process (INGEST_SPOOL_DURABLE=no)" in exchange(site.port, READY)
            server.start()
            with running(ingest("worker"), site.environ, tmp_path / "worker.log"):
                site.wait_for(5)
            assert web.alive
