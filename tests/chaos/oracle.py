"""The oracle: breaks one installation under load, heals it, and says whether the promise was kept.

The promise: what was answered 200 is in the database, once; and what was not comes back from Copernica's log
files. The first excludes who empties Redis (FLUSHALL, a lost disk), as the spool and the stream are where
acknowledged calls live until they are stored.
"""

import json
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pymysql
from redis import RedisError

from ingest.simulation.logwriter import LogFolder
from ingest.stream.keys import Keys
from tests.chaos.check import Verdict, calls, judge, whereabouts
from tests.chaos.faults import Storm
from tests.chaos.load import Journal, Load
from tests.chaos.network import new_namespace
from tests.chaos.parts import Handles, adopt_orphans, alive_below
from tests.chaos.plan import Plan
from tests.chaos.recovery import recover
from tests.chaos.site import SERVERS, STARTING, Site
from tests.support.running import run, until

#: Seconds in which everything that was acknowledged has to be stored once the last fault is over.
PATIENCE = 90.0


def try_seed(plan: Plan, hasten: bool = False, keep: bool = False) -> dict[str, Any]:
    """One whole run; returns its summary, with `kept` for whether the promise was.

    With `hasten`, what waits for claims of the dead to grow old is hurried along. The folder of a run that failed
    is left, and named in the summary; with `keep` that of any run.
    """
    adopt_orphans()
    if plan.setup.machines > 1:
        new_namespace()
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{plan.seed}-"))
    folder.chmod(0o755)  # PostgreSQL, as nobody, has its folder in it
    (folder / "plan.json").write_text(json.dumps(plan.as_dict(), indent=1))
    site = Site(plan, folder)
    good = False
    try:
        summary = Trial(site, hasten).run()
        good = bool(summary["kept"]) and not keep
    finally:
        site.close(keep=not good)
        if good:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"logs, plan and database are in {folder}", file=sys.stderr)
    if not good:
        (folder / "summary.json").write_text(json.dumps(summary, indent=1))
        summary["folder"] = str(folder)
    return summary


class Trial:
    """One run over a site."""

    def __init__(self, site: Site, hasten: bool) -> None:
        self._site = site
        self._plan = site.plan
        self._hasten = hasten

    def run(self) -> dict[str, Any]:
        """Load and break, heal, wait, stop, judge."""
        site, plan = self._site, self._plan
        site.open()
        setup = plan.setup
        first, logs = datetime.now(UTC), LogFolder(site.folder / "logs")
        load = Load(plan.seed, site.places(), setup.rate, setup.connections, site.signer, logs)
        sending = site.begin_on_loop(load.run(plan.seconds))
        storm = Storm(site, plan.faults)
        storm.blow()
        self._heal()
        sending.result(plan.seconds + 60)
        began = time.monotonic()
        wrong = [*self._wait(load.journal)]
        drained = time.monotonic() - began
        logs.close()
        recovered: dict[str, Any] = {}
        if setup.recovers and not wrong:
            recovered, more = recover(site, first)
            wrong += more
        stopped = site.stop([part for part in site.parts if part not in SERVERS])
        verdict = judge(site.database_itself, load.journal)
        if not verdict.good:
            wrong.insert(0, str(verdict))
            self._explain(verdict, load.journal)
        site.stop([name for name in SERVERS if name in site.parts])
        if left := site.left_over():
            wrong.append(f"processes were left: {left}")
        wrong += site.supervisor.trouble
        return {
            "seed": plan.seed,
            "seconds": plan.seconds,
            "kept": not wrong,
            **({"wrong": wrong} if wrong else {}),
            **load.journal.as_dict(),
            "stored": verdict.stored,
            "lost": len(verdict.lost),
            "doubled": len(verdict.doubled),
            "never_sent": len(verdict.never_sent),
            **recovered,
            "faults": dict(sorted(storm.done.items())),
            **({"skipped": dict(storm.skipped)} if storm.skipped else {}),
            "seconds_to_drain": round(drained, 1),
            "seconds_to_stop": max(stopped.values()),
            "tracebacks": site.tracebacks(),
            "setup": plan.as_dict()["setup"],
        }

    def _heal(self) -> None:
        """See to it that really nothing is wrong any more."""
        handles = Handles(alive_below(os.getpid()), os.getpid())
        handles.send(signal.SIGCONT)
        handles.close()
        until(self._redis_has_room, "a Redis that takes writes", STARTING)
        self._site.end_hanging_postgres()

    def _redis_has_room(self) -> bool:
        with self._site.redis() as client, suppress(RedisError):
            client.delete(Keys().paused)
            return bool(client.config_set("maxmemory", "512mb"))
        return False

    def _wait(self, journal: Journal) -> list[str]:
        """Until everything acknowledged is stored, and nothing is under way any more; what is wrong else."""
        ends = time.monotonic() + PATIENCE
        missing = [*self._missing(journal)]
        while missing and time.monotonic() < ends:
            if self._hasten:
                self._hurry()
            time.sleep(0.3)
            missing = [*self._missing(journal)]
        return [f"after {PATIENCE:.0f} s: {line}" for line in missing]

    def _missing(self, journal: Journal) -> list[str]:
        """What is still to be done, the cheap questions first."""
        site, setup = self._site, self._plan.setup
        if not site.endpoints_answer():
            return ["not all endpoints are ready"]
        if batches := site.backlog():
            return [f"{batches} batches are in the stream"]
        if setup.spool and (waiting := self._spooled()):
            return [f"{waiting} in the spool"]
        try:
            lost = judge(site.database_itself, journal).lost
            unhandled = self._unhandled() if setup.handlers else set()
        except (sqlite3.Error, psycopg.Error, pymysql.Error) as error:  # it may just be starting
            return [f"the database does not answer: {error}"]
        return [
            *([f"{len(lost)} acknowledged calls are not stored"] if lost else []),
            *([f"{len(unhandled)} stored calls did not reach the handler"] if unhandled else []),
        ]

    def _spooled(self) -> str:
        said = run("status", "--json", environ=self._site.environ_without_wires())
        if not said.stdout:
            return f"nobody knows what ({said.stderr.strip()})"
        spool = json.loads(said.stdout).get("spool") or {}
        return f"{spool['events']} events are" if spool.get("events") else ""

    def _unhandled(self) -> set[str]:
        stored = {call for call, _ in calls(self._site.database_itself)}
        noted = self._site.folder / "noted"
        return {str(call) for call in stored} - set(noted.read_text().split() if noted.exists() else ())

    def _hurry(self) -> None:
        """Do what would otherwise wait for claims of the dead to grow old."""
        self._site.let_claims_grow_old()
        run("drain", environ=self._site.environ_without_wires())

    def _explain(self, verdict: Verdict, journal: Journal) -> None:
        """For those who look for the reason: when the calls concerned were sent and kept, and where they are."""
        folder = self._site.folder
        places: dict[int, str] = {}
        for name in self._site.streams:
            with self._site.redis(name) as client:
                for spool in folder.glob("spool*/"):
                    places |= whereabouts(client, spool)
        with (folder / "calls.txt").open("w") as file:
            for call in sorted(verdict.lost | verdict.doubled.keys()):
                sent, kept = journal.sent[call], journal.acknowledged.get(call)
                file.write(f"{call}: sent at {sent:.3f}, acknowledged at {kept}, now in {places.get(call)}\n")
