"""The spool's disk is full: an endpoint starts all the same, and what lies in the spool makes room by leaving."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import orjson
import pytest

from tests.support.disk import Disk
from tests.support.running import answers, exchange, ingest, running, until
from tests.support.site import Site
from tests.support.valkey import valkey

READY = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk", 512 * 1024)
    if not disk.mounted:
        pytest.skip("needs a disk of its own, which only root may mount")
    yield disk
    disk.unmount(None)


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_what_was_acknowledged_is_stored_although_nothing_can_be_written(
    disk: Disk, tmp_path: Path, how: str
) -> None:
    with valkey() as server:
        site = Site(server, tmp_path)
        site.environ["INGEST_SPOOL_DIR"] = str(disk.folder / "spool")
        server.kill()
        with running(ingest("serve"), site.environ, tmp_path / "web.log") as web:
            until(lambda: answers(site.port), "the endpoint")
            kept = site.send(200).acknowledged
            if how == "full":
                disk.fill()
                until(lambda: not site.send(20).acknowledged, "a full disk")
            web.send(signal.SIGKILL)
            web.wait()
        if how == "read-only":
            until(disk.make_read_only, "a disk that nobody writes to")
        kept = max(kept, 200)
        with running(ingest("serve"), site.environ, tmp_path / "web.log") as web, ExitStack() as stack:
            until(lambda: "takes no calls" in web.output, "word of it")
            server.start()
            stack.enter_context(running(ingest("worker"), site.environ, tmp_path / "worker.log"))
            until(lambda: answers(site.port), "the endpoint")
            state = orjson.loads(exchange(site.port, READY).partition(b"\r\n\r\n")[2])
            until(lambda: site.numbers().total() >= kept, "all that was acknowledged")
            assert set(site.numbers().values()) == {1}
            if how == "read-only":
                assert state["spool"] == "fails"
                assert any("takes no calls (Read-only file system)" in risk for risk in state["risks"])
                disk.make_read_only(False)
            disk.free()
            until(lambda: "the spool takes calls again" in web.output, "a spool that takes calls")
            assert web.stop() == 0
        assert "Traceback" not in web.output
