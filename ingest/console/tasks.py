"""What takes long and is begun from a page: done in a thread, watched, stopped, and in the audit.

    begun      the page that began it leads to `/task/{id}`, which shows how far it is, and can stop it
    done       with numbers of what came of it
    stopped    asked to, it ended early: what was done stays done
    failed     with a sentence that says why
    killed     the audit shows it as not ended. Whatever is begun here is harmless if it is done half, or again

They are kept in memory, the last `KEPT` of them: the audit has them all.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from secrets import token_hex

from aiohttp import web

from ingest.console import once
from ingest.console.reading import READING
from ingest.console.visitor import visitor_of
from ingest.errors import IngestError
from ingest.settings import Settings
from ingest.shown import without_secrets
from workers.operations import audit
from workers.store.store import Store

log = logging.getLogger(__name__)

#: How many are under way at the same time: each takes a thread and a connection to the database.
MOST_TASKS = 4
#: How many are remembered, those under way included.
KEPT = 50
#: Seconds that those under way get to end when the console stops.
STOP_SECONDS = 2.0

#: Tells how much is done, of how much (None: unknown), and in which words; called as often as one likes.
Report = Callable[..., None]
#: Does the work. It tells how far it is, asks now and then whether it should end, and returns numbers by what they
#: count: texts that are marked for translation, such as `_("given to their handlers again")`.
Work = Callable[[Report, Callable[[], bool]], Mapping[str, int]]


class Busy(Exception):
    """One of its kind is under way, whose id is `running`; or too many are."""

    def __init__(self, running: str | None) -> None:
        super().__init__("Another one is under way.")
        self.running = running


@dataclass(slots=True)
class Task:
    """One piece of work. Times are Unix seconds; only its own thread changes what it has done."""

    id: str
    #: Such as `retry`: what there is one of at a time, and what the audit calls it.
    kind: str
    #: What people are told that it does: a text that is marked for translation.
    title: str
    who: str
    what: Mapping[str, object]
    #: The page that it was begun from.
    back: str
    began_at: float
    #: From where it was begun: the address of their browser.
    place: str = ""
    done: int = 0
    #: None while that is not known.
    total: int | None = None
    #: Where it is, in a word or two: the day, say.
    note: str = ""
    ended_at: float | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    #: Why it failed.
    error: str | None = None
    #: Set to have it end.
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    @property
    def state(self) -> str:
        """`running`, `stopping`, `done`, `stopped` or `failed`."""
        if self.ended_at is None:
            return "stopping" if self.stop.is_set() else "running"
        if self.error is not None:
            return "failed"
        whole = self.total is not None and self.done >= self.total
        return "stopped" if self.stop.is_set() and not whole else "done"

    def report(self, done: int, total: int | None = None, note: str = "") -> None:
        """How much is done."""
        self.done, self.note = done, note
        if total is not None:
            self.total = total

    @property
    def seen(self) -> tuple[object, ...]:
        """What a page shows of it: when this differs, there is something new."""
        return self.done, self.total, self.note, self.state


_tasks = web.AppKey("tasks", dict[str, Task])


def prepare(app: web.Application) -> None:
    """Have an application do such work, and end it when it stops."""
    app[_tasks] = {}
    app.cleanup_ctx.append(_ended)


async def _ended(app: web.Application) -> AsyncIterator[None]:
    yield
    for task in (under_way := [task for task in app[_tasks].values() if task.ended_at is None]):
        task.stop.set()
    until = time.monotonic() + STOP_SECONDS
    while any(task.ended_at is None for task in under_way) and time.monotonic() < until:
        await asyncio.sleep(0.02)


def start(
    app: web.Application,
    kind: str,
    who: str,
    work: Work,
    *,
    title: str = "",
    what: Mapping[str, object] | None = None,
    back: str = "/",
    place: str = "",
) -> str:
    """Begin it in a thread of its own; returns its id, for `/task/{id}`.

    Raises:
        Busy: it was not begun.
    """
    running = [task for task in app[_tasks].values() if task.ended_at is None]
    same = [task.id for task in running if task.kind == kind]
    if same or len(running) >= MOST_TASKS:
        raise Busy(same[0] if same else None)
    task = Task(token_hex(8), kind, title or kind, who, {} if what is None else what, back, time.time(), place)
    app[_tasks][task.id] = task
    _forget_oldest(app[_tasks])
    # A daemon, so that the process ends although somebody's database does not answer.
    task.thread = threading.Thread(
        target=_work, args=(app[READING].settings, task, work), name=f"task {kind}", daemon=True
    )
    task.thread.start()
    return task.id


def begun(
    request: web.Request,
    kind: str,
    work: Work,
    *,
    title: str,
    what: Mapping[str, object] | None = None,
    back: str,
) -> web.HTTPSeeOther:
    """Begin it for whoever sent this form; returns the way to its page, or to the one in its way, to be raised."""
    try:
        who = visitor_of(request)
        number = start(request.app, kind, who.name, work, title=title, what=what, back=back, place=who.address)
    except Busy as busy:
        return web.HTTPSeeOther(f"/task/{busy.running}?busy=1" if busy.running else "/tasks?busy=1")
    once.acted(request)
    return web.HTTPSeeOther(f"/task/{number}")


def find(app: web.Application, number: str) -> Task | None:
    """The one with this id; None if it is not remembered."""
    return app[_tasks].get(number)


def recent(app: web.Application) -> list[Task]:
    """Those that are remembered, the newest first."""
    return list(app[_tasks].values())[::-1]


def _forget_oldest(tasks: dict[str, Task]) -> None:
    over = [task.id for task in tasks.values() if task.ended_at is not None]
    for number in over[: max(0, len(tasks) - KEPT)]:
        del tasks[number]


def _work(settings: Settings, task: Task, work: Work) -> None:
    """In its thread: do it, between the two entries of the audit."""

    def do() -> int | None:
        task.counts = work(task.report, task.stop.is_set)
        return sum(task.counts.values()) if task.counts else None

    try:
        with Store.of(settings) as store:
            audit.noted(store, task.who, audit.CONSOLE, task.kind, task.what, do, task.place)
    except IngestError as error:
        task.error = without_secrets(str(error))
    except Exception:
        log.exception("the task %s failed", task.kind)
        task.error = ""  # a fault of ours: its page says so
    finally:
        task.ended_at = time.time()
        log.info("%s of %s ended: %s", task.kind, task.who, task.state, extra={"event": "task"})
