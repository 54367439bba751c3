"""What the console costs: `python -m tests.benchmarks.console`; a quarter of an hour with five million events.

Both databases are filled, and each page is asked for again and again, from another process and over a connection
that stays open: what is timed is the whole answer. Then calls come in at a rate, with and without people who look.
"""

import json
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles
from urllib.parse import quote

import click

from tests.benchmarks import load, machine
from tests.benchmarks.drain import DATABASES
from tests.benchmarks.report import Spread
from tests.benchmarks.servers import OURS, ROOT, Store, endpoint, redis_server, scratch
from tests.benchmarks.stored import Growing
from tests.support.postgres import postgres
from tests.support.running import Process, free_port, ingest, running, until
from workers.mailings.refresh import refresh
from workers.store.schema import upgrade
from workers.store.store import Store as Database

RESULTS = Path(__file__).with_name("console.json")
#: Seconds over which the events are spread, up to now.
SPREAD = 120 * 86_400
#: Times that each page is asked for, after two that do not count.
TIMES = 40
#: Milliseconds that 95 of 100 answers may take; a search for a person or message.
GOAL, GOAL_SEARCH = 200.0, 50.0
SEARCHES = ("recipient", "events of a recipient", "message", "events of a message")
#: People who look at the page Now, and events that it brings.
VISITORS = 10
#: Calls per second that come in meanwhile, and for how many seconds.
RATE, SECONDS = 1000.0, 10.0
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
def main(rows: int, repeat: int, times: int, output: Path) -> None:
    """Measure, print the table, write the figures."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    facts = {"machine": machine.machine(), "versions": machine.versions(), "rows": rows}
    began, found = time.monotonic(), {}
    for name in DATABASES:
        found[name] = pages_of(name, rows, times)
    visited = visited_rounds(repeat)
    show(found, visited)
    whole = facts | {"took_s": round(time.monotonic() - began), "pages": found, "visited": visited}
    output.write_text(json.dumps(whole, indent=1) + "\n")
    print(f"Written to {output}.")


# --- pages ---


def pages_of(name: str, rows: int, times: int) -> dict[str, dict[str, float]]:
    """By page its milliseconds, in a database of that kind with so many events; and the console's memory."""
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        url = stack.enter_context(postgres()).new_database("events") if name == "PostgreSQL" else ""
        url = url or f"sqlite:///{folder}/events.db"
        upgrade(url)
        growing = Growing(url, rows, SPREAD, int(time.time()))
        growing.grow(rows)
        store = stack.enter_context(redis_server(folder))
        figures(url)
        process, port = stack.enter_context(console(folder, url, store))
        print(f"{name}: {rows:,} events")
        found = {}
        for what, path in addresses(port, growing.people[0]).items():
            found[what] = timed(port, path, times)
            print(f"{what:<24}{_cell(found[what], GOAL_SEARCH if what in SEARCHES else GOAL)}")
        return found | {"memory": {"bytes": float(memory(process))}}


def figures(url: str) -> None:
    """Those of the mailings, as a worker derives them bit by bit."""
    database = Database.open(url)
    while refresh(database, 60.0).left:
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


def addresses(port: int, person: str) -> dict[str, str]:
    """What is asked for: each kind of page, of things that are there."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    by_recipient = led(connection, f"/events?recipient={quote(person)}")
    events = ask(connection, by_recipient)
    event = re.search(r'href="(/event/[0-9a-f]{24})', events)
    first = ask(connection, event[1]) if event else ""
    message = re.search(r'href="(/message/[^"?#]+)"', first)
    listed = ask(connection, "/mailings")
    mailings = list(dict.fromkeys(re.findall(r'href="(/mailing/\d+)"', listed)))
    today = datetime.now(UTC).date().isoformat()
    found = {
        "now": "/",
        "events": "/events",
        "events of a recipient": by_recipient,
        "events of a type": "/events?type=abuse",
        "events with a text": "/events?text=winterjas",
        "recipient": led(connection, f"/recipient?address={quote(person)}"),
        "event": event[1] if event else "",
        "message": message[1] if message else "",
        "events of a message": f"/events?message={message[1].rpartition('/')[2]}" if message else "",
        "mailings": "/mailings",
        "mailing": mailings[0] if mailings else "",
        "mailings compared": "/mailings/compare?"
        + "&".join(f"m={one.rpartition('/')[2]}" for one in mailings[:4]),
        "handlers": "/handlers",
        "dead letters": "/dead-letters",
        "refusals": "/refusals",
        "quarantine": "/quarantine",
        "days": "/days",
        "day": f"/day/{today}",
        "gaps": "/gaps",
        "system": "/system",
        "system: database": "/system/database",
        "audit": "/audit",
    }
    return {what: path for what, path in found.items() if path}


def timed(port: int, path: str, times: int) -> dict[str, float]:
    """How long an answer takes, in milliseconds."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    taken = []
    for _ in range(times + 2):
        began = time.perf_counter()
        try:
            ask(connection, path)
        except RuntimeError as error:
            print(error)
            return {}
        taken.append((time.perf_counter() - began) * 1000)
    connection.close()
    cuts = quantiles(taken[2:], n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "worst": max(taken[2:])}


def memory(process: Process) -> int:
    """Bytes that it has had in memory at most."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


# --- what it costs the endpoint ---


def visited_rounds(repeat: int) -> dict[str, list[float]]:
    """Milliseconds that 99 of 100 calls wait for their answer at most, with and without visitors, in turn."""
    found: dict[str, list[float]] = {"without": [], "with": [], "memory": []}
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
                with visitors(console_port):
                    found["with"].append(load.send(port, SECONDS, RATE).p99)
            found["memory"].append(memory(process))
    return found


@contextmanager
def visitors(port: int) -> Iterator[None]:
    """People who have the page Now open, while the block runs."""
    over = threading.Event()

    def look() -> None:
        ask(HTTPConnection("127.0.0.1", port, timeout=30), "/")
        with socket.create_connection(("127.0.0.1", port), 30) as stream:
            head = f"GET /live/now HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: text/event-stream\r\n\r\n"
            stream.sendall(head.encode())
            while not over.is_set() and stream.recv(65536):
                pass

    threads = [threading.Thread(target=look, daemon=True) for _ in range(VISITORS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(30)


# --- what is shown ---


def show(found: dict[str, dict[str, dict[str, float]]], visited: dict[str, list[float]]) -> None:
    """The tables, as Markdown."""
    print("\n| page | " + " | ".join(f"{name}, ms p95 (p50)" for name in found) + " |")
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


def _cell(times: dict[str, float] | None, goal: float) -> str:
    if not times:
        return ""
    return f"{times['p95']:.0f} ({times['p50']:.0f}){' MISSED' if times['p95'] > goal else ''}"


if __name__ == "__main__":
    main()
