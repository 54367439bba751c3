"""What was not taken comes back: the store after a reconciliation, held against all that happened.

Copernica writes log files of all events, whatever became of their calls. So after the storm they are compared, by
a command that is killed a few times on its way; then each event has to be in the store once, and handlers have to
have been called for each once.
"""

import random
import signal
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

from tests.chaos.check import happened_by_store
from tests.chaos.missed import Key, logged
from tests.chaos.parts import steady_port
from tests.chaos.site import RECOVERED, STARTING, Site
from tests.support.running import ingest, run, running, until

TOKEN = "a-token"
#: How often a comparison is killed at most, and after how many seconds: its start takes one of them.
KILLS, KILLED_AFTER = 2, (1.0, 4.0)
#: Seconds in which handlers have to have what was recovered.
HANDED_ON_IN = 60.0


def recover(site: Site, first: datetime) -> tuple[dict[str, Any], list[str]]:
    """Compare all days since the load began; returns figures for the summary, and what is wrong."""
    chance = random.Random(f"{site.plan.seed} recovery")
    api = steady_port()
    logs = site.folder / "logs"
    serving = ingest("fake-api", "--logfiles", str(logs), "--port", str(api), "--token", TOKEN)
    environ = site.environ_without_wires() | {
        "COPERNICA_TOKEN": TOKEN,
        "COPERNICA_API_URL": f"http://127.0.0.1:{api}/v4",
        "COPERNICA_AUTH_URL": f"http://127.0.0.1:{api}",
    }
    days = (str(first.date()), str(datetime.now(UTC).date()))
    comparing = ("reconcile", *days, "--partial", "--json")
    with running(serving, {}, site.folder / "api.log") as fake:
        until(lambda: str(api) in fake.output, "the fake of Copernica's API", STARTING)
        kills = chance.randint(0, KILLS)
        for _ in range(kills):
            with running(ingest(*comparing), environ, site.folder / "killed.log") as killed:
                with suppress(TimeoutExpired):
                    killed.wait(chance.uniform(*KILLED_AFTER))
                killed.send(signal.SIGKILL)
                killed.wait()
        done = run(*comparing, environ=environ, seconds=300)
    figures = {"recovered": len(recovered_rows(site)), "reconcile_killed": kills}
    said = f"reconcile ended with {done.returncode}: {(done.stderr + done.stdout)[-500:]}"
    return figures, [
        *([said] if done.returncode else []),
        *compared(site.database_itself, logs),
        *_handed_on(site),
    ]


def recovered_rows(site: Site) -> list[Any]:
    """What came by a log file, whichever of the comparisons brought it."""
    return [key for key, source in happened_by_store(site.database_itself) if source != "webhook"]


def compared(database: str, logs: Path) -> list[str]:
    """What is wrong about a database, held against the log files of all that happened."""
    truth: Counter[Key] = logged(logs)
    kinds = {key[0] for key in truth}
    store = Counter(key for key, _ in happened_by_store(database) if key[0] in kinds)
    missing, too_many = truth - store, store - truth
    return [
        *([f"{missing.total()} events are missing after reconcile: {list(missing)[:5]}"] if missing else []),
        *([f"{too_many.total()} events are there too often: {list(too_many)[:5]}"] if too_many else []),
    ]


def _handed_on(site: Site) -> list[str]:
    if not site.plan.setup.handlers:
        return []
    wanted, ends = len(recovered_rows(site)), time.monotonic() + HANDED_ON_IN
    notes = site.folder / "noted"
    while (got := notes.read_text().split().count(RECOVERED)) < wanted and time.monotonic() < ends:
        time.sleep(0.3)
    return [] if got == wanted else [f"handlers were called for {got} of {wanted} recovered events"]
