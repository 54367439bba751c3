"""How fast one worker moves the backlog into a database: SQLite, PostgreSQL, empty, and with millions in it.

Ours works through batches as the endpoint packs them, RQ's worker through one job per event. Both commits wait for
the disk; of the two Redis servers only ours does.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle, islice
from typing import NamedTuple

import uvloop

from ingest import redis_client
from ingest.copernica.header_fields import HeaderFields
from ingest.endpoint.answers import Answer
from ingest.endpoint.intake import Intake
from ingest.simulation.calls import Call
from ingest.stream.appends import Stream
from ingest.stream.producer import Producer
from tests.benchmarks import baselines, plan
from tests.benchmarks.plan import Plan, Step
from tests.benchmarks.report import Goal, Row, Spread
from tests.benchmarks.servers import ROOT, SCRATCH, cpu_seconds, python, redis_server, scratch
from tests.benchmarks.stored import fill
from tests.support import mariadb
from tests.support.postgres import Server, postgres
from workers.drain.drain import Drain
from workers.store.schema import upgrade
from workers.store.store import Store

WORKER = "RQ SimpleWorker"
SQLITE = "ours into SQLite"
EMPTY = "an empty database"
DATABASES = ("SQLite", "PostgreSQL")
POSTGRES_GOAL = Goal("≥ 30,000 and ≥ 0.6 x", lambda mine, ratio: mine >= 30_000 and ratio >= 0.6)
MARIADB_GOAL = Goal("≥ 25,000", lambda mine, _: mine >= 25_000)
#: As docs/mariadb.md has it; each commit waits for the disk.
MARIADB = {"innodb_buffer_pool_size": "512M", "innodb_log_file_size": "256M", "max_allowed_packet": "64M"}
ONE = "one worker"
TWO_GOAL = Goal("≥ 1.7 x", lambda _, ratio: ratio >= 1.7)
#: Seconds that one worker may take for its backlog.
PATIENCE = 180.0


class Drained(NamedTuple):
    """How a backlog was drained: events per second, and µs of processor time per event."""

    rate: float
    #: Of the workers.
    cpu: float
    #: Of the database's server.
    server: float


def drain(size: Plan, step: Step) -> list[Row]:
    """Fill and drain, in turns."""
    calls = plan.calls()
    ours, theirs, postgresql, two, maria = [], [], [], [], []
    with postgres({}, SCRATCH) as server, _mariadb() as maria_server:
        for _ in range(size.repeat):
            with step(f"{WORKER}: working off jobs"):
                theirs.append(_jobs(calls, size.jobs))
            with step("ours: draining into SQLite"):
                ours.append(batches(calls, size.events))
            with step("ours: draining into PostgreSQL"):
                postgresql.append(batches(calls, size.events, server.new_database("bench"), server))
            with step("ours: two workers draining into it"):
                two.append(batches(calls, size.events, server.new_database("bench"), server, workers=2))
            if maria_server is not None:
                with step("ours: draining into MariaDB"):
                    database = maria_server.new_database("bench")
                    maria.append(batches(calls, size.events, database, maria_server))
    goal = Goal("≥ 40,000 or ≥ 80 x", lambda mine, ratio: mine >= 40_000 or ratio >= 80)
    rates, rates_theirs = _spread(ours, "rate"), Spread([rate for rate, _ in theirs])
    costs, costs_theirs = _spread(ours, "cpu"), Spread([cost for _, cost in theirs])
    rates_one, costs_one = _spread(postgresql, "rate"), _spread(postgresql, "cpu")
    return [
        Row("events drained/s", rates, WORKER, rates_theirs, goal),
        Row("worker CPU, µs/event", costs, WORKER, costs_theirs),
        Row("events drained/s into PostgreSQL", rates_one, SQLITE, rates, POSTGRES_GOAL),
        Row("worker CPU, µs/event", costs_one, SQLITE, costs),
        Row("PostgreSQL's own CPU, µs/event", _spread(postgresql, "server"), "the worker's", costs_one),
        *_into_mariadb(maria, rates, costs),
        Row("events drained/s by two workers", _spread(two, "rate"), ONE, rates_one, TWO_GOAL),
        Row("both workers' CPU, µs/event", _spread(two, "cpu"), ONE, costs_one),
        Row("PostgreSQL's own CPU, µs/event", _spread(two, "server"), ONE, _spread(postgresql, "server")),
    ]


@contextmanager
def _mariadb() -> Iterator[mariadb.Server | None]:
    """A server; none where none is installed."""
    if mariadb.binaries() is None:
        yield None
        return
    with mariadb.mariadb(MARIADB) as server:
        yield server


def _into_mariadb(drained: list[Drained], rates: Spread, costs: Spread) -> list[Row]:
    if not drained:
        return []
    worker = _spread(drained, "cpu")
    return [
        Row("events drained/s into MariaDB", _spread(drained, "rate"), SQLITE, rates, MARIADB_GOAL),
        Row("worker CPU, µs/event", worker, SQLITE, costs),
        Row("MariaDB's own CPU, µs/event", _spread(drained, "server"), "the worker's", worker),
    ]


def _spread(drained: list[Drained], figure: str) -> Spread:
    return Spread([getattr(one, figure) for one in drained])


def drain_into_full(size: Plan, step: Step, also: Callable[[str, str], list[Row]]) -> list[Row]:
    """The same into databases that hold millions of events, beside empty ones; and what `also` says of those."""
    more = list[Row]()
    rates: dict[tuple[str, bool], list[float]] = {(name, full): [] for name in DATABASES for full in (False, True)}
    with scratch() as folder, postgres({}, SCRATCH) as server:
        full = {"SQLite": f"sqlite:///{folder}/full.db", "PostgreSQL": server.new_database("filled")}
        for name, database in full.items():
            with step(f"filling {name} with {size.stored:,} events"):
                fill(database, size.stored)
        for number in range(size.repeat):
            calls = plan.varied_calls(number, size.events)
            empty = {
                "SQLite": f"sqlite:///{folder}/{number}.db",
                "PostgreSQL": server.new_database(f"empty{number}"),
            }
            for name in DATABASES:
                for is_full, database in ((False, empty[name]), (True, full[name])):
                    with step(f"{name}, {'full' if is_full else 'empty'}: draining"):
                        rates[name, is_full].append(batches(calls, size.events, database).rate)
        for name, database in full.items():
            with step(f"{name}, full: pages of the console"):
                more += also(name, database)
    goal = Goal("≥ 0.8 x", lambda _, ratio: ratio >= 0.8)
    drained = [
        Row(f"events drained/s into {name}", Spread(rates[name, True]), EMPTY, Spread(rates[name, False]), goal)
        for name in DATABASES
    ]
    return drained + more


def batches(
    calls: list[Call],
    events: int,
    database: str | None = None,
    server: Server | mariadb.Server | None = None,
    workers: int = 1,
) -> Drained:
    """How a backlog of these calls is drained, by some workers at once."""
    with scratch() as folder, redis_server(folder) as store, ExitStack() as stack:
        uvloop.run(_fill(store.url, calls, events))
        database = database or f"sqlite:///{folder}/ours.db"
        upgrade(database)
        command = python("drain", store.url, database)
        drains = [stack.enter_context(_begun(command)) for _ in range(workers)]
        for each in drains:
            _heard(each)
        before, began = cpu_seconds(server.pid) if server else 0.0, time.perf_counter()
        for each in drains:
            _tell(each)
        said = [_heard(each) for each in drains]
        seconds, busy = time.perf_counter() - began, cpu_seconds(server.pid) - before if server else 0.0
        for each in drains:
            _tell(each)
    arrived = sum(each["events"] for each in said)
    assert arrived == events, f"{arrived} of {events} events arrived"
    return Drained(events / seconds, sum(each["cpu"] for each in said) * 1e6 / events, busy * 1e6 / events)


@contextmanager
def _begun(command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        limit = threading.Timer(PATIENCE, worker.kill)
        limit.start()
        try:
            yield worker
        finally:
            limit.cancel()


def _heard(worker: "subprocess.Popen[bytes]") -> dict[str, float]:
    """What a worker says next."""
    assert worker.stdout
    said: dict[str, float] = json.loads(worker.stdout.readline())
    return said


def _tell(worker: "subprocess.Popen[bytes]") -> None:
    """Have it go on."""
    assert worker.stdin
    worker.stdin.write(b"\n")
    worker.stdin.flush()


def _jobs(calls: list[Call], jobs: int) -> tuple[float, float]:
    with scratch() as folder, redis_server(folder) as store:
        # In its favour: it writes to Redis a dozen times per job, and nobody would let it fsync each of them.
        store.client.config_set("appendfsync", "everysec")
        queue = baselines.queue(store.url)
        for call in islice(cycle(calls), jobs):
            queue.enqueue(baselines.JOB, call.body.decode())
        return _timed(python("baselines", "worker", store.url, str(folder / "theirs.db")), jobs)


async def _fill(url: str, calls: list[Call], events: int) -> None:
    """Pile up events as the endpoint does: what is submitted together becomes one batch."""
    client = redis_client.connect_async(url)
    appender = Producer([Stream(client)], wake=lambda: None)
    intake = Intake(appender, max_body=1024 * 1024)
    refused: list[Answer] = []

    def answered(answer: Answer) -> None:
        if answer.status != 200:
            refused.append(answer)

    endless = cycle(calls)
    for start in range(0, events, plan.BATCH):
        for call in islice(endless, min(plan.BATCH, events - start)):
            intake.submit(
                plan.PATH.encode(),
                HeaderFields({b"content-type": call.content_type.encode()}),
                call.body,
                answered,
            )
        await appender.settle()
    await appender.close()
    await client.aclose()
    assert not refused, refused[0]


def _timed(command: list[str], events: int) -> tuple[float, float]:
    """Events per second, and µs of processor time per event, of a worker that says what it did."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=PATIENCE)
    said = json.loads(done.stdout)
    assert said["events"] == events, f"{said['events']} of {events} events arrived"
    return events / said["seconds"], said["cpu"] * 1e6 / events


def _main(url: str, database: str) -> None:
    """Our worker: one drain until the stream is empty. It begins, and ends, when it is told to."""
    client = redis_client.connect(url)
    store = Store.open(database)
    store.stored()
    print(json.dumps({}), flush=True)
    sys.stdin.readline()
    before = time.process_time()
    drained = Drain(client, store).run()
    cpu = time.process_time() - before
    print(json.dumps({"events": drained.stored, "cpu": cpu}), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2])
