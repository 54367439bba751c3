"""What everything costs as the database grows: `make bench-growth`, or `python -m tests.benchmarks.growth`.

Both databases grow to one size after the other. At each, every command that people wait for runs as a process of
its own, from the shell's point of view; then a backlog is drained into it. Events are spread over four months up
to now, as those of a sender who mails every day.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import click
import psycopg

from tests.benchmarks import machine, plan
from tests.benchmarks.drain import DATABASES, batches
from tests.benchmarks.report import Spread
from tests.benchmarks.servers import ROOT, SCRATCH, redis_server, scratch
from tests.benchmarks.stored import Growing
from tests.support.postgres import postgres
from tests.support.running import clean_environ, ingest
from workers.store.filters import Filter
from workers.store.schema import upgrade
from workers.store.store import Store

RESULTS = Path(__file__).with_name("growth.json")
PAGE = ROOT / "docs" / "benchmarks-growth.md"
#: Seconds over which the events are spread.
SPREAD = 120 * 86_400
#: Seconds that one command may take.
PATIENCE = 900.0
#: Commands that say with their exit codes how everything is: here are neither an endpoint nor a worker.
JUDGING = ("status", "check")
#: Who is looked for where nobody is.
NOBODY, NO_MESSAGE = "jan@example.nl", "5fd2c1aa90bb"

INTRODUCTION = """\
# As the database grows

`make bench-growth` made this page. Commands are timed as whole processes, in seconds, with the files warm; behind
them is their processor time, without that of PostgreSQL's server. One worker drains a backlog of events of people
who are new. Bytes are those of everything in the database, indexes included. Medians, lowest and highest in
brackets.
"""


@dataclass(slots=True)
class Size:
    """What was measured at one size of one database; by command its seconds, and those of the processor."""

    rows: int
    commands: dict[str, list[float]] = field(default_factory=dict)
    busy: dict[str, list[float]] = field(default_factory=dict)
    drained_per_second: list[float] = field(default_factory=list)
    bytes_per_event: float | None = None


def _rows(_context: click.Context, _parameter: click.Parameter, value: str) -> list[int]:
    return sorted(int(part) for part in value.replace("_", "").split(","))


@click.command()
@click.option("--rows", default="0,1000000,5000000,20000000", show_default=True, callback=_rows)
@click.option("--repeat", type=click.IntRange(1), default=3, show_default=True, help="Times that each is run.")
@click.option("--events", type=click.IntRange(1), default=200_000, show_default=True, help="To drain.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, help="Where the JSON goes.")
@click.option("--page", type=click.Path(path_type=Path), default=PAGE, help="Where the page goes.")
def main(rows: list[int], repeat: int, events: int, output: Path, page: Path) -> None:
    """Measure at each number of rows, in SQLite and in PostgreSQL."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    facts: dict[str, Mapping[str, object]] = {"machine": machine.machine(), "versions": machine.versions()}
    began = time.monotonic()
    found: dict[str, list[Size]] = {name: [] for name in DATABASES}
    for name in DATABASES:
        with scratch() as folder, _database(name, folder) as (database, size_of):
            for size in _grow(name, database, size_of, rows, repeat, events):
                found[name].append(size)
                conditions = {
                    "rounds": repeat,
                    "drained_events": events,
                    "took_s": round(time.monotonic() - began),
                }
                facts["conditions"] = {**conditions, "load_after": round(os.getloadavg()[0], 2)}
                # After each size: who interrupts this after an hour has what was measured by then.
                output.write_text(json.dumps({**facts, "databases": _as_json(found)}, indent=1) + "\n")
                page.write_text(_page(facts, found))
    click.echo(f"Written to {output} and {page}.", err=True)


@contextmanager
def _database(name: str, folder: Path) -> Iterator[tuple[str, Callable[[], int]]]:
    """A database with our tables, and what says how many bytes it takes."""
    if name == "SQLite":
        path = folder / "events.db"
        upgrade(f"sqlite:///{path}")
        yield f"sqlite:///{path}", lambda: _settled(path)
        return
    with postgres({}, SCRATCH) as server:
        url = server.new_database("growth")
        upgrade(url)
        yield url, lambda: _size_in_postgres(url)


def _settled(path: Path) -> int:
    store = Store.open(f"sqlite:///{path}")
    store.empty_log()
    store.close()
    return path.stat().st_size


def _size_in_postgres(url: str) -> int:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert found is not None
    return int(found[0])


