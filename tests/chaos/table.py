"""Runs of the oracle as a page of the documentation: `python -m tests.chaos.table chaos.jsonl > docs/chaos.md`.

The file is what CHAOS_OUT named; of a seed that was run several times the last run counts. A second argument is a
remark on how they were run.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.machine import machine, versions

Run = dict[str, Any]

HEAD = """# What `make chaos` saw

Made by `python -m tests.chaos.table` from the runs' own summaries; not written by hand. Each row is one run: a
whole installation on one machine, under load, broken for so many seconds in the ways that its seed draws
([tests/chaos/plan.py](../tests/chaos/plan.py)), then healed, drained and judged.

- *Lost* are acknowledged calls that are not in the database, *doubled* calls that are there more than once.
- *Refused* calls were answered 503 (or 401, while a clock was off by more than a signature may be old);
  *unanswered* ones got no answer, most of them because the process that had them was killed. Neither was promised
  anything.
- *Recovered* are events whose calls were not taken, or found no connection: after the storm the log files of all
  that happened are compared (`ingest reconcile`, killed up to twice on its way), and then each event has to be in
  the store once, and handlers have to have been called for it once. A dash: not compared in this run.
- *Without service* are the seconds in which nothing was acknowledged. The endpoint itself is killed, stopped and
  started anew several times in each run, and what is killed stays down for up to ten seconds: that is in it.
- The load does not wait: calls that find no connection free are not sent, and not counted among those that were.

What the runs do not do: empty Redis (FLUSHALL, a lost disk: acknowledged calls that wait there are gone), take the
power away (processes die, the kernel does not), break a network that is more than the loopback address. Machines
that are far from each other are proxies on it: links that are cut, deaf, late, slow, or lose something at times.
With `MACHINES=3` (as root on Linux) each of three machines has a network of its own, whose links are broken so.
"""
COLUMNS = (
    "seed",
    "database",
    "Redis servers",
    "spool",
    "calls/s",
    "sent",
    "acknowledged",
    "refused",
    "unanswered",
    "faults",
    "p50 / p99 / max ms",
    "without service",
    "drained after",
    "lost",
    "doubled",
    "recovered",
)


def page(runs: Sequence[Run], remark: str = "") -> Iterator[str]:
    """Its lines."""
    on, with_ = machine(), versions()
    yield HEAD
    yield f"Command: `make chaos SEED=n SECONDS={runs[0]['seconds']:g}`, one of {len(runs)} runs after the other."
    yield (
        f"Machine: {on['cores']} cores of {on['cpu']}, {on['memory_gib']} GiB, {on['os']}, an fsync takes "
        f"{on['fsync_ms']} ms; Python {with_['python']}, Valkey {with_['valkey-server']}, "
        f"SQLite {with_['sqlite']}, PostgreSQL {with_['postgresql']}."
    )
    if remark:
        yield remark
    yield ""
    kept = sum(run["kept"] for run in runs)
    sent, acknowledged, lost, doubled = (
        sum(run[name] for run in runs) for name in ("sent", "acknowledged", "lost", "doubled")
    )
    faults = sum((Counter(run["faults"]) for run in runs), Counter[str]())
    yield (
        f"**{kept} of {len(runs)} runs kept the promise: {lost} of {acknowledged:,} acknowledged calls lost, "
        f"{doubled} doubled**, {sent:,} calls sent, {faults.total():,} faults done."
    )
    compared = [run for run in runs if "recovered" in run]
    yield (
        f"{len(compared)} runs were compared with the log files in the end, which brought "
        f"{sum(run['recovered'] for run in compared):,} events back: the store then had each event once."
    )
    yield ""
    yield from _table(COLUMNS, [_row(run) for run in runs])
    yield ""
    yield "## The faults"
    yield ""
    yield from _table(("what", "how often"), [(name, str(number)) for name, number in sorted(faults.items())])


def _row(run: Run) -> tuple[str, ...]:
    setup, took = run["setup"], run["acknowledged_ms"]
    return (
        str(run["seed"]),
        {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MariaDB"}[setup["database"]],
        str(setup.get("streams", 1)),
        _spool(setup),
        str(setup["rate"]),
        f"{run['sent']:,}",
        f"{run['acknowledged']:,}",
        f"{sum(run['refused'].values()):,}",
        f"{run['unanswered']:,}",
        str(sum(run["faults"].values())),
        f"{took['p50']:.0f} / {took['p99']:,.0f} / {took['max']:,.0f}",
        f"{run['seconds_without_service']} s",
        f"{run['seconds_to_drain']:.0f} s",
        str(run["lost"]),
        str(run["doubled"]),
        f"{run['recovered']:,}" if "recovered" in run else "-",
    )


def _spool(setup: dict[str, Any]) -> str:
    if not setup["spool"]:
        return "off"
    return f"{setup['spool_max'] // 1024} KiB" if setup["spool_max"] else "on"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def main(path: Path, remark: str = "") -> None:
    """Print the page."""
    runs = {run["seed"]: run for run in map(json.loads, path.read_text().splitlines())}
    print("\n".join(page([runs[seed] for seed in sorted(runs)], remark)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
