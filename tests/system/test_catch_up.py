"""Endpoint and Redis are killed while mail goes on; in the end nothing is missing, and handlers got nothing twice.

The whole chain as processes: simulator, endpoint, Redis, workers with a handler, fake API, and the commands.
"""

import json
import signal
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from ingest.jobs import QUEUES
from ingest.simulation.truth import LISTS, Truth
from tests.support.running import answers, free_port, ingest, run, running, until
from tests.support.valkey import valkey
from workers.store.filters import Filter
from workers.store.schema import upgrade
from workers.store.store import Store

#: Calls per second, and seconds of sending before the outage, in it and after it.
RATE, BEFORE, OUTAGE, AFTER = 200, 4, 5, 4
TYPES = "open,click,delivery,failure,unsubscribe"
NOTE = """
import os

from workers import on


@on()
def note(event):
    file = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{event.type} {event.message_id} {event.delivery_id.hex()}\\n".encode())
    os.close(file)
"""


def happened(truth: Path) -> Counter[tuple[str, str]]:
    """Type and message of everything that Copernica knows of."""
    kinds = {name: kind for kind, name in LISTS.items()}
    with Truth(truth) as known:
        messages = {(one.product, one.id): one.message for one in known.destinations()}
        return Counter((kinds[one.kind], messages[one.product, one.destination]) for one in known.results())


def stored(database: str) -> Counter[tuple[str, str]]:
    with Store.open(database) as store:
        return Counter((event.type.value, str(event.message_id)) for event in store.find(Filter()))


def noted(path: Path) -> Counter[tuple[str, str]]:
    return Counter((kind, message) for kind, message, _ in map(str.split, path.read_text().splitlines()))


@pytest.mark.timeout(180)
def test_a_killed_endpoint_and_redis_leave_nothing_missing_and_handlers_get_everything_once(
    tmp_path: Path,
) -> None:
    (tmp_path / "noting.py").write_text(NOTE)
    truth, logs, notes = tmp_path / "truth", tmp_path / "logs", tmp_path / "notes"
    port, api = free_port(), free_port()
    database = f"sqlite:///{tmp_path}/events.db"
    upgrade(database)
    with valkey() as server, ExitStack() as stack:
        given = ("--results", str(truth), "--logfiles", str(logs), "--port", str(api), "--token", "geheim")
        fake = stack.enter_context(running(ingest("fake-api", *given), {}, tmp_path / "api.log"))
        environ = {
            "REDIS_URL": server.url,
            "DATABASE_URL": database,
            "PORT": str(port),
            "INGEST_VERIFY": "off",
            "INGEST_HANDLERS": "noting",
            "NOTES": str(notes),
            "PYTHONPATH": str(tmp_path),
            "COPERNICA_TOKEN": "geheim",
            "COPERNICA_API_URL": f"http://127.0.0.1:{api}/v4",
            "COPERNICA_AUTH_URL": f"http://127.0.0.1:{api}",
        }
        for queue in QUEUES:
            worker = ingest("worker", "--queue", queue)
            stack.enter_context(running(worker, environ, tmp_path / f"{queue}.log"))
        first = stack.enter_context(running(ingest("serve"), environ, tmp_path / "serve.log"))
        until(lambda: answers(port), "the endpoint")
        assert fake.alive
        sent = RATE * (BEFORE + OUTAGE + AFTER)
        sending = ("--url", f"http://127.0.0.1:{port}/copernica", "--events", str(sent), "--rate", str(RATE))
        told = ("--with-results", str(truth), "--with-logfiles", str(logs), "--json")
        mail = ("simulate", *sending, "--unsigned", "--keep-going", "--types", TYPES, *told)
        simulator = stack.enter_context(running(ingest(*mail), {}, tmp_path / "mail.log"))
        time.sleep(BEFORE)
        first.send(signal.SIGKILL)
        server.kill()
        time.sleep(OUTAGE)
        server.start()
        stack.enter_context(running(ingest("serve"), environ, tmp_path / "serve2.log"))
        simulator.wait(90)
        all_of_it = happened(truth)
        lost = sent - json.loads(simulator.output)["acknowledged"]
        assert lost > RATE
        done = run("catch-up", "--since", "2m", "--json", environ=environ, seconds=60)
        assert done.returncode == 0, done.stdout + done.stderr
        said = json.loads(done.stdout)
        assert not said["unresolved"]
        until(lambda: stored(database) == all_of_it, "every event", 60)
        until(lambda: notes.exists() and noted(notes) == all_of_it, "the handler's calls", 60)
        again = json.loads(run("catch-up", "--since", "2m", "--json", environ=environ, seconds=60).stdout)
        assert again["recovered"] == 0
        day = run("reconcile", "today", "--partial", "--json", environ=environ, seconds=60)
        (report,) = map(json.loads, day.stdout.splitlines())
        assert sum(kind["recovered"] + kind["unmatched"] for kind in report["kinds"]) == 0
        assert sum(kind["in_log"] for kind in report["kinds"]) == all_of_it.total()
    assert stored(database) == noted(notes) == all_of_it
