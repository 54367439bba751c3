"""The command: `make bench`, or `python -m tests.benchmarks`."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.benchmarks import console, endpoint, machine, plan, verification
from tests.benchmarks.catch_up import catch_up
from tests.benchmarks.drain import drain, drain_into_full
from tests.benchmarks.footprint import footprint
from tests.benchmarks.handlers import handle
from tests.benchmarks.plan import Plan
from tests.benchmarks.reconcile import reconcile
from tests.benchmarks.report import Report

RESULTS = Path(__file__).with_name("results.json")
#: Samples in one round: three endpoints at full rate, four drains, three workers that call functions, two
#: latencies, two at rest, five of the check, one flood, four drains more into databases that were filled in two
#: steps before, a day, written in one step before, that is read and reconciled, and a gap, likewise, that is
#: filled. Pages of the console are asked for in two steps after.
STEPS, STEPS_BEFORE = 27, 6
#: Columns that the table needs; a terminal that has fewer may wrap it.
WIDTH = 148


@click.command()
@click.option("--repeat", type=click.IntRange(1), default=3, show_default=True, help="Rounds; in each, everybody.")
@click.option("--quick", is_flag=True, help="Short and rough.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, help="Where the JSON goes.")
def main(repeat: int, quick: bool, output: Path) -> None:
    """Measure ours beside the baselines, and print the table."""
    if not sys.platform.startswith("linux"):
        raise click.ClickException("processor times are read from /proc, which this system does not have")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    terminal = Console(highlight=False)
    terminal.width = max(terminal.width, WIDTH)
    size = plan.quick(repeat) if quick else Plan(repeat)
    report = Report(machine.machine(), machine.versions(), _conditions(size))
    began = time.monotonic()
    columns = TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=2) as progress:
        task = progress.add_task("", total=repeat * STEPS + STEPS_BEFORE)

        @contextmanager
        def step(description: str) -> Iterator[None]:
            progress.update(task, description=description)
            yield
            progress.advance(task)

        accepted, rate = endpoint.accept(size, step)
        report.rows = [*accepted, *drain(size, step), *handle(size, step), *endpoint.wait(size, rate / 2, step)]
        report.rows += footprint(size, step)
        report.rows += [*verification.verify(size, step), *verification.flood(size, step)]
        report.rows += drain_into_full(size, step, console.rows_of)
        report.rows += reconcile(size, step)
        report.rows += catch_up(size, step)
    report.conditions |= {"took_s": round(time.monotonic() - began), "load_after": round(os.getloadavg()[0], 2)}
    report.show(terminal)
    report.write(output)
    terminal.print(f"Written to {output}.")


def _conditions(size: Plan) -> dict[str, object]:
    return {
        "rounds": size.repeat,
        "connections": plan.CONNECTIONS,
        "mean_body_bytes": round(fmean(len(call.body) for call in plan.calls()), 1),
        "seconds": size.seconds,
        "drained_events": size.events,
        "stored_events": size.stored,
        "handled_events": size.handled,
        "logged_events": size.logged,
        "destinations": size.destinations,
        "results_of_the_gap": size.results,
        "drained_jobs": size.jobs,
    }


if __name__ == "__main__":
    main()
