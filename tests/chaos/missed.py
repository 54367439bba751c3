"""The whole way back, as processes: a mailing with the endpoint down for a third of the time, then reconcile."""

import csv
import json
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingest import redis_client
from ingest.copernica.logfiles.kinds import KINDS
from ingest.stream.consumer import Consumer
from tests.support.running import answers, free_port, ingest, run, running, until
from workers.store.schema import upgrade

TOKEN = "a-token"
#: Types whose calls tell when they happened, and that are logged.
TIMED = ("open", "click", "delivery", "failure", "unsubscribe")


def recover(redis_url: str, folder: Path, events: int, rate: float, again: bool = False) -> dict[str, Any]:
    """Send, kill, send, start, send, reconcile; returns the figures, and fails if the store is not complete."""
    port, api = free_port(), free_port()
    logs, database = folder / "logs", folder / "events.db"
    environ = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": f"sqlite:///{database}",
        "PORT": str(port),
        "WEB_CONCURRENCY": "2",
        "INGEST_VERIFY": "off",
        "INGEST_SPOOL_DIR": str(folder / "spool"),
        "INGEST_RECONCILE_AT": "off",
        "COPERNICA_TOKEN": TOKEN,
        "COPERNICA_API_URL": f"http://127.0.0.1:{api}/v4",
        "COPERNICA_AUTH_URL": f"http://127.0.0.1:{api}",
    }
    upgrade(environ["DATABASE_URL"])
    first = datetime.now(UTC).date()
    sending = (
        "simulate",
        "--events",
        str(events),
        "--rate",
        str(rate),
        "--connections",
        "32",
        "--unsigned",
        "--keep-going",
        "--with-logfiles",
        str(logs),
        "--json",
    )
    with running(ingest("worker"), environ, folder / "worker.log"):
        third = events / rate / 3
        with running(ingest("serve"), environ, folder / "web.log") as endpoint:
            until(lambda: answers(port), "the endpoint")
            with running(ingest(*sending), environ, folder / "sent.json") as sender:
                time.sleep(third)
                endpoint.send(signal.SIGKILL)
                endpoint.wait()
                time.sleep(third)
                with running(ingest("serve"), environ, folder / "web2.log"):
                    assert sender.wait(third * 3 + 60) == 1, "what was lost is an error to the simulator"
                    until(lambda: _backlog(environ) == 0, "an empty stream", 60)
    sent = json.loads((folder / "sent.json").read_text())
    before = stored(database)
    serving = ingest("fake-api", "--logfiles", str(logs), "--port", str(api), "--token", TOKEN)
    with running(serving, environ, folder / "api.log") as fake:
        until(lambda: str(api) in fake.output, "the fake of Copernica's API")
        days = str(first), str(datetime.now(UTC).date())
        done = run("reconcile", *days, "--partial", "--json", environ=environ, seconds=300)
        after = stored(database)
        if again:
            second = run("reconcile", *days, "--partial", "--json", environ=environ, seconds=300)
            assert sum(_total(line, "recovered") for line in second.stdout.splitlines()) == 0
            assert stored(database) == after, "a second run changes nothing"
    assert done.returncode == 0, done.stderr + done.stdout
    truth = logged(logs)
    assert Counter({key: n for key, n in after.items() if key[0] in TIMED}) == truth, "the store is complete"
    return {
        "sent": sent["sent"],
        "acknowledged": sent["acknowledged"],
        "lost": sent["lost_connections"],
        "stored_before": before.total(),
        "recovered": sum(_total(line, "recovered") for line in done.stdout.splitlines()),
        "stored": after.total(),
    }


def _backlog(environ: dict[str, str]) -> int:
    with redis_client.connect(environ["REDIS_URL"]) as client:
        return Consumer(client).batches()


def _total(line: str, figure: str) -> int:
    return sum(kind[figure] for kind in json.loads(line)["kinds"])


Key = tuple[str, str, str]


def stored(database: Path) -> Counter[Key]:
    """Events by type, message and second."""
    with closing(sqlite3.connect(database)) as connection:
        query = "SELECT type, message_id, substr(occurred_at, 1, 19) FROM events WHERE message_id IS NOT NULL"
        return Counter(tuple(row) for row in connection.execute(query))


def logged(folder: Path) -> Counter[Key]:
    """The same of the log files: what really happened."""
    found: Counter[Key] = Counter()
    for path in folder.glob("cdm-*.log"):
        kind = KINDS[path.name.partition(".")[0]].type
        if kind in TIMED:
            with path.open(newline="") as file:
                found.update((str(kind), line["id"], line["time"]) for line in csv.DictReader(file))
    return found
