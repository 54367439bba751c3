"""The simulator keeps what happened where the fake API finds it, while calls fail, and when it starts again."""

import csv
import json
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ingest.copernica.api.client import Copernica
from ingest.copernica.api.destinations import destinations
from ingest.copernica.api.results import Product, results
from ingest.copernica.api.statistics import emailings, statistics
from ingest.copernica.event_types import EventType
from ingest.simulation.logwriter import PREFIXES
from ingest.simulation.truth import LISTS
from tests.support.fake_copernica import client
from tests.support.running import ingest, run, running, until

Told = Counter[tuple[str, str, str, str | None]]
#: Nothing answers there, and the simulator goes on: the events happened all the same.
SIMULATED = ("--unsigned", "--url", "http://127.0.0.1:1/x", "--keep-going", "--products", "ms,publisher", "--json")


@asynccontextmanager
async def fake_of(truth: Path, log: Path) -> AsyncIterator[Copernica]:
    """A client of a fake API, which is a process, that serves this truth."""
    with running(ingest("fake-api", "--results", str(truth), "--port", "0"), {}, log) as process:
        until(lambda: "COPERNICA_TOKEN=" in process.output, "the fake")
        async with client(dict(re.findall(r"^export (\w+)=(\S+)$", process.output, re.MULTILINE))) as copernica:
            yield copernica


async def told_by_results(copernica: Copernica) -> Told:
    """All results of these days; the totals of all mailings have to agree with them."""
    now, found = datetime.now(UTC), Told()
    begin, end = now - timedelta(hours=1), now + timedelta(hours=1)
    days = begin.date() - timedelta(days=1), end.date() + timedelta(days=1)
    for product in Product:
        messages: dict[int | None, str | None] = {}
        async for page in destinations(copernica, product, *days):
            messages |= {one.id: one.message for one in page}
        totals: Counter[EventType] = Counter()
        async for mailings in emailings(copernica, product, *days):
            for mailing in mailings:
                counts = await statistics(copernica, product, mailing.id)
                totals.update({kind: count.total or 0 for kind, count in counts.items()})
        for name in LISTS:
            kind, before = EventType(name), found.total()
            async for lines in results(copernica, product, kind, begin, end):
                found.update((product, kind, str(messages[one.destination]), one.timestamp) for one in lines)
            assert totals[kind] == found.total() - before
    return found


def told_by_logs(folder: Path) -> Told:
    found = Told()
    for product, prefixes in PREFIXES.items():
        for kind, prefix in prefixes.items():
            for path in folder.glob(f"{prefix}.*"):
                with path.open(newline="") as file:
                    found.update((product, kind, row["id"], row["time"]) for row in csv.DictReader(file))
    return found


async def test_results_and_log_files_tell_the_same_whatever_became_of_the_calls(tmp_path: Path) -> None:
    truth, logs = tmp_path / "truth", tmp_path / "logs"
    folders = ("--with-results", str(truth), "--with-logfiles", str(logs))
    async with fake_of(truth, tmp_path / "fake.log") as copernica:
        assert (await told_by_results(copernica)).total() == 0
        for sent in (200, 400):
            done = run("simulate", *SIMULATED, *folders, "--events", "200", "--rate", "400", environ={})
            assert (done.returncode, json.loads(done.stdout)["lost_connections"]) == (1, 200)
            told = await told_by_results(copernica)
            assert told == told_by_logs(logs)
            assert 0.8 * sent < told.total() <= sent
        endless = ingest("simulate", *SIMULATED, *folders, "--events", "99999", "--rate", "50")
        behind = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]  # as a script runs what it has in the background
        with running([*behind, *endless], {}, tmp_path / "log") as process:
            until(lambda: told_by_logs(logs).total() > told.total(), "its log files")
            process.send(signal.SIGTERM)
            assert process.wait() == 143
        assert await told_by_results(copernica) == told_by_logs(logs)
