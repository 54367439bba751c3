"""How many connections to Redis each kind of process holds: small plans allow few of them."""

import re
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from ingest.redis_client import connect
from tests.support.running import all_running, answers, descendants, exchange, free_port, until
from tests.support.site import Site
from tests.support.source import ROOT
from tests.support.valkey import valkey

HANDLERS = """
import time

from workers import on


@on(backoff=[0.1, 0.1])
def failing(event):
    time.sleep(0.001)
    if int(event.payload["number"]) % 50 == 0:
        raise ValueError("one in fifty")
"""
READY = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
#: Calls per second, and seconds of it; the endpoint's maintenance comes round meanwhile.
RATE, SECONDS = 300, 6


def documented() -> dict[str, int]:
    """The table of docs/redis.md: process → connections at most."""
    table = (ROOT / "docs" / "redis.md").read_text().split("<!-- connections: begin -->")[1].split("<!--")[0]
    return {
        name: int(most) for name, most in re.findall(r"^\| `ingest ([^`]+)`.*\| (\d+) \|$", table, re.MULTILINE)
    }


def ports(pid: int) -> set[int]:
    """The local ports of a process's TCP connections."""
    inodes = set()
    with suppress(OSError):  # it has ended just now
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                inodes.add(str(fd.readlink()).removeprefix("socket:[").rstrip("]"))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].partition(":")[2], 16) for row in rows if row[9] in inodes}


def test_they_are_as_few_as_the_documentation_says(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HANDLERS)
    with valkey(free_port()) as server, connect(server.url) as admin, ExitStack() as stack:
        site = Site(server, tmp_path)
        site.environ |= {"INGEST_HANDLERS": "mine", "PYTHONPATH": str(tmp_path)}
        kinds = {
            "serve": ("serve",),
            "worker": ("worker",),
            "worker --queue handlers": ("worker", "--queue", "handlers"),
            "events --follow": ("events", "--follow"),
        }
        processes = stack.enter_context(all_running(kinds, site.environ, tmp_path))
        until(lambda: answers(site.port), "the endpoint")
        until(lambda: admin.scard("rq:workers") == 2, "the workers")
        #: Of each kind the connections when they were most, by what Redis knows of them.
        most: dict[str, list[str]] = {kind: [] for kind in kinds}
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            assert site.send(RATE // 5, RATE).complete
            exchange(site.port, READY)
            clients = {int(one["addr"].rpartition(":")[2]): one for one in admin.client_list()}
            for kind, process in processes.items():
                # A work-horse is a fork: it has its parent's connections open, besides its own.
                held = set().union(*(ports(pid) for pid in (process.pid, *descendants(process.pid))))
                known = [f"{one['cmd']} for {one['age']} s" for port, one in clients.items() if port in held]
                most[kind] = max(most[kind], known, key=len)
        print({kind: len(known) for kind, known in most.items()})
        assert {kind: known for kind, known in most.items() if len(known) > documented()[kind]} == {}