def _grow(
    name: str, database: str, size_of: Callable[[], int], rows: Sequence[int], repeat: int, events: int
) -> Iterator[Size]:
    empty = size_of()
    growing = Growing(database, max(rows), SPREAD, int(time.time()))
    with Store.open(database) as store:  # the partitions of months that are over, before there is anything to move
        store.make_room([growing.second(number) for number in range(0, max(rows), max(1, max(rows) // 50))])
    for step, count in enumerate(rows):
        _say(f"{name}: growing to {count:,} rows")
        growing.grow(count)
        size = Size(count)
        if count:
            size.bytes_per_event = (size_of() - empty) / _stored(database)
        _run_commands(name, database, growing, size, repeat)
        for round_ in range(repeat):
            calls = plan.varied_calls(step * repeat + round_, events)
            size.drained_per_second.append(batches(calls, events, database).rate)
            _say(f"{name}, {count:,} rows: {size.drained_per_second[-1]:,.0f} drained per second")
        yield size


def _stored(database: str) -> int:
    with Store.open(database) as store:
        return store.stored()


def commands(person: str, message: str) -> Mapping[str, tuple[str, ...]]:
    """What people wait for."""
    return {
        "status": ("status",),
        "stats (a day)": ("stats",),
        "stats (all days)": ("stats", "--by", "day", "--since", "400d"),
        "events --recipient": ("events", "--recipient", person, "--format", "jsonl"),
        "events --message": ("events", "--message", message, "--format", "jsonl"),
        "erase --dry-run": ("erase", "--recipient", person, "--dry-run"),
        "check": ("check",),
    }


def _run_commands(name: str, database: str, growing: Growing, size: Size, repeat: int) -> None:
    person, message = NOBODY, NO_MESSAGE
    if growing.size:
        with Store.open(database) as store:
            person, message = next(
                (person, event.message_id)
                for person in growing.people
                for event in store.find(Filter(recipient=person))
                if event.message_id
            )
    with scratch() as folder, redis_server(folder) as redis:
        environ = {"REDIS_URL": redis.url, "DATABASE_URL": database, "INGEST_DATA_DIR": str(folder)}
        # Not verified: whether DNS is quick is another question.
        environ |= {"INGEST_VERIFY": "off", "INGEST_SPOOL_DIR": "off"}
        for _ in range(repeat):
            for said, arguments in commands(person, message).items():
                seconds, busy = _timed(arguments, environ)
                size.commands.setdefault(said, []).append(seconds)
                size.busy.setdefault(said, []).append(busy)
                _say(f"{name}, {size.rows:,} rows: {said} {seconds:.2f} s, {busy:.2f} of the processor")


def _timed(arguments: Sequence[str], environ: Mapping[str, str]) -> tuple[float, float]:
    began, before = time.perf_counter(), _busy()
    done = subprocess.run(
        ingest(*arguments),
        env={**clean_environ(), **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    took = time.perf_counter() - began
    fine = done.returncode == 0 or (arguments[0] in JUDGING and done.stdout and "Traceback" not in done.stderr)
    assert fine, f"{arguments} failed: {done.stderr or done.stdout}"
    return took, _busy() - before


def _busy() -> float:
    """Seconds of processor time of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _as_json(found: Mapping[str, Sequence[Size]]) -> dict[str, object]:
    return {
        name: [
            {
                "rows": size.rows,
                "bytes_per_event": size.bytes_per_event and round(size.bytes_per_event, 1),
                "drained_per_second": Spread(size.drained_per_second).as_dict(),
                "seconds": {command: Spread(taken).as_dict() for command, taken in size.commands.items()},
                "cpu_seconds": {command: Spread(taken).as_dict() for command, taken in size.busy.items()},
            }
            for size in sizes
        ]
        for name, sizes in found.items()
    }


def _page(facts: Mapping[str, Mapping[str, object]], found: Mapping[str, Sequence[Size]]) -> str:
    parts = [INTRODUCTION]
    parts += [", ".join(f"{name} {value}" for name, value in group.items()) + ".\n" for group in facts.values()]
    for name, sizes in found.items():
        lines = [["", *(f"{size.rows:,} rows" for size in sizes)], ["---"] * (len(sizes) + 1)]
        lines.append(["drained per second", *(Spread(size.drained_per_second).shown() for size in sizes)])
        of_each = [size.bytes_per_event for size in sizes]
        lines.append(["bytes per event", *("" if each is None else f"{each:,.0f}" for each in of_each)])
        lines += [
            [f"`{command}`" if "(" not in command else command, *(_both(size, command) for size in sizes)]
            for command in commands("", "")
        ]
        table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        parts.append(f"## {name}\n\n{table}")
    return "\n".join(parts)


def _both(size: Size, command: str) -> str:
    return f"{Spread(size.commands[command]).shown(' s')}, CPU {median(size.busy[command]):.2f}"


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
