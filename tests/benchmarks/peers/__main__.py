"""The command: `make bench-peers`, or `python -m tests.benchmarks.peers`."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import click

from tests.benchmarks import machine
from tests.benchmarks.cores import Cores
from tests.benchmarks.peers import handlers, installed
from tests.benchmarks.peers.endpoints import ENDPOINTS, Endpoint
from tests.benchmarks.peers.installed import NotInstalled
from tests.benchmarks.peers.measure import Condition, Sample, Size, sample
from tests.benchmarks.peers.report import Report
from tests.benchmarks.servers import OURS, ROOT

RESULTS = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "benchmarks-peers.md"
#: Files that a server or the load may open: two for each of the connections, and some.
FILES = 16_384
#: What ends the measuring of one of the others, and not that of the rest.
FAILURES = (NotInstalled, AssertionError, OSError, ValueError, subprocess.SubprocessError)
#: Events that our handler is called for, for each job of a library.
OURS_FOR_ONE = 10


def _numbers(_context: click.Context, _parameter: click.Parameter, value: str) -> list[int]:
    return [int(part) for part in value.split(",")]


@click.command()
@click.option("--repeat", type=click.IntRange(1), default=3, show_default=True, help="Rounds; in each, everybody.")
@click.option("--seconds", type=float, default=4.0, show_default=True, help="Of each sample.")
@click.option("--connections", default="64,500,2000", show_default=True, callback=_numbers)
@click.option("--jobs", type=click.IntRange(2), default=5000, show_default=True, help="For each library of jobs.")
@click.option("--only", multiple=True, help="Only this endpoint or library, beside ours; several times.")
@click.option("--appendfsync", type=click.Choice(["everysec", "always"]), default="everysec", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, help="Where the JSON goes.")
@click.option("--page", type=click.Path(path_type=Path), default=PAGE, help="Where the page goes.")
def main(
    repeat: int,
    seconds: float,
    connections: list[int],
    jobs: int,
    only: Sequence[str],
    appendfsync: str,
    output: Path,
    page: Path,
) -> None:
    """Measure ours beside others, which are installed into a folder of their own."""
    if not sys.platform.startswith("linux"):
        raise click.ClickException("processor times are read from /proc, which this system does not have")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    cores = Cores.among(os.sched_getaffinity(0))
    if not cores.are_apart:
        _say("THIS MACHINE HAS ONE CORE: the load takes its share of everybody's, and no figure says much.")
    size = Size(seconds, max(0.5, seconds / 4), appendfsync)
    report = Report(machine.machine(), machine.versions(), _conditions(repeat, size, cores))
    began = time.monotonic()
    conditions = [Condition(keep, count) for keep, count in product((True, False), connections)]
    chosen = [each for each in ENDPOINTS if not only or each.name == OURS or each.name in only]

    def write() -> None:
        """Also in between: who interrupts this after an hour has what was measured by then."""
        report.conditions |= {
            "took_s": round(time.monotonic() - began),
            "load_after": round(os.getloadavg()[0], 2),
        }
        report.versions = {**machine.versions(), **installed.versions()}
        report.write(output)
        page.write_text(report.page())

    for condition in conditions:
        report.samples[condition] = _round_by_round(chosen, condition, size, cores, report.skipped, repeat)
        write()
    libraries = [name for name in handlers.PACKAGES if not only or name in only]
    if libraries:
        _call_functions(libraries, repeat, jobs, cores, report)
        write()
    _say(f"Written to {output} and {page}; what was installed is in {installed.CACHE}.")


def _round_by_round(
    endpoints: Sequence[Endpoint],
    condition: Condition,
    size: Size,
    cores: Cores,
    skipped: dict[str, str],
    repeat: int,
) -> dict[str, list[Sample]]:
    """Everybody in turns, ours first: it says at which rates the others are asked how long a sender waits."""
    samples: dict[str, list[Sample]] = {}
    for _ in range(repeat):
        ours: float | None = None
        for endpoint in endpoints:
            if endpoint.name in skipped:
                continue
            try:
                found = sample(endpoint, condition, size, cores, None if endpoint.signed else ours)
            except FAILURES as error:
                if endpoint.name == OURS:
                    raise
                _skip(skipped, endpoint.name, error)
                continue
            if endpoint.name == OURS:
                ours = found.fastest.rate
            samples.setdefault(endpoint.name, []).append(found)
            _say(f"{condition}: {endpoint.name}: {found.fastest.rate:,.0f} calls/s")
    return samples


def _call_functions(libraries: Sequence[str], repeat: int, jobs: int, cores: Cores, report: Report) -> None:
    for _ in range(repeat):
        called = report.called.setdefault(OURS, [])
        called.append(handlers.ours(jobs * OURS_FOR_ONE, cores))
        _say(f"handlers: {OURS}: {called[-1].rate:,.0f} calls/s")
        for library in libraries:
            if library in report.skipped:
                continue
            try:
                found = handlers.theirs(library, jobs, cores)
            except FAILURES as error:
                _skip(report.skipped, library, error)
                continue
            report.called.setdefault(library, []).append(found)
            _say(f"handlers: {library}: {found.rate:,.0f} calls/s")


def _skip(skipped: dict[str, str], name: str, why: Exception) -> None:
    said = str(why) or type(why).__name__
    skipped[name] = said if isinstance(why, NotInstalled) else f"it failed: {said}"
    _say(f"*** SKIPPED: {name} is not measured: {skipped[name]} ***")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _conditions(repeat: int, size: Size, cores: Cores) -> dict[str, object]:
    shared = "shares the server's core" if cores.redis == cores.server else "has a core of its own"
    return {
        "rounds": repeat,
        "seconds": size.seconds,
        "appendfsync": size.appendfsync,
        "redis": shared,
        "cores": f"server {cores.server}, Redis {cores.redis}, load {cores.load}",
    }


if __name__ == "__main__":
    main()
