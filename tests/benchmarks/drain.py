"""How fast one worker moves the pile into a database: SQLite, PostgreSQL, empty, and with millions in it.

Ours works through batches as the endpoint packs them, RQ's worker through one job per event. Both commits wait for
the disk; of the two Redis servers only ours does.
"""

import json
import subprocess
import sys
import time
from itertools import cycle, islice

import uvloop

from ingest import redis_client
from ingest.copernica.header_fields import HeaderFields
from ingest.endpoint.answers import Answer
from ingest.endpoint.intake import Intake
from ingest.simulation.calls import Call
from ingest.stream.producer import Producer
from tests.benchmarks import baselines, plan
from tests.benchmarks.plan import Plan, Step
from tests.benchmarks.report import Goal, Row, Spread
from tests.benchmarks.servers import ROOT, SCRATCH, python, redis_server, scratch
from tests.benchmarks.stored import fill
from tests.support.postgres import postgres
from workers.drain.drain import Drain
from workers.store.schema import upgrade
from workers.store.store import Store

WORKER = "RQ SimpleWorker"
SQLITE = "ours into SQLite"
EMPTY = "an empty database"
DATABASES = ("SQLite", "PostgreSQL")
POSTGRES_GOAL = Goal("≥ 30,000 and ≥ 0.6 x", lambda mine, ratio: mine >= 30_000 and ratio >= 0.6)
#: Seconds that one worker may take for its pile.
PATIENCE = 180.0


def drain(size: Plan, step: Step) -> list[Row]:
    """Fill and drain, in turns."""
    calls = plan.calls()
    ours, theirs, postgresql = [], [], []
    with postgres({}, SCRATCH) as server:
        for _ in range(size.repeat):
            with step(f"{WORKER}: working off jobs"):
                theirs.append(_jobs(calls, size.jobs))
            with step("ours: draining into SQLite"):
                ours.append(batches(calls, size.events))
            with step("ours: draining into PostgreSQL"):
                postgresql.append(batches(calls, size.events, server.new_database("bench")))
    goal = Goal("≥ 40,000 or ≥ 80 x", lambda mine, ratio: mine >= 40_000 or ratio >= 80)
    rates, rates_theirs = (Spread([rate for rate, _ in taken]) for taken in (ours, theirs))
    costs, costs_theirs = (Spread([cost for _, cost in taken]) for taken in (ours, theirs))
    return [
        Row("events drained/s", rates, WORKER, rates_theirs, goal),
        Row("worker CPU, µs/event", costs, WORKER, costs_theirs),
        Row(
            "events drained/s into PostgreSQL",
            Spread([rate for rate, _ in postgresql]),
            SQLITE,
            rates,
            POSTGRES_GOAL,
        ),
        Row("worker CPU, µs/event", Spread([cost for _, cost in postgresql]), SQLITE, costs),
    ]


def drain_into_full(size: Plan, step: Step) -> list[Row]:
    """The same into databases that hold millions of events, beside empty ones."""
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
                        rates[name, is_full].append(batches(calls, size.events, database)[0])
    goal = Goal("≥ 0.8 x", lambda _, ratio: ratio >= 0.8)
    return [
        Row(f"events drained/s into {name}", Spread(rates[name, True]), EMPTY, Spread(rates[name, False]), goal)
        for name in DATABASES
    ]


def batches(calls: list[Call], events: int, database: str | None = None) -> tuple[float, float]:
    """Events per second, and µs of processor time per event, of one drain over a pile of these calls."""
    with scratch() as folder, redis_server(folder) as store:
        uvloop.run(_fill(store.url, calls, events))
        return _timed(python("drain", store.url, database or f"sqlite:///{folder}/ours.db"), events)


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
    appender = Producer(client, wake=lambda: None)
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
    """Our worker: one drain until the stream is empty."""
    client = redis_client.connect(url)
    upgrade(database)
    store = Store.open(database)
    before = time.process_time()
    drained = Drain(client, store).run()
    cpu = time.process_time() - before
    print(json.dumps({"events": drained.stored, "seconds": drained.seconds, "cpu": cpu}))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2])
