"""What the whole of `ingest dev` costs while nothing happens: seconds to its first answer, memory, and wake-ups.

Beside it stands the least of its kind: the same private Redis, an aiohttp that enqueues one RQ job per call, and
an RQ worker; three processes, without a console, a spool, or anybody who starts again what died.
"""

import sys
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.benchmarks.baselines import QUEUE
from tests.benchmarks.plan import PATH, Plan, Step
from tests.benchmarks.report import Goal, Row, Spread
from tests.benchmarks.servers import JOBS, python, redis_server, scratch
from tests.support.running import PATIENCE, descendants, free_port, ingest, running

#: Clock ticks per second, in which /proc counts processor time.
TICKS = 100
CALL = b"type=open&id=5fd2c1aa90bb&time=1795165200"


@dataclass(frozen=True, slots=True)
class Sample:
    """What one contender needed in one round: seconds, MiB, per cent of a core, and wake-ups per second."""

    start: float
    memory: float
    processor: float
    wakes: float


def footprint(size: Plan, step: Step) -> list[Row]:
    """Start each, look at it at rest, and end it, in turns."""
    samples: dict[str, list[Sample]] = {"ours": [], JOBS: []}
    for _ in range(size.repeat):
        for name, contender in (("ours", _ours), (JOBS, _least)):
            with step(f"at rest: {name}"), scratch() as folder, contender(folder) as (start, pids):
                samples[name].append(_at_rest(start, pids, size.rest_seconds))

    def row(name: str, what: str, most: float) -> Row:
        ours, theirs = (Spread([getattr(one, what) for one in samples[key]]) for key in ("ours", JOBS))
        return Row(name, ours, JOBS, theirs, Goal(f"<= {most:g}", lambda mine, _: mine <= most))

    return [
        row("ingest dev: seconds to the first 200", "start", 1.0),
        row("its memory at rest, MiB", "memory", 150),
        row("its processor time at rest, % of a core", "processor", 0.5),
        row("its wake-ups at rest, per second", "wakes", 40),
    ]


@contextmanager
def _ours(folder: Path) -> Iterator[tuple[float, list[int]]]:
    port = free_port()
    environ = {
        "PORT": str(port),
        "INGEST_CONSOLE_PORT": str(free_port()),
        "INGEST_DATA_DIR": str(folder),
        "INGEST_SPOOL_DIR": str(folder / "spool"),
        "INGEST_VERIFY": "off",
    }
    began = time.perf_counter()
    with running(ingest("dev"), environ, folder / "dev.log") as dev:
        yield _seconds_to_answer(port, began), [dev.pid]


@contextmanager
def _least(folder: Path) -> Iterator[tuple[float, list[int]]]:
    port = free_port()
    began = time.perf_counter()
    with ExitStack() as stack:
        store = stack.enter_context(redis_server(folder))
        serving = stack.enter_context(
            running(python("baselines", "jobs", str(port), store.url), {}, folder / "web.log")
        )
        command = [sys.executable, "-m", "rq.cli", "worker", QUEUE, "--url", store.url]
        working = stack.enter_context(running(command, {}, folder / "worker.log"))
        yield _seconds_to_answer(port, began), [store.pid, serving.pid, working.pid]


def _seconds_to_answer(port: int, began: float) -> float:
    """Call until a call is taken; the seconds since the start."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    while time.perf_counter() - began < PATIENCE:
        with (
            suppress(OSError, HTTPException),
            closing(HTTPConnection("127.0.0.1", port, timeout=1.0)) as connection,
        ):
            connection.request("POST", PATH, CALL, form)
            if connection.getresponse().status == HTTPStatus.OK:
                return time.perf_counter() - began
        time.sleep(0.01)
    raise AssertionError("waited in vain for the first answer")


def _at_rest(start: float, roots: list[int], seconds: float) -> Sample:
    """What these processes and all below them need; half of the time before, for what a start leaves to do."""
    time.sleep(seconds / 2)
    pids = {*roots, *(pid for root in roots for pid in descendants(root))}
    processor, wakes, began = _used(pids), woken(pids), time.perf_counter()
    time.sleep(seconds)
    took = time.perf_counter() - began
    memory = sum(_field(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") for pid in pids) / 1024
    return Sample(start, memory, (_used(pids) - processor) / took * 100, (woken(pids) - wakes) / took)


def _used(pids: Collection[int]) -> float:
    """Seconds of processor time, with those of children that have ended."""
    stats = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return sum(int(tick) for stat in stats for tick in stat[11:15]) / TICKS


def woken(pids: Collection[int]) -> int:
    """How often the threads of these processes went to sleep so far."""
    threads = (thread for pid in pids for thread in Path(f"/proc/{pid}/task").iterdir())
    return sum(_field(thread / "status", "voluntary_ctxt_switches:") for thread in threads)


def _field(file: Path, name: str) -> int:
    """A number in a file of /proc; 0 where a thread has ended meanwhile."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(name))
    return 0
