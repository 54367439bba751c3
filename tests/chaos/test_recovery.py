"""Redis is full, flushed, or set back to an older state: everybody goes on, and nobody has to help."""

import shutil
import signal
from collections.abc import Iterator

import pytest

from ingest.redis_client import connect
from ingest.stream.consumer import Consumer
from ingest.stream.keys import Keys
from tests.support.builders import record
from tests.support.cli import status_figures
from tests.support.running import answers, ingest, running, until
from tests.support.site import Site
from tests.support.stream import keep


@pytest.fixture
def running_site(site: Site) -> Iterator[Site]:
    with (
        running(ingest("serve"), site.environ, site.folder / "web.log") as web,
        running(ingest("worker"), site.environ, site.folder / "worker.log") as worker,
    ):
        until(lambda: answers(site.port), "the endpoint")
        yield site
        site.server.send(signal.SIGCONT)
        assert worker.stop() == 0
        assert web.stop() == 0
    assert "Traceback" not in web.output + worker.output


def test_a_worker_makes_room_in_a_full_redis_by_itself_and_is_back_when_there_is_some(site: Site) -> None:
    with connect(site.server.url) as client:
        Consumer(client).prepare()  # as an endpoint does when it starts and with every sweep
        keep(client, *([record(n)] for n in range(20)))
        client.config_set("maxmemory", 1)
        with running(ingest("worker"), site.environ, site.folder / "worker.log") as worker:
            until(lambda: not Consumer(client).batches(), "an empty stream")
            assert status_figures(site.environ)[1]["stored"] == 20
            assert "draining without RQ" in worker.output
            client.config_set("maxmemory", 0)
            until(lambda: status_figures(site.environ)[1]["workers"], "a worker that is listed")
            assert worker.stop() == 0
        assert "Traceback" not in worker.output


def test_a_redis_that_was_flushed_is_used_again_without_a_restart(running_site: Site) -> None:
    assert running_site.send(100).complete
    running_site.wait_for(100)
    with connect(running_site.server.url) as client:
        client.flushall()
    assert running_site.send(100).complete
    running_site.wait_for(200)
    until(lambda: status_figures(running_site.environ)[1]["workers"], "a worker that is listed again")
    until(lambda: status_figures(running_site.environ)[1]["endpoints"], "an endpoint that is listed again")


def test_a_redis_that_is_set_back_costs_only_work(running_site: Site) -> None:
    """As a failover to a replica that is behind: it still has what was drained, and knows of no later claims."""
    server, older = running_site.server, running_site.folder / "older"
    with connect(server.url) as client:
        assert running_site.send(50).complete
        shutil.copytree(server.folder / "appendonlydir", older)
        running_site.wait_for(50)
        assert running_site.send(50).complete
        running_site.wait_for(100)
        last = client.xinfo_stream(Keys().stream)["last-generated-id"]
    server.kill()
    shutil.rmtree(server.folder / "appendonlydir")
    shutil.copytree(older, server.folder / "appendonlydir")
    server.start("--aof-load-truncated", "yes")
    with connect(server.url) as client:
        assert client.xinfo_stream(Keys().stream)["last-generated-id"] < last
    assert running_site.send(50).complete
    running_site.wait_for(150)
    with connect(server.url) as client:
        until(lambda: not Consumer(client).batches(), "an empty stream")
