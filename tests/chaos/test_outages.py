"""Redis is killed, or stopped and silent, for a minute under load: no call fails, and everything is stored after.

`SECONDS` says how long the outage lasts (60), `RATE` how many calls come in each of them (2,000).
"""

import asyncio
import json
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Thread

import pytest

from ingest.simulation.calls import Simulator
from ingest.simulation.report import Report
from ingest.simulation.sender import Sender
from ingest.simulation.target import Target
from tests.support.running import answers, clean_environ, free_port, ingest, running, until
from tests.support.valkey import Valkey, valkey
from workers.store.schema import upgrade

#: Seconds of load before the outage, and after it.
BEFORE, AFTER = 1.0, 1.0
#: Seconds in which the endpoint finds out that Redis is away.
FINDING_OUT = 1.0
#: What must hold during the outage thereafter: seconds at the 99th percentile of all answers.
P99 = 0.25
#: Seconds from the return of Redis until everything is stored.
CATCH_UP = 60.0
CONNECTIONS = 64


def stop(server: Valkey) -> None:
    server.send(signal.SIGSTOP)


def go_on(server: Valkey) -> None:
    server.send(signal.SIGCONT)


def start(server: Valkey) -> None:
    server.start(wait=False)


def outage(
    lose: Callable[[Valkey], None], restore: Callable[[Valkey], None], seconds: float, rate: float, folder: Path
) -> dict[str, float]:
    """Load, an outage in the middle of it, and how it went."""
    port = free_port()
    database = folder / "events.db"
    with ExitStack() as stack:
        server = stack.enter_context(valkey())
        environ = {
            "REDIS_URL": server.url,
            "DATABASE_URL": f"sqlite:///{database}",
            "PORT": str(port),
            "INGEST_VERIFY": "off",
        }
        upgrade(environ["DATABASE_URL"])
        web = stack.enter_context(running(ingest("serve"), environ, folder / "web.log"))
        worker = stack.enter_context(running(ingest("worker"), environ, folder / "worker.log"))
        until(lambda: answers(port), "the endpoint")
        events = int((BEFORE + seconds + AFTER) * rate)
        sender = Sender(Target(f"http://127.0.0.1:{port}/copernica"), iter(Simulator(1)), events, rate)
        reports: list[Report] = []
        load = Thread(target=lambda: reports.append(asyncio.run(sender.run(CONNECTIONS))))
        load.start()
        time.sleep(BEFORE)
        lose(server)
        time.sleep(FINDING_OUT)
        first = len(sender.report.latencies)
        time.sleep(seconds - FINDING_OUT)
        last = len(sender.report.latencies)
        restore(server)
        back = time.monotonic()
        load.join()
        (report,) = reports
        until(lambda: stored(database) >= events, "everything in the database", CATCH_UP + 30)
        caught_up = time.monotonic() - back
        assert "Traceback" not in web.output + worker.output
    during = sorted(report.latencies[first:last])
    return {
        "sent": report.sent,
        "acknowledged": report.acknowledged,
        "stored": stored(database),
        "p99_ms_during": round(during[int(len(during) * 0.99)] * 1000, 1),
        "slowest_ms": round(max(report.latencies) * 1000, 1),
        "seconds_until_stored": round(caught_up, 1),
    }


def stored(database: Path) -> int:
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])


@pytest.mark.parametrize(("lose", "restore"), [(Valkey.kill, start), (stop, go_on)], ids=["killed", "stopped"])
def test_no_call_fails_and_all_are_stored(
    lose: Callable[[Valkey], None], restore: Callable[[Valkey], None], tmp_path: Path
) -> None:
    environ = clean_environ()
    seconds, rate = float(environ.get("SECONDS") or 60), float(environ.get("RATE") or 2000)
    figures = outage(lose, restore, seconds, rate, tmp_path)
    print(json.dumps(figures))
    assert figures["stored"] == figures["acknowledged"] == figures["sent"]
    assert figures["p99_ms_during"] <= P99 * 1000
    assert figures["seconds_until_stored"] <= CATCH_UP
