"""What the console costs: `python -m tests.benchmarks.console`; with stores that are there, some five minutes.

Without `--sqlite` and `--postgresql`, both databases are filled first. Each page is asked for again and again,
from another process and over a connection that stays open: what is timed is the whole answer. Then calls come in
at a rate, with and without people who look.
"""

import json
import re
import signal
import socket
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from itertools import cycle, islice
from pathlib import Path
from statistics import quantiles
from urllib.parse import quote

import click
import psycopg

from tests.benchmarks import load, machine
from tests.benchmarks.drain import DATABASES
from tests.benchmarks.report import Goal, Row, Spread
from tests.benchmarks.servers import OURS, ROOT, Store, cpu_seconds, endpoint, redis_server, scratch
from tests.benchmarks.stored import Growing
from tests.support.postgres import postgres
from tests.support.running import Process, free_port, ingest, running, until
from workers.mailings.refresh import refresh
from workers.store import search
from workers.store.filters import Filter
from workers.store.lines import Line
from workers.store.schema import upgrade
from workers.store.store import Store as Database

RESULTS = Path(__file__).with_name("console.json")
#: Seconds over which the events are spread, up to now.
SPREAD = 120 * 86_400
#: Times that each page is asked for, after two that do not count; fewer if that takes more than so many seconds.
TIMES, SECONDS_EACH = 40, 5.0
#: Seconds in which figures of mailings are made; those of the newest are made first.
FIGURES_SECONDS = 90.0
#: Events whose pages, messages and recipients are asked for.
SAMPLES = 40
#: Milliseconds that 95 of 100 answers may take; a search for a person or message.
GOAL, GOAL_SEARCH = 200.0, 50.0
SEARCHES = ("recipient", "events of a recipient", "message", "events of a message")
#: People who look at the page Now, and events that it brings.
VISITORS = 10
#: Calls per second that come in meanwhile, and for how many seconds.
RATE, SECONDS = 1000.0, 10.0
#: Seconds within which what a page is told is one update.
TOGETHER = 0.1
#: Bytes that the console may take.
GOAL_MEMORY = 200e6


