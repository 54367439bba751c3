"""`make chaos`: one seed after the other. SEED and SECONDS say which and for how long, RUNS how many.

Each run ends with its summary as one line of JSON, which is also appended to the file named by CHAOS_OUT.
STREAMS=3 (or 1) says how many stream servers there are and DATABASE=mysql (or sqlite, postgresql) which database,
whatever the seeds say; without MariaDB on this machine, runs that should have it have PostgreSQL, and say so.
MACHINES=3 spreads all over three machines, each with a network of its own, whose links then fail; it needs root.
VERBOSE=1 prints what is planned, KEEP=1 leaves the logs of runs that went well, MILD=1 is what `make test` does.
"""

import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from tests.chaos.network import why_none
from tests.chaos.oracle import try_seed
from tests.chaos.plan import plan
from tests.support import mariadb


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Run what the environment asks for; 1 if the promise was broken by any."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and end all that was started
    first = int(environ.get("SEED") or random.SystemRandom().randrange(1_000_000))
    seconds = float(environ.get("SECONDS") or 60)
    if int(environ.get("MACHINES") or 1) > 1 and (why := why_none()):
        print(f"NO NETWORK OF ITS OWN HERE: MACHINES=3 {why}. Without it, `make chaos` has wires that fail.")
        return 1
    seeds = range(first, first + int(environ.get("RUNS") or 1))
    failed = [seed for seed in seeds if not _kept(seed, seconds, environ)]
    print(
        f"{len(seeds) - len(failed)} of {len(seeds)} runs kept the promise" + (f"; not {failed}" if failed else "")
    )
    return 1 if failed else 0


def _kept(seed: int, seconds: float, environ: Mapping[str, str]) -> bool:
    """One run: whether the promise was kept."""
    mild, verbose, keep = (bool(environ.get(name)) for name in ("MILD", "VERBOSE", "KEEP"))
    streams, database = int(environ.get("STREAMS") or 0), environ.get("DATABASE") or ""
    machines = int(environ.get("MACHINES") or 1)
    wanted = plan(seed, seconds, mild, streams, database, machines)
    if wanted.setup.database == "mysql" and mariadb.binaries() is None:
        print("NO MARIADB HERE: this run has PostgreSQL instead; apt-get install mariadb-server", flush=True)
        wanted = plan(seed, seconds, mild, streams, "postgresql", machines)
    print(f"SEED={seed} SECONDS={seconds:g}: {len(wanted.faults)} faults, {wanted.setup}", flush=True)
    if verbose:
        print(*wanted.faults, sep="\n", flush=True)
    try:
        summary = try_seed(wanted, hasten=mild, keep=keep)
    except Exception:  # the next seed has its turn all the same
        traceback.print_exc()
        summary = {"seed": seed, "kept": False}
    line = json.dumps(summary)
    print(line, flush=True)
    if out := environ.get("CHAOS_OUT"):
        with Path(out).open("a") as file:
            file.write(line + "\n")
    if not summary["kept"]:
        print(f"NOT KEPT. To see it again: make chaos SEED={seed} SECONDS={seconds:g}", flush=True)
    return bool(summary["kept"])


if __name__ == "__main__":
    sys.exit(main())
