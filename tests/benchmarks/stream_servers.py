"""Three stream servers beside one, and what a sender notices when two of the three go: `make bench-servers`.

Each round of the first part has new servers, another of which keeps serving: one of the others is killed, one is
frozen, in the same moment and in the midst of 2,000 calls a second, and both are back some seconds later. In the
second part one endpoint takes all it can, with one server and with three in turns; all write to the same disk.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from ingest.stream.consumer import Consumer
from tests.benchmarks import load, machine
from tests.benchmarks.__main__ import WIDTH
from tests.benchmarks.load import Sent
from tests.benchmarks.report import Goal, Report, Row, Spread
from tests.benchmarks.servers import OURS, Store, cpu_seconds, endpoint, scratch
from tests.support.running import PATIENCE, Process, ingest, running, until
from tests.support.valkey import Valkey
from workers.store.schema import upgrade
from workers.store.store import Store as Database

#: Calls per second while servers go.
RATE = 2000.0
#: Seconds of sending; when two servers go, and when they are back, counted from the start of the sender.
SECONDS, GO_AFTER, BACK_AFTER = 15.0, 4.0, 10.0
#: Seconds of sending before two go or the clock starts, and at full rate while it runs.
WARM, FULL = 3.0, 4.0


@dataclass(frozen=True, slots=True)
class Outage:
    """What one round came to."""

    sent: Sent
    #: A sender's latency while all three were there, by which the rest is to be judged.
    before: Sent
    #: Whether a call went to the spool.
    spooled: bool
    #: Events in the database beyond the calls that were answered; 0 if each is there once.
    too_many: int
    #: Seconds from the return of the servers until their backlog was drained.
    drained_after: float


@contextmanager
def servers(folder: Path, number: int) -> Iterator[list[Valkey]]:
    """So many servers, each with what we recommend: it confirms a write when that is on its disk."""
    with ExitStack() as stack:
        started = []
        for one in range(number):
            (folder / f"r{one}").mkdir()
            server = Valkey(folder / f"r{one}")
            stack.callback(server.end)
            server.start()
            started.append(server)
        yield started


@contextmanager
def site(folder: Path, started: Sequence[Valkey], **more: str) -> Iterator[tuple[int, Path, Process]]:
    """An endpoint before them; its port, its log and its process."""
    assert started[0].process is not None
    with started[0].client() as client:
        store = Store(client, started[0].url, started[0].process.pid)
        urls = ",".join(server.url for server in started)
        with endpoint(OURS, store, folder, INGEST_STREAM_URLS=urls, **more) as (port, process):
            yield port, folder / "endpoint.log", process


def outage(round_: int) -> Outage:
    """One round of the first part."""
    with scratch() as folder, servers(folder, 3) as started:
        environ = {"DATABASE_URL": f"sqlite:///{folder}/events.db"}
        upgrade(environ["DATABASE_URL"])
        worker = environ | {"REDIS_URL": started[0].url, "LOG_LEVEL": "warning"}
        worker["INGEST_STREAM_URLS"] = ",".join(server.url for server in started)
        with (
            site(folder, started, **environ) as (port, log, _),
            running(ingest("worker"), worker, folder / "worker.log"),
            ThreadPoolExecutor(1) as sender,
        ):
            before = load.send(port, WARM, RATE)
            sending = sender.submit(load.send, port, SECONDS, RATE)
            time.sleep(GO_AFTER)
            killed, frozen = started[(round_ + 1) % 3], started[(round_ + 2) % 3]
            killed.kill()
            frozen.send(signal.SIGSTOP)
            time.sleep(BACK_AFTER - GO_AFTER)
            killed.start(wait=False)
            frozen.send(signal.SIGCONT)
            back_at = time.monotonic()
            sent = sending.result()
            until(lambda: not any(_batches(server) for server in started), "the end of the backlogs", 4 * PATIENCE)
            drained_after = time.monotonic() - back_at
            spooled = "calls go to the spool" in log.read_text()
        with Database.open(environ["DATABASE_URL"]) as database:
            stored = database.stored()
    return Outage(sent, before, spooled, stored - before.answered - sent.answered, drained_after)


def _batches(server: Valkey) -> int:
    with server.client() as client:
        return Consumer(client).batches()


@dataclass(frozen=True, slots=True)
class Full:
    """What one endpoint takes at most."""

    #: Calls per second.
    rate: float
    #: Microseconds of a processor that the endpoint needs for one: says something on a busy machine, too.
    cost: float


def full_rate(number: int) -> Full:
    """One round of the second part, with so many servers."""
    with scratch() as folder, servers(folder, number) as started, site(folder, started) as (port, _, process):
        load.send(port, WARM)
        before = cpu_seconds(process.pid)
        sent = load.send(port, FULL)
        return Full(sent.rate, (cpu_seconds(process.pid) - before) / sent.answered * 1e6)


def outages(rounds: int, terminal: Console) -> list[Row]:
    """The first part."""
    seen = []
    for round_ in range(rounds):
        seen.append(one := outage(round_))
        terminal.print(
            f"round {round_ + 1}: {one.sent.answered:,} calls, all 200; p99 {one.sent.p99:.1f} ms "
            f"(before: {one.before.p99:.1f}), the slowest {one.sent.worst:.0f} ms, of which up to "
            f"{one.sent.stalled:.0f} the sender's own; "
            f"{'some' if one.spooled else 'none'} to the spool; {one.too_many:+d} stored; "
            f"drained {one.drained_after:.1f} s after the return; load {os.getloadavg()[0]:.1f}"
        )

    none = Goal("0", lambda ours, _: ours == 0)
    return [
        Row("calls/s, two of three away", Spread([one.sent.rate for one in seen])),
        Row("latency p50 there, ms", Spread([one.sent.p50 for one in seen])),
        Row(
            "latency p99 there, ms",
            Spread([one.sent.p99 for one in seen]),
            goal=Goal("≤ 50", lambda ours, _: ours <= 50),
        ),
        Row("latency p99 before, ms", Spread([one.before.p99 for one in seen])),
        Row("slowest call there, ms", Spread([one.sent.worst for one in seen])),
        Row("longest stall of the sender, ms", Spread([one.sent.stalled for one in seen])),
        Row("rounds with a spool", Spread([sum(one.spooled for one in seen)]), goal=none),
        Row("events missing or twice", Spread([sum(abs(one.too_many) for one in seen)]), goal=none),
        Row("drained after the return, s", Spread([one.drained_after for one in seen])),
    ]


def rates(rounds: int, terminal: Console) -> list[Row]:
    """The second part."""
    three, one = [], []
    for round_ in range(rounds):
        one.append(full_rate(1))
        three.append(full_rate(3))
        terminal.print(
            f"round {round_ + 1}: {three[-1].rate:,.0f} calls/s with three, {one[-1].rate:,.0f} with one; "
            f"{three[-1].cost:.1f} and {one[-1].cost:.1f} µs of a processor for each; "
            f"load {os.getloadavg()[0]:.1f}"
        )
    goal = Goal("≥ 0.95 x", lambda _, ratio: ratio >= 0.95)
    return [
        Row(
            "calls taken/s",
            Spread([full.rate for full in three]),
            "one server",
            Spread([full.rate for full in one]),
            goal,
        ),
        Row(
            "µs of a processor per call",
            Spread([full.cost for full in three]),
            "one server",
            Spread([full.cost for full in one]),
        ),
    ]


@click.command()
@click.option("--outages", "outage_rounds", type=click.IntRange(0), default=3, show_default=True)
@click.option("--rates", "rate_rounds", type=click.IntRange(0), default=5, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Where JSON goes, if anywhere.")
def main(outage_rounds: int, rate_rounds: int, output: Path | None) -> None:
    """Measure three stream servers: with two of them away, and beside one."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    terminal = Console(highlight=False)
    terminal.width = max(terminal.width, WIDTH)
    report = Report(machine.machine(), machine.versions(), {"load_before": round(os.getloadavg()[0], 2)})
    if outage_rounds:
        report.rows += outages(outage_rounds, terminal)
    if rate_rounds:
        report.rows += rates(rate_rounds, terminal)
    report.conditions["load_after"] = round(os.getloadavg()[0], 2)
    report.show(terminal)
    if output is not None:
        report.write(output)


if __name__ == "__main__":
    main()
