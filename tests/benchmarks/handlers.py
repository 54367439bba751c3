"""How fast one worker calls the users' functions: one event per call, and batches of 500.

Ours hands on and works off what lies in SQLite after a drain, RQ's worker works off one job per event. The
functions only count: what is measured is everything around them. `INGEST_HANDLERS` names this same module.
"""

import importlib
import json
import os
import subprocess
import time
from collections.abc import Mapping
from itertools import cycle, islice

from ingest.batch import Record
from ingest.copernica.events import Event
from ingest.settings import Settings
from ingest.simulation.calls import SEEDED_START, Call
from tests.benchmarks import baselines, plan
from tests.benchmarks.plan import Plan, Step
from tests.benchmarks.report import Goal, Row, Spread
from tests.benchmarks.servers import ROOT, python, redis_server, scratch
from tests.support.running import clean_environ
from workers import on
from workers.drain.group import COMMIT_CALLS
from workers.handlers.configured import known_handlers
from workers.handlers.jobs import hand_on_job, handle_job
from workers.records import read
from workers.store.schema import upgrade
from workers.store.store import Store

WORKER = "RQ SimpleWorker, a job per event"
MODULE = "tests.benchmarks.handlers"
#: Events per call of the handler that takes batches.
BATCH = 500
#: The environment variable that says how many events the handler takes per call; 0 means one, not in a list.
BATCH_VARIABLE = "BENCHMARK_BATCH"
NAME = "counted"
#: Seconds that one worker may take for its backlog.
PATIENCE = 180.0


class Counted:
    """What the handler has seen in this process."""

    calls = events = 0


def one(_event: Event) -> None:
    Counted.calls += 1
    Counted.events += 1


def many(events: list[Event]) -> None:
    Counted.calls += 1
    Counted.events += len(events)


if int(os.environ.get(BATCH_VARIABLE, "0")):
    on("open", batch=int(os.environ[BATCH_VARIABLE]), name=NAME)(many)
else:
    on("open", name=NAME)(one)


def handle(size: Plan, step: Step) -> list[Row]:
    """Fill and work off, in turns."""
    calls = plan.calls()
    theirs, singly, batched = [], [], []
    for _ in range(size.repeat):
        with step("RQ SimpleWorker: calling a function"):
            theirs.append(_jobs(calls, size.jobs))
        with step("ours: handler calls, one by one"):
            singly.append(handled(calls, size.handled, 0))
        with step(f"ours: handler calls, by {BATCH}"):
            batched.append(handled(calls, size.handled, BATCH))
    goal = Goal("≥ 10 x", lambda _, ratio: ratio >= 10)
    rates, costs = (Spread([each[which] for each in theirs]) for which in (0, 1))
    return [
        Row("handler calls/s, one by one", Spread([rate for rate, _ in singly]), WORKER, rates, goal),
        Row("worker CPU, µs/event", Spread([cost for _, cost in singly]), WORKER, costs),
        Row(f"events/s, in batches of {BATCH}", Spread([rate for rate, _ in batched]), WORKER, rates),
        Row("worker CPU, µs/event", Spread([cost for _, cost in batched]), WORKER, costs),
    ]


def handled(calls: list[Call], events: int, batch: int) -> tuple[float, float]:
    """Calls per second, and µs of processor time per event, of one worker; `batch` 0 is one event per call."""
    with scratch() as folder, redis_server(folder) as store:
        database = f"sqlite:///{folder}/ours.db"
        _fill(database, calls, events)
        environ = {
            "REDIS_URL": store.url,
            "DATABASE_URL": database,
            "INGEST_DATA_DIR": str(folder),
            "INGEST_HANDLERS": MODULE,
            BATCH_VARIABLE: str(batch),
        }
        said = _said(python("handlers"), environ)
        assert batch or said["calls"] == events, f"{said['calls']} calls for {events} events"
        return _figures(said, events)


def _fill(database: str, calls: list[Call], events: int) -> None:
    """Store opens and put them out for the handlers, in commits as large as those of a busy drain."""
    upgrade(database)
    store = Store.open(database)
    endless = cycle(calls)
    for start in range(0, events, COMMIT_CALLS):
        count = min(COMMIT_CALLS, events - start)
        records = [_record(call, start + number) for number, call in enumerate(islice(endless, count))]
        found = [event for event in map(read, records) if isinstance(event, Event)]
        new = store.add(found, hand_on={record.delivery_id: record for record in records}).new
        assert new == count, f"{new} of {count} events are stored"
    store.close()


def _record(call: Call, number: int) -> Record:
    delivery_id = SEEDED_START.to_bytes(4, "big") + number.to_bytes(8, "big")
    target, content_type = plan.PATH.encode(), call.content_type.encode()
    return Record(delivery_id, SEEDED_START * 1_000_000 + number, target, content_type, call.body)


def _jobs(calls: list[Call], jobs: int) -> tuple[float, float]:
    with scratch() as folder, redis_server(folder) as store:
        store.client.config_set("appendfsync", "everysec")  # in its favour, as with the drain
        queue = baselines.queue(store.url)
        for call in islice(cycle(calls), jobs):
            queue.enqueue(baselines.COUNT_JOB, call.body.decode())
        return _figures(_said(python("baselines", "counter", store.url), {}), jobs)


def _said(command: list[str], environ: Mapping[str, str]) -> dict[str, float]:
    environ = {**clean_environ(), **environ}
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, check=True, timeout=PATIENCE)
    said: dict[str, float] = json.loads(done.stdout)
    return said


def _figures(said: Mapping[str, float], events: int) -> tuple[float, float]:
    """Events per second, and µs of processor time per event, of a worker that says what it did."""
    assert said["events"] == events, f"{said['events']} of {events} events arrived"
    return events / said["seconds"], said["cpu"] * 1e6 / events


def _main() -> None:
    """Our worker: the jobs that `ingest worker handlers` would run, until nothing is due."""
    known_handlers(Settings.read())  # imported before the first job, as `ingest worker` does
    began, before = time.perf_counter(), time.process_time()
    hand_on_job()
    while handle_job(NAME).get("done"):
        pass
    seconds, cpu = time.perf_counter() - began, time.process_time() - before
    counted = importlib.import_module(
        MODULE
    ).Counted  # of the module that holds the handler: this one is `__main__`
    print(json.dumps({"calls": counted.calls, "events": counted.events, "seconds": seconds, "cpu": cpu}))


if __name__ == "__main__":
    _main()
