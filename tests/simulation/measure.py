"""Record what the real program does in the cases that the simulator is compared with: `make simulation-record`.

    python -m tests.simulation.measure [--only NAME]

A real endpoint, worker, Redis and PostgreSQL, which refuses connections for a while. How
fast a backlog is drained, and how batches grow, `make bench` measures.
"""

import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import psycopg

from ingest.stream.consumer import Consumer
from ingest.stream.keys import Keys
from tests.benchmarks import load, machine
from tests.benchmarks.servers import OURS, SCRATCH, Store, endpoint, redis_server, scratch
from tests.simulation.parameters import Case
from tests.support.postgres import Server, postgres
from tests.support.running import ingest, running
from workers.store.schema import upgrade

RECORD = Path(__file__).with_name("measured.json")
#: Seconds between two looks at the backlog, and which of them are kept: each so many.
EVERY, LOOKS_KEPT = 0.05, 10
#: The database, and what ends all connections to it.
NAME = "simulated"
END_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
#: Seconds to wait until all is stored.
PATIENCE = 90.0
CASES = (
    Case(name="a short outage", rate=500, seconds=12.0, outage=(3.0, 9.0)),
    Case(name="a longer one", rate=400, seconds=25.0, outage=(4.0, 22.0)),
    Case(name="at twice the rate", rate=1000, seconds=14.0, outage=(3.0, 11.0)),
)


@dataclass
class Watch:
    """Looks now and then: seconds since the beginning, events that wait, and events that have come so far."""

    looks: list[tuple[float, int, int]]
    began: float = 0.0
    #: When the database was back.
    returned: float = 0.0


def measured(case: Case) -> dict[str, object]:
    """One case, measured."""
    with (
        scratch() as folder,
        redis_server(folder) as store,
        postgres({"fsync": "on"}, SCRATCH) as server,
        endpoint(OURS, store, folder) as (port, _),
    ):
        database = server.new_database(NAME)
        upgrade(database)
        environ = {
            "REDIS_URL": store.url, "DATABASE_URL": database, "INGEST_ALLOW_ROOT": "on",
            "INGEST_DATA_DIR": str(folder), "LOG_LEVEL": "warning",
        }  # fmt: skip  # the settings
        with running(ingest("worker", "--queue", "events"), environ, folder / "worker.log"):
            load.send(port, 1.0, 500)
            _until_empty(store, 30)
            entries = _entries(store)
            watch = Watch([], time.monotonic())
            with _watched(store, watch), _outage(case, server, watch):
                sent = load.send(port, case.seconds, case.rate or None)
                _until_empty(store, PATIENCE)
            batches = _entries(store) - entries
        stored = _stored(database)
    events = sent.answered
    return {
        "case": asdict(case),
        "events": events,
        "stored": stored,
        "per_batch": events / max(1, batches),
        "returned_s": watch.returned,
        "backlog_then": _backlog_at(watch, watch.returned),
        # Until a tenth of it was drained: a worker tries again after up to five seconds.
        "waited_s": _fallen(watch, 0.9) - watch.returned,
        # All of the arrivals, so that the same ones can be simulated.
        "arrived": [(round(at, 2), number - watch.looks[0][2]) for at, _, number in watch.looks[::LOOKS_KEPT]],
    }


def _look(consumer: Consumer, watch: Watch) -> tuple[float, int, int]:
    return time.monotonic() - watch.began, consumer.backlog(), consumer.counts().get("accepted", 0)


def _backlog_at(watch: Watch, moment: float) -> int:
    return next((backlog for at, backlog, _ in watch.looks if at >= moment), 0)


def _fallen(watch: Watch, share: float) -> float:
    """When no more than a share of what had gathered was left, after the database's return."""
    least = max(backlog for _, backlog, _ in watch.looks) * share
    return next(at for at, backlog, _ in watch.looks if at > watch.returned and backlog <= least)


def _entries(store: Store) -> int:
    return int(store.client.xinfo_stream(Keys().stream)["entries-added"])


def _stored(database: str) -> int:
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT coalesce(sum(number), 0) FROM event_counts").fetchone()
    assert row is not None
    return int(row[0])


def _until_empty(store: Store, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while Consumer(store.client).backlog():
        if time.monotonic() > ends:
            raise click.ClickException("the backlog was not drained in time")
        time.sleep(EVERY / 5)


@contextmanager
def _watched(store: Store, watch: Watch) -> Iterator[None]:
    over = threading.Event()

    def look() -> None:
        consumer = Consumer(store.client)
        while not over.wait(EVERY):
            watch.looks.append(_look(consumer, watch))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        watch.looks.append(_look(Consumer(store.client), watch))


@contextmanager
def _outage(case: Case, server: Server, watch: Watch) -> Iterator[None]:
    """Have the database away when the case says so: it takes no connections, and those that it has are ended."""

    def away() -> None:
        assert case.outage is not None
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as admin:
            time.sleep(max(0.0, watch.began + case.outage[0] - time.monotonic()))
            admin.execute(f"ALTER DATABASE {NAME} ALLOW_CONNECTIONS false")
            admin.execute(END_OTHERS, [NAME])
            time.sleep(max(0.0, watch.began + case.outage[1] - time.monotonic()))
            admin.execute(f"ALTER DATABASE {NAME} ALLOW_CONNECTIONS true")
        watch.returned = time.monotonic() - watch.began

    thread = threading.Thread(target=away)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@click.command()
@click.option(
    "--only", type=click.Choice([case.name for case in CASES]), help="One case; the others stay as they are."
)
def main(only: str | None) -> None:
    """Measure the cases, and keep what came of them beside this file."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    kept = json.loads(RECORD.read_text())["runs"] if only and RECORD.exists() else []
    runs = {run["case"]["name"]: run for run in kept}
    for case in CASES:
        if only in (None, case.name):
            runs[case.name] = measured(case)
            click.echo(json.dumps(runs[case.name]))
    measured_on = {
        "machine": machine.machine(),
        "versions": machine.versions(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    RECORD.write_text(written(measured_on, list(runs.values())))


def written(measured_on: dict[str, object], runs: list[dict[str, object]]) -> str:
    """The record as JSON, a line for each run."""
    lines = [
        f" {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}," for name, value in measured_on.items()
    ]
    each = ",\n".join(f"  {json.dumps(run)}" for run in runs)
    return "\n".join(["{", *lines, ' "runs": [', each, " ]", "}"]) + "\n"


if __name__ == "__main__":
    main()
