"""How fast a gap is filled, and in how much memory: a mailing to a million, of which nearly a third opened in it.

The fake API that is asked runs in a process of its own, so its time is in the rate, and its memory is not.
"""

import asyncio
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.copernica.events import MICROS, EventType, decode
from ingest.settings import Settings
from ingest.simulation.fake_api import FakeCopernica, serve
from ingest.simulation.truth import Destination, Result, Truth
from tests.benchmarks import plan
from tests.benchmarks.machine import peak_memory
from tests.benchmarks.plan import Plan, Step
from tests.benchmarks.report import Goal, Row, Spread
from tests.benchmarks.servers import ROOT, python, scratch
from workers.catch_up.fetching import Period
from workers.catch_up.look import Context, look_at
from workers.store.schema import upgrade
from workers.store.store import Store

MAILING, TOKEN = 90210, "bench"
#: Seconds that the gap took, and for how long before it there are events by which clocks are compared.
GAP, BEFORE = 300, 300
#: One in so many results has its event in the store.
STORED = 15
CHUNK = 25_000
#: Seconds that it may take.
PATIENCE = 1800.0


def catch_up(size: Plan, step: Step) -> list[Row]:
    """Write what happened once, then fill the gap; each round with a copy of the database."""
    rates, peaks, calls = [], [], []
    with scratch() as folder:
        filled, end = folder / "filled.db", int(time.time()) - 7200
        with step(f"writing a mailing to {size.destinations:,}"):
            missing = _fill(f"sqlite:///{filled}", folder / "truth", size.destinations, size.results, end)
        with _served(folder / "truth") as url:
            for _ in range(size.repeat):
                database = shutil.copy(filled, folder / "events.db")
                with step("ours: filling a gap"):
                    done = _filled(f"sqlite:///{database}", url, end)
                assert done["recovered"] == missing, done
                rates.append(size.results / done["seconds"])
                peaks.append(done["peak"] / 1024**2)
                calls.append(done["calls"])
    # A page for each 950, and once more for the second list of a day that mail was sent on; 3 for each division.
    pages = (size.destinations + size.results) // 950 * 5 // 4 + 150
    return [
        Row("results fetched and stored/s", Spread(rates)),
        Row("peak memory, MiB", Spread(peaks), goal=Goal("< 300", lambda mine, _: mine < 300)),
        Row("API calls", Spread(calls), goal=Goal(f"< {pages:,}", lambda mine, _: mine < pages)),
    ]


def _fill(database: str, folder: Path, destinations: int, results: int, end: int) -> int:
    """Write the truth, and the store without the gap; returns how many events that lacks."""
    upgrade(database)
    draw = random.Random(plan.SEED)
    messages = [f"{draw.getrandbits(48):012x}" for _ in range(destinations)]
    blank = decode(b"type=open&id=m&useragent=Mozilla/5.0", "application/x-www-form-urlencoded", plan.PATH, 0)
    missing = 0
    with Truth(folder) as truth, Store.open(database) as store:
        for start in range(0, destinations, CHUNK):
            truth.add_destinations(
                Destination("ms", number + 1, messages[number], MAILING, end - 3600, number + 1)
                for number in range(start, min(start + CHUNK, destinations))
            )
        for start in range(0, results, CHUNK):
            happened = []
            stored = []
            for number in range(start, min(start + CHUNK, results)):
                destination = draw.randrange(destinations)
                there = number % STORED == 0
                second = end - GAP + number * GAP // results - (BEFORE if there else 0)
                ip = f"198.51.{draw.getrandbits(8)}.{draw.getrandbits(8)}"
                about = {"ip": ip, "useragent": "Mozilla/5.0", "device": "desktop"}
                happened.append(Result("ms", "impressions", number + 1, second, destination + 1, MAILING, about))
                missing += not there
                if there:
                    event = blank._replace(
                        delivery_id=second.to_bytes(4, "big") + draw.randbytes(8),
                        type=EventType.OPEN,
                        message_id=messages[destination],
                        recipient=f"jan{destination}@example.nl",
                        ip=ip,
                        profile=destination + 1,
                        occurred_at=second * MICROS,
                        received_at=second * MICROS + 1,
                    )
                    stored.append(event)
            truth.add_results(happened)
            store.add(stored)
        store.tidy()
    return missing


@contextmanager
def _served(truth: Path) -> Iterator[str]:
    """A fake API in a process of its own; gives its URL."""
    with subprocess.Popen(python("catch_up", "serve", str(truth)), cwd=ROOT, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().decode().strip()
        finally:
            server.terminate()


def _filled(database: str, url: str, end: int) -> dict[str, float]:
    done = subprocess.run(
        python("catch_up", database, url, str(end)), cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=PATIENCE
    )
    said: dict[str, float] = json.loads(done.stdout)
    return said


def _serve(truth: Path) -> None:
    fake = FakeCopernica(None, TOKEN, truth=Truth(truth))
    asyncio.run(serve(fake.app(), "127.0.0.1", 0, lambda url: print(url, flush=True)))


def _main(database: str, url: str, end: int) -> None:
    environ = {"COPERNICA_API_URL": f"{url}/v4", "COPERNICA_AUTH_URL": url, "COPERNICA_TOKEN": TOKEN}
    settings = Settings.read({"DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1", **environ})
    with Store.open(database) as store:
        began = time.perf_counter()
        context = Context(settings, store, lambda *_: None, lambda: None)
        look = look_at(context, Period(end - GAP, end))
        seconds = time.perf_counter() - began
    assert not look.wrong, look.wrong
    said = {"recovered": look.recovered, "seconds": seconds, "peak": peak_memory(), "calls": look.calls}
    print(json.dumps(said))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(Path(sys.argv[2]))
    else:
        _main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
