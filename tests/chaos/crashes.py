"""What a crash costs, measured: of processes, of the whole machine, of a disk. `python -m tests.chaos.crashes`.

Everything that should survive lies on one small disk of its own, a loop device. A machine's crash is its image,
copied while every process stands still, in place of it: what was written but not fsynced is in the kernel's memory
and not in the image, as after a loss of power. Needs Linux, and root to mount.
"""

import os
import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click

from tests.benchmarks.machine import machine, versions
from tests.chaos.crash_disk import disk, possible
from tests.chaos.crash_site import Load, Setup, Site
from tests.support.running import until

#: Seconds of load before the crash.
SECONDS = 3.0

EVERYSEC = ("--appendfsync", "everysec")
CRASHES = ("processes", "machine", "disk")
SETUPS = (
    Setup("backlog in Redis, `appendfsync always`"),
    Setup("backlog in Redis, `appendfsync everysec`", EVERYSEC),
    Setup("spool, Redis away", away=True),
    Setup("stored in SQLite, Redis with `always`", stored=True),
    Setup("stored in PostgreSQL, Redis with `always`", stored=True, postgres={}),
    Setup("the same with `synchronous_commit=off`", stored=True, postgres={"synchronous_commit": "off"}),
    Setup("backlog in Redis, a replica takes over", replica=True),
)
#: Every crash of every setup; a database whose disk is lost needs no measurement.
CASES = tuple(
    (setup, kind)
    for setup in SETUPS
    for kind in (("processes",) if setup.replica else ("processes", "machine") if setup.stored else CRASHES)
)
PREFACE = """# What a crash costs

`python -m tests.chaos.crashes --runs {runs} --output docs/crashes.md` made this. Calls come in for {seconds:g} s
as fast as they are taken, over 16 connections; then everything is killed at once. A crash of the machine is the
image of the disk at that moment, without what was written and not fsynced. A lost disk is that of Redis, or of the
spool. Median of {runs} runs (lowest-highest); `seconds of them` is how long before the crash the first lost call
was acknowledged. {facts}.

"""


class Cost(NamedTuple):
    """What one crash cost: calls acknowledged before it, lost of these, seconds of them, stored twice."""

    acknowledged: int
    lost: int
    seconds: float
    twice: int


def crash(setup: Setup, kind: str) -> Cost:
    """Load, crash, start again, drain, count."""
    with disk() as on, ExitStack() as stack:
        site = Site(setup, on)
        stack.callback(site.kill)
        site.start()
        os.sync()  # what was there before the load is on disk
        if setup.away:
            site.redis.kill()
        load = Load(site.port)
        load.start()
        time.sleep(SECONDS)
        _fail(site, kind)
        ended = time.monotonic()
        load.stop()
        _recover(site, kind)
        until(site.drained, "an empty backlog", 60)
        stored = site.numbers()
    there = set(stored)
    lost = [at for number, at in load.acknowledged.items() if number not in there]
    seconds = ended - min(lost) if lost else 0.0
    return Cost(len(load.acknowledged), len(lost), seconds, len(stored) - len(there))


def _fail(site: Site, kind: str) -> None:
    if site.setup.replica:
        site.redis.kill()
    elif kind == "machine":
        site.send(signal.SIGSTOP)
        image = site.disk.copy()
        site.kill()
        site.disk.replace(image)
    else:
        site.kill()
        if kind == "disk":
            lost = "spool" if site.setup.away else "redis"
            for path in (site.disk.path / lost).iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _recover(site: Site, kind: str) -> None:
    if site.setup.replica:
        site.fail_over()
        site.processes = [site.run("serve"), site.run("worker")]
        return
    site.start(first=False)


@click.command()
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="A Markdown file for the table.")
def main(runs: int, output: Path | None) -> None:
    """Crash everything, and print what each crash cost."""
    if not possible():
        raise click.ClickException("it takes Linux, root and a loop device")
    lines = [
        "| what holds the calls | crash | acknowledged | lost | seconds of them | twice |",
        "|---|---|---|---|---|---|",
    ]
    for setup, kind in CASES:
        costs = [crash(setup, kind) for _ in range(runs)]
        figures = [_spread([getattr(cost, name) for cost in costs]) for name in Cost._fields]
        what = "the primary" if setup.replica else f"all {kind}" if kind == "processes" else f"the {kind}"
        lines.append(f"| {setup.name} | {what} | " + " | ".join(figures) + " |")
        click.echo(lines[-1])
    if output is not None:
        facts = ", ".join(f"{name} {value}" for name, value in (machine() | versions()).items())
        output.write_text(PREFACE.format(runs=runs, seconds=SECONDS, facts=facts) + "\n".join(lines) + "\n")


def _spread(values: Sequence[float]) -> str:
    digits = 0 if all(value == int(value) for value in values) else 1
    low, middle, high = (f"{value:,.{digits}f}" for value in (min(values), median(values), max(values)))
    return middle if low == high else f"{middle} ({low}-{high})"


if __name__ == "__main__":
    main()
