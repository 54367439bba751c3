"""Workers and their jobs are killed at random under load; every event reaches every handler all the same.

`SECONDS` says for how long (60), `SEED` how: a run that failed prints its own.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, cast

from ingest import redis_client
from ingest.simulation.calls import Simulator
from ingest.simulation.report import Report
from ingest.simulation.sender import Sender
from ingest.simulation.target import Target
from ingest.stream.consumer import GROUP, RECLAIM_IDLE_MS
from ingest.stream.keys import Keys
from tests.support.running import (
    Process,
    answers,
    clean_environ,
    descendants,
    exists,
    free_port,
    ingest,
    running,
    until,
)
from workers.store.schema import upgrade

#: Calls per second of the load.
RATE = 300.0
#: Seconds between two kills, from and to.
PAUSE = (0.2, 1.2)
#: The workers: which queue each of them works.
QUEUES = ("events", "events", "handlers", "handlers")

HANDLERS = '''
"""Each handler notes what it got, in a file of its own."""

import asyncio
import os
import time

from workers import on


def note(name, events):
    lines = "".join(event.delivery_id.hex() + "\\n" for event in events)
    file = os.open(os.environ["NOTES"] + "/" + name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, lines.encode())
    os.close(file)


@on()
def single(event):
    time.sleep(0.001)
    note("single", [event])


@on(batch=50)
def batch(events):
    note("batch", events)


@on(concurrency=8)
async def together(event):
    await asyncio.sleep(0.002)
    note("together", [event])
'''
NAMES = ("single", "batch", "together")


@dataclass
class Chaos:
    """One installation, and what is done to it."""

    redis_url: str
    folder: Path
    seed: int
    pause: tuple[float, float] = PAUSE
    environ: dict[str, str] = field(default_factory=dict)
    workers: list[Process] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    #: Handles of processes whose worker was killed.
    orphans: dict[int, int] = field(default_factory=dict)

    def run(self, seconds: float, patience: float, hasten: bool = False) -> dict[str, object]:
        """Load and kill for so long, then wait until everything has arrived; returns the figures.

        With `hasten`, the waiting for claims of the dead to run out is cut short.
        """
        print(f"SEED={self.seed} SECONDS={seconds:g}", flush=True)
        chance = random.Random(self.seed)
        port = self._prepare()
        with ExitStack() as stack:
            stack.callback(self._end)
            web = stack.enter_context(running(ingest("serve"), self.environ, self.folder / "web.log"))
            until(lambda: answers(port), "the endpoint")
            self.workers = [self._worker(queue) for queue in QUEUES]
            reports: list[Report] = []
            sender = Sender(
                Target(f"http://127.0.0.1:{port}/copernica"), iter(Simulator(self.seed)), int(seconds * RATE), RATE
            )
            load = Thread(target=lambda: reports.append(asyncio.run(sender.run(16))))
            load.start()
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                time.sleep(chance.uniform(*self.pause))
                self._kill_one(chance)
            load.join()
            (report,) = reports
            assert report.complete, "every call is acknowledged whatever becomes of the workers"
            began = time.monotonic()
            if hasten:
                self._let_claims_grow_old()
            self._wait_for_all(report.acknowledged, patience)
            rest = time.monotonic() - began
            leftover = [pid for pid in self.orphans if exists(pid)]
            assert "Traceback" not in web.output
        noted = {name: self._noted(name) for name in NAMES}
        return {
            "acknowledged": report.acknowledged,
            "slowest_answer_ms": round(max(report.latencies) * 1000),
            "kills": dict(self.kills),
            "seconds_until_all_had_arrived": round(rest, 1),
            "handled_twice": {name: noted[name].total() - len(noted[name]) for name in NAMES},
            "orphans_left": len(leftover),
        }

    def _prepare(self) -> int:
        (self.folder / "mine.py").write_text(HANDLERS)
        port = free_port()
        self.environ = {
            "REDIS_URL": self.redis_url,
            "DATABASE_URL": f"sqlite:///{self.folder}/events.db",
            "PORT": str(port),
            "INGEST_VERIFY": "off",
            "INGEST_HANDLERS": "mine",
            "NOTES": str(self.folder),
        }
        upgrade(self.environ["DATABASE_URL"])
        return port

    def _worker(self, queue: str) -> Process:
        return Process(
            ingest("worker", "--queue", queue), self.environ, self.folder / f"{queue}.log", cwd=self.folder
        )

    def _kill_one(self, chance: random.Random) -> None:
        """Kill a worker, or the job it has at hand, or both; a worker that is gone is started again."""
        number = chance.randrange(len(self.workers))
        worker, queue = self.workers[number], QUEUES[number]
        what = chance.choice(("worker", "job", "both"))
        below: dict[int, int] = {}
        for pid in descendants(worker.pid):
            with suppress(OSError):  # it ended just now
                below[pid] = os.pidfd_open(pid)
        if what != "worker":
            for handle in below.values():
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
        if what == "job":
            self.kills[f"{queue}: job"] += bool(below)
            for handle in below.values():
                os.close(handle)
            return
        self.orphans |= below
        worker.send(signal.SIGKILL)
        worker.wait()
        self.kills[f"{queue}: {what}"] += 1
        self.workers[number] = self._worker(queue)

    def _let_claims_grow_old(self) -> None:
        """As if those that were killed had been so long ago."""
        with closing(redis_client.connect(self.redis_url)) as client:
            held = cast(Any, client.xpending_range(Keys().stream, GROUP, "-", "+", 10_000))
            for one in held:
                ids, idle = [one["message_id"]], 2 * RECLAIM_IDLE_MS
                client.xclaim(Keys().stream, GROUP, one["consumer"], 0, ids, idle=idle, justid=True)
            client.delete(Keys().wake, Keys().hand_on, *map(Keys().handler, NAMES))
        with closing(sqlite3.connect(self.folder / "events.db", timeout=30)) as connection, connection:
            connection.execute("UPDATE handoffs SET leased_until = 1 WHERE leased_until > 0")
        for number in (0, 2):  # a worker that starts looks for work
            self.workers[number].stop()
            self.workers[number] = self._worker(QUEUES[number])

    def _wait_for_all(self, acknowledged: int, patience: float) -> None:
        ends = time.monotonic() + patience
        while True:
            stored = self._stored()
            missing = {name: len(stored - self._noted(name).keys()) for name in NAMES}
            if len(stored) == acknowledged and not any(missing.values()):
                return
            assert time.monotonic() < ends, f"{len(stored)} of {acknowledged} stored; not handled: {missing}"
            time.sleep(0.2)

    def _stored(self) -> set[str]:
        with closing(sqlite3.connect(self.folder / "events.db", timeout=30)) as connection:
            return {row[0].hex() for row in connection.execute("SELECT delivery_id FROM events")}

    def _noted(self, name: str) -> Counter[str]:
        """How often a handler got each event."""
        with suppress(FileNotFoundError):
            return Counter((self.folder / name).read_text().split())
        return Counter()

    def _end(self) -> None:
        """End what was started here, and what that left behind."""
        for worker in self.workers:
            if worker.alive:
                worker.send(signal.SIGTERM)
        for worker in self.workers:
            worker.stop()
        for handle in self.orphans.values():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)


def test_every_event_reaches_every_handler_whatever_is_killed(redis_url: str, tmp_path: Path) -> None:
    environ = clean_environ()
    seed = int(environ.get("SEED") or random.randrange(2**32))
    seconds = float(environ.get("SECONDS") or 60)
    figures = Chaos(redis_url, tmp_path, seed).run(seconds, patience=120)
    print(json.dumps(figures, indent=1))
    assert figures["orphans_left"] == 0, "what a killed worker leaves behind ends by itself"