@click.command()
@click.option(
    "--rows", type=click.IntRange(0), default=5_000_000, show_default=True, help="Events in each database."
)
@click.option(
    "--repeat", type=click.IntRange(1), default=5, show_default=True, help="Rounds with and without visitors."
)
@click.option("--times", type=click.IntRange(2), default=TIMES, show_default=True, help="Answers of each page.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, help="Where the JSON goes.")
@click.option("--sqlite", type=click.Path(exists=True, path_type=Path), help="A store to read instead.")
@click.option("--postgresql", metavar="URL", help="The same; with one of both, no other store is measured.")
def main(rows: int, repeat: int, times: int, output: Path, sqlite: Path | None, postgresql: str | None) -> None:
    """Measure, print the table, write the figures."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    facts = {"machine": machine.machine(), "versions": machine.versions(), "rows": rows}
    began, found = time.monotonic(), {}
    ready = {"SQLite": sqlite and f"sqlite:///{sqlite.resolve()}", "PostgreSQL": postgresql}
    for name in DATABASES:
        if url := ready[name]:
            found[name] = pages_of(name, url, times)
        elif not any(ready.values()):
            with filled(name, rows) as url:
                found[name] = pages_of(name, url, times)
    visited = visited_rounds(repeat)
    show(found, visited)
    whole = facts | {"took_s": round(time.monotonic() - began), "pages": found, "visited": visited}
    output.write_text(json.dumps(whole, indent=1) + "\n")
    print(f"Written to {output}.")


# --- pages ---


@contextmanager
def filled(name: str, rows: int) -> Iterator[str]:
    """A database of that kind with so many events, made for this."""
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        url = stack.enter_context(postgres()).new_database("events") if name == "PostgreSQL" else ""
        url = url or f"sqlite:///{folder}/events.db"
        upgrade(url)
        Growing(url, rows, SPREAD, int(time.time())).grow(rows)
        if name == "PostgreSQL":  # what its autovacuum, which servers of ours lack, has done in any other by then
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("VACUUM (ANALYZE)")
        yield url


def pages_of(name: str, url: str, times: int) -> dict[str, dict[str, float]]:
    """By page its milliseconds, in this database; and the console's memory."""
    with scratch() as folder, redis_server(folder) as store:
        figures(url)
        lines, found = samples(url), dict[str, dict[str, float]]()
        with console(folder, url, store) as (process, port):
            print(f"{name}:")
            for what, paths in addresses(port, lines).items():
                found[what] = timed(process, port, paths, times)
                print(f"{what:<24}{_cell(found[what], GOAL_SEARCH if what in SEARCHES else GOAL)}", flush=True)
            return found | {"memory": {"bytes": float(memory(process))}}


def rows_of(name: str, url: str, times: int = 20) -> list[Row]:
    """The rows of `make bench`: the slowest page and the slowest search, in a database that is there."""
    found = pages_of(name, url, times)
    searches = max(pages["p95"] for what, pages in found.items() if what in SEARCHES and pages)
    others = max(pages["p95"] for what, pages in found.items() if what not in SEARCHES and "p95" in pages)
    return [
        Row(f"the console's slowest page on {name}, ms", Spread([others]), goal=_at_most(GOAL)),
        Row(f"its slowest search on {name}, ms", Spread([searches]), goal=_at_most(GOAL_SEARCH)),
    ]


def _at_most(milliseconds: float) -> Goal:
    return Goal(f"≤ {milliseconds:.0f}", lambda ours, _: ours <= milliseconds)


def figures(url: str) -> None:
    """Those of the mailings, as a worker derives them bit by bit."""
    database, ends = Database.open(url), time.monotonic() + FIGURES_SECONDS
    while time.monotonic() < ends and refresh(database, 10.0).left:
        pass
    database.close()


@contextmanager
def console(folder: Path, database: str, store: Store) -> Iterator[tuple[Process, int]]:
    """A console on this machine, ready; its process and port."""
    port = free_port()
    environ = {"DATABASE_URL": database, "REDIS_URL": store.url, "INGEST_CONSOLE_PORT": str(port)}
    environ |= {"INGEST_DATA_DIR": str(folder), "LOG_LEVEL": "warning"}
    with running(ingest("console"), environ, folder / "console.log", ROOT) as process:
        until(lambda: answered(port), "the console")
        yield process, port


def answered(port: int) -> bool:
    """Whether it is up."""
    try:
        return ask(HTTPConnection("127.0.0.1", port, timeout=5), "/healthz") == "ok\n"
    except OSError:
        return False


def ask(connection: HTTPConnection, path: str) -> str:
    """The text of a page."""
    connection.request("GET", path, headers={"Accept": "text/html", "Sec-Fetch-Site": "none"})
    answer = connection.getresponse()
    text = answer.read().decode()
    if answer.status != 200:
        raise RuntimeError(f"{path} was answered {answer.status}: {text[:300]}")
    return text


def led(connection: HTTPConnection, path: str) -> str:
    """Where a page leads on to: an address of a person is sealed."""
    connection.request("GET", path, headers={"Accept": "text/html", "Sec-Fetch-Site": "none"})
    answer = connection.getresponse()
    answer.read()
    return answer.headers["Location"] or path


def samples(url: str) -> list[Line]:
    """Events of different people and messages, all over the store: each page is asked for about another one."""
    database, found = Database.open(url), list[Line]()
    try:
        for kind in ("open", "delivery", "click", "failure"):
            place: search.Place | None = None
            while (
                len(found) < SAMPLES and (page := search.search(database, Filter(types=[kind]), place, 50)).lines
            ):
                found += [line for line in page.lines[::10] if line.recipient and line.message_id]
                if (place := page.further) is None:
                    break
                place = place._replace(at=place.at - SPREAD * 10_000)  # a hundredth of all
    finally:
        database.close()
    return found


def addresses(port: int, lines: list[Line]) -> dict[str, list[str]]:
    """What is asked for: each kind of page, of things that are there."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    mailings = list(dict.fromkeys(re.findall(r'href="(/mailing/\d+)"', ask(connection, "/mailings"))))
    people = [quote(line.recipient or "") for line in lines]
    messages = [quote(line.message_id or "") for line in lines]
    today = datetime.now(UTC).date().isoformat()
    compared = "&".join(f"m={one.rpartition('/')[2]}" for one in mailings[:4])
    found = {
        "now": ["/"],
        "events": ["/events"],
        "events of a recipient": [led(connection, f"/events?recipient={one}") for one in people],
        "events of a type": ["/events?type=abuse"],
        "events with a text": ["/events?text=winterjas"],
        "recipient": [led(connection, f"/recipient?address={one}") for one in people],
        "event": [f"/event/{line.delivery_id.hex()}" for line in lines],
        "message": [f"/message/{one}" for one in messages],
        "events of a message": [f"/events?message={one}" for one in messages],
        "mailings": ["/mailings"],
        "mailing": mailings,
        "mailings compared": [f"/mailings/compare?{compared}"] if mailings else [],
        "handlers": ["/handlers"],
        "dead letters": ["/dead-letters"],
        "refusals": ["/refusals"],
        "quarantine": ["/quarantine"],
        "days": ["/days"],
        "day": [f"/day/{today}"],
        "gaps": ["/gaps"],
        "system": ["/system"],
        "system: database": ["/system/database"],
        "audit": ["/audit"],
    }
    return {what: paths for what, paths in found.items() if paths}


def timed(process: Process, port: int, paths: list[str], times: int) -> dict[str, float]:
    """How long an answer takes, and how much of a processor it takes in the console, in milliseconds."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    taken = []
    ends, before = time.monotonic() + SECONDS_EACH, cpu_seconds(process.pid)
    for path in islice(cycle(paths), times + 2):
        began = time.perf_counter()
        try:
            ask(connection, path)
        except RuntimeError as error:
            print(error)
            return {}
        taken.append((time.perf_counter() - began) * 1000)
        if time.monotonic() > ends and len(taken) > 3:
            break
    connection.close()
    busy = (cpu_seconds(process.pid) - before) * 1000 / len(taken)
    cuts = quantiles(taken[2:], n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "worst": max(taken[2:]), "busy": busy, "answers": len(taken) - 2}


def memory(process: Process) -> int:
    """Bytes that it has had in memory at most."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


# --- what it costs the endpoint ---


def visited_rounds(repeat: int) -> dict[str, list[float]]:
    """Milliseconds that 99 of 100 calls wait for their answer at most, with and without visitors, in turn."""
    found: dict[str, list[float]] = {"without": [], "with": [], "memory": [], "updates": []}
    with scratch() as folder, redis_server(folder) as store:
        url = f"sqlite:///{folder}/events.db"
        upgrade(url)
        environ = {
            "DATABASE_URL": url,
            "REDIS_URL": store.url,
            "INGEST_DATA_DIR": str(folder),
            "LOG_LEVEL": "warning",
        }
        with (
            endpoint(OURS, store, folder, DATABASE_URL=url) as (port, _),
            running(ingest("worker"), environ, folder / "worker.log", ROOT),
            console(folder, url, store) as (process, console_port),
        ):
            load.send(port, SECONDS / 2, RATE)
            for _ in range(repeat):
                found["without"].append(load.send(port, SECONDS, RATE).p99)
                with visitors(console_port) as updates:
                    found["with"].append(load.send(port, SECONDS, RATE).p99)
                found["updates"] += [float(most_in_a_second(moments)) for moments in updates]
            found["memory"].append(memory(process))
    return found


@contextmanager
def visitors(port: int) -> Iterator[list[list[float]]]:
    """People who have the page Now open, while the block runs; when each was told something new."""
    over, told = threading.Event(), [list[float]() for _ in range(VISITORS)]

    def look(moments: list[float]) -> None:
        ask(HTTPConnection("127.0.0.1", port, timeout=30), "/")
        with socket.create_connection(("127.0.0.1", port), 30) as stream:
            head = f"GET /live/now HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: text/event-stream\r\n\r\n"
            stream.sendall(head.encode())
            while not over.is_set() and (some := stream.recv(65536)):
                now = time.monotonic()
                if b"event: " in some and now - (moments or [0.0])[-1] > TOGETHER:  # of several parts, one update
                    moments.append(now)

    threads = [threading.Thread(target=look, args=[moments], daemon=True) for moments in told]
    for thread in threads:
        thread.start()
    try:
        yield told
    finally:
        over.set()
        for thread in threads:
            thread.join(30)


def most_in_a_second(moments: list[float]) -> int:
    """Of some moments in order, how many are in one second at most."""
    return max((bisect_left(moments, one + 1.0) - at for at, one in enumerate(moments)), default=0)


# --- what is shown ---


def show(found: dict[str, dict[str, dict[str, float]]], visited: dict[str, list[float]]) -> None:
    """The tables, as Markdown."""
    print("\n| page | " + " | ".join(f"{name}, ms p95 (p50; its processor)" for name in found) + " |")
    print("|---|" + "---|" * len(found))
    for what in dict.fromkeys(what for pages in found.values() for what in pages):
        if what == "memory":
            continue
        goal = GOAL_SEARCH if what in SEARCHES else GOAL
        cells = [_cell(pages.get(what), goal) for pages in found.values()]
        print(f"| {what} | {' | '.join(cells)} |")
    without, seen = Spread(visited["without"]), Spread(visited["with"])
    most = max([*visited["memory"], *(pages["memory"]["bytes"] for pages in found.values())])
    print(f"\np99 at {RATE:,.0f} calls/s: {without.shown(' ms')}; {seen.shown(' ms')} with {VISITORS} visitors,")
    print(f"which is {seen.over(without).shown(' x')}. The console took {most / 1e6:.0f} MB at most.")
    print(f"No page was updated more than {max(visited['updates'], default=0):.0f} times in a second.")


def _cell(times: dict[str, float] | None, goal: float) -> str:
    if not times:
        return ""
    shown = f"{times['p95']:.0f} ({times['p50']:.0f}; {times['busy']:.0f})"
    return f"{shown}{' MISSED' if times['p95'] > goal else ''}"


if __name__ == "__main__":
    main()
