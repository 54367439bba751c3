"""The RQ jobs of the queue `handlers`: call the users' functions with what was stored.

As with the drain, jobs are wake-ups and tables hold the work (`workers.handlers.work_queue`): a job lost, doubled
or killed costs nothing. One job works for one handler, for a time slice, and leaves when that handler has to wait
for its rate or its target, so that the others get their turn.
"""

import asyncio
import logging
import math
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NamedTuple, TypeVar

import redis

from ingest import redis_client
from ingest.batch import Record
from ingest.copernica.events import Event
from ingest.errors import IngestError, SettingsError
from ingest.jobs import JobScheduler
from ingest.settings import Settings
from workers.handlers import registry
from workers.handlers.registry import ASYNC_CONCURRENCY, GiveUp, Handler, TryLater
from workers.handlers.throttle import Breaker, Bucket
from workers.handlers.work_queue import LEASE, Claim, Failure, WorkQueue
from workers.records import Quarantined, read
from workers.runtime import SLICE, stop_flag
from workers.store.store import Store

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Calls that are claimed together: a whole row, as the stream's batches make them, or what a batch needs.
CLAIM_EVENTS = 512
#: Seconds between two notes in the database of what is done: what a killed worker may do again.
NOTE_EVERY = 1.0
#: Characters of a traceback that are kept: its end, which says what happened.
MAX_TRACEBACK = 8000
#: Share of a second's worth of calls that is taken from a bucket at once.
RATE_SLICE = 0.1
#: Seconds that a job waits for its rate at a time when nobody else needs the worker, and before it lets others in.
SHORT_WAIT, TURN = 0.25, 0.05


class CallTimeout(BaseException):
    """A call took too long. No `Exception`, since handlers like to catch those."""


#: What of a handler's troubles is a failure of its event, rather than the end of the worker.
FAILURES = (Exception, CallTimeout, SystemExit)


class Item(NamedTuple):
    """A call as handlers get it."""

    record: Record
    event: Event


@dataclass(slots=True)
class RunSummary:
    """What one job did."""

    done: int = 0
    unwanted: int = 0
    failed: int = 0
    first_error: str = ""


def all_handlers(settings: Settings) -> dict[str, Handler]:
    """The users' handlers and the built-in ones that forward.

    Raises:
        SettingsError: a module cannot be imported, or a setting cannot be used.
    """
    found = registry.load(settings.handlers)
    if not settings.forward_url:
        return found
    from workers.handlers import forward  # noqa: PLC0415  # its HTTP client takes a seventh of a second to load

    for handler in forward.handlers(settings):
        if handler.name in found:
            raise SettingsError(f"INGEST_FORWARD_URL: there are two targets {handler.name.partition(':')[2]!r}.")
        found[handler.name] = handler
    return found


#: The handlers of this process, imported before RQ forks: each job then has them for nothing.
_known: dict[str, Handler] = {}


def known_handlers(settings: Settings) -> dict[str, Handler]:
    """The handlers, imported at the first call.

    Raises:
        SettingsError: as `all_handlers`.
    """
    if not _known:
        _known.update(all_handlers(settings))
    return _known


def hand_on_job() -> int:
    """The RQ job that gives each handler its share of what was stored, and wakes those with something to do.

    Returns how many rows of the outbox there were. Outcomes:

    done        everything is in the hands of its handlers
    killed      each step is one transaction: the next job goes on
    broken off  the database did not answer, which is said in one line: a sweep starts another job
    """
    settings = Settings.read()

    def work(client: redis.Redis, store: Store) -> int:
        scheduler, handoffs, known = JobScheduler(client), WorkQueue(store), known_handlers(settings)
        scheduler.clear_hand_on()
        if not known:  # else what others put out for their handlers would be thrown away here
            log.error("events wait for handlers, and this worker has none: set INGEST_HANDLERS as for the others")
            return 0
        moved = handoffs.dispatch(known)
        _wake_all(scheduler, handoffs, known)
        return moved

    return _unless_away(settings, work, 0)


def handle_job(name: str) -> dict[str, int]:
    """The RQ job that works for one handler. Outcomes:

    done        nothing is due for it, or the time slice is over and another job goes on
    failed      calls that it raised on are tried again later, and dead letters after the last attempt
    killed      what was not noted as done is done again, when the claim is over
    broken off  the database or Redis did not answer, which is said in one line: a sweep starts another job
    """  # noqa: D415
    settings = Settings.read()

    def work(client: redis.Redis, store: Store) -> dict[str, int]:
        known = known_handlers(settings)
        if name not in known:
            log.error("no handler is called %r any more: what it has to do waits in the table `handoffs`", name)
            return {}
        handling = HandlerRun(known[name], WorkQueue(store), client)
        handled = handling.run(time.monotonic() + SLICE)
        _wake_all(JobScheduler(client), WorkQueue(store), known, handling.must_wait)
        return {"done": handled.done, "unwanted": handled.unwanted, "failed": handled.failed}

    return _unless_away(settings, work, {})


def _unless_away(settings: Settings, work: Callable[[redis.Redis, Store], T], otherwise: T) -> T:
    """Do a job's work with Redis and the store; what they refuse is said in one line."""
    client = redis_client.connect(settings.redis)
    try:
        store = Store.open(settings.database)
        try:
            return work(client, store)
        finally:
            store.close()
    except (redis.RedisError, IngestError) as error:
        log.error("handlers have to wait, nothing is lost: %s", error)
        return otherwise
    finally:
        client.close()


def _wake_all(
    scheduler: JobScheduler, handoffs: WorkQueue, known: Mapping[str, Handler], waiting: str | None = None
) -> None:
    """Wake whoever has something to do, now or later; but not who is `waiting` for others and will be woken."""
    for name in handoffs.due():
        if name in known and name != waiting:
            scheduler.wake_handler(name, known[name].timeout)
    soonest = handoffs.next_due(known)
    if soonest is not None:
        scheduler.hand_on_in(max(1.0, soonest))
    scheduler.note_handoffs(soonest is not None)


class HandlerRun:
    """One run of one handler over what is due for it."""

    def __init__(self, handler: Handler, handoffs: WorkQueue, client: redis.Redis) -> None:
        self._handler = handler
        self._handoffs = handoffs
        self._scheduler = JobScheduler(client)
        self._bucket = Bucket(client, handler.name, handler.rate) if handler.rate else None
        self._breaker = Breaker(client, handler.name, handler.timeout) if handler.breaker else None
        self._allowed = 0
        self._ends = 0.0
        self._noted_at = 0.0
        self._yields = self._waits = self._called = False
        self.handled = RunSummary()

    def run(self, ends: float) -> RunSummary:
        """Work until nothing is due, or until `ends` (monotonic seconds)."""
        self._ends = ends
        # Before the first claim: what comes due after it then wakes another job.
        self._scheduler.clear_handler(self._handler.name)
        with asyncio.Runner() as runner:
            while not self._over:
                most = self._probing()
                if most == 0:
                    break
                slots = 1
                if self._handler.is_async and self._handler.batch is None:
                    slots = min(most, self._handler.concurrency or ASYNC_CONCURRENCY)
                wanted = most if most == 1 else max(most, self._handler.batch or 0)
                claim = self._handoffs.claim(self._handler, wanted, slots)
                if claim is None:
                    # Nothing to do; or others make as many calls as there may be, and wake us when they end.
                    self._waits = True
                    if most == 1 and self._breaker is not None:
                        self._breaker.not_tried()
                    break
                self._work(claim, runner, most == 1)
                self._call_siblings()
            if self._handler.finish is not None:
                runner.run(self._handler.finish())
        self._log()
        return self.handled

    @property
    def must_wait(self) -> str | None:
        """The handler's name, if waking it at once would be in vain."""
        return self._handler.name if self._waits else None

    def _call_siblings(self) -> None:
        """Have other workers join while there is more to do, as long as a rate does not hold them up anyway."""
        if self._bucket is None and not self._called and self._handler.name in self._handoffs.due():
            self._scheduler.wake_handler(self._handler.name, self._handler.timeout)
            self._called = True

    @property
    def _over(self) -> bool:
        return stop_flag.requested or self._yields or time.monotonic() >= self._ends

    def _probing(self) -> int:
        """How many calls may be made to a target that has been failing: all, one to see, or none for a while."""
        if self._breaker is None:
            return CLAIM_EVENTS
        wait = self._breaker.wait()
        if wait > 0:
            self._yields = self._waits = True
            self._scheduler.hand_on_in(wait)
            return 0
        return 1 if wait < 0 else CLAIM_EVENTS

    # --- one claim ---

    def _work(self, claim: Claim, runner: asyncio.Runner, probe: bool) -> None:
        """Call the handler with what is claimed (a `probe`: with one of it), and write down what became of it."""
        left: deque[Item] = deque()
        self._probe = probe
        self._noted_at = time.monotonic()
        try:
            with _Heartbeat(self._handoffs, claim), _alarms():
                left.extend(self._wanted(claim))
                if self._handler.batch is not None:
                    self._in_batches(claim, left, runner)
                elif self._handler.is_async:
                    runner.run(self._at_once(claim, left))
                else:
                    self._one_by_one(claim, left)
        finally:  # what is done is done, even if Redis has gone away in the meantime
            self._handoffs.settle(self._handler, claim, [item.record for item in left], release=True)

    def _wanted(self, claim: Claim) -> Iterator[Item]:
        """The calls whose events the handler wants; others are done with."""
        where = self._handler.where
        for record in claim.records:
            found = read(record)
            if isinstance(found, Quarantined):  # it was an event when it was stored
                claim.failures.append(_failure(record, None, Undone(found.reason), None))
                self.handled.failed += 1
                continue
            try:
                wanted = where is None or where(found)
            except Exception as error:
                self._failed(claim, Item(record, found), error)
                continue
            if wanted:
                yield Item(record, found)
            else:
                self.handled.unwanted += 1

    def _one_by_one(self, claim: Claim, left: deque[Item]) -> None:
        while left and not self._over and self._may_call(len(left)):
            item = left.popleft()
            try:
                with _limited(self._handler.timeout):
                    self._handler.call(item.record if self._handler.raw else item.event)
            except FAILURES as error:
                self._failed(claim, item, error)
            except BaseException:
                left.appendleft(item)
                raise
            else:
                self._succeeded()
            self._note(claim, left)
            if self._probe:
                return

    def _in_batches(self, claim: Claim, left: deque[Item], runner: asyncio.Runner) -> None:
        size = self._handler.batch or 1
        full = len(left) >= size
        while left and not self._over and self._may_call(1):
            if full and len(left) < size and self._handler.name in self._handoffs.due():
                return  # the rest goes with what comes next
            items = [left.popleft() for _ in range(min(size, len(left)))]
            events = [item.event for item in items]
            try:
                if self._handler.is_async:
                    runner.run(asyncio.wait_for(self._handler.call(events), self._handler.timeout))
                else:
                    with _limited(self._handler.timeout):
                        self._handler.call(events)
            except FAILURES as error:
                for item in items:
                    self._failed(claim, item, error)
            except BaseException:
                left.extendleft(reversed(items))
                raise
            else:
                self._succeeded(len(items))
            self._note(claim, left)

    async def _at_once(self, claim: Claim, left: deque[Item]) -> None:
        """Several calls under way at once; what is under way counts as not done."""
        under_way: dict[int, Item] = {}

        async def caller() -> None:
            while left and not self._over and await self._may_call_soon(left):
                if not left:  # others were faster while we waited
                    return
                item = left.popleft()
                under_way[id(item)] = item
                try:
                    async with asyncio.timeout(self._handler.timeout):
                        await self._handler.call(item.record if self._handler.raw else item.event)
                except FAILURES as error:
                    self._failed(claim, item, error)
                else:
                    self._succeeded()
                del under_way[id(item)]
                self._note(claim, left, under_way.values())
                if self._probe:
                    return

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(1 if self._probe else max(1, claim.slots)):
                    group.create_task(caller())
        finally:
            left.extend(under_way.values())

    # --- rates ---

    def _may_call(self, wanted: int) -> bool:
        """Whether the rate allows a call; waits for it a little."""
        while (wait := self._allowance(wanted)) > 0:
            time.sleep(wait)
        return not self._yields and wait == 0

    async def _may_call_soon(self, left: deque[Item]) -> bool:
        """The same, while other calls are under way."""
        wait = -1.0
        while left and (wait := self._allowance(len(left))) > 0:
            await asyncio.sleep(wait)
        return bool(left) and not self._yields and wait == 0

    def _allowance(self, wanted: int) -> float:
        """Take leave for a call: 0 if it is given, else seconds to wait, or -1 if it is time to let others in."""
        if self._bucket is None:
            return 0
        if not self._allowed:
            share = max(1, math.ceil((self._handler.rate or 1) * RATE_SLICE))
            self._allowed, wait = self._bucket.take(min(wanted, share))
            if not self._allowed:
                if self._over:
                    return -1
                if self._turn_over:
                    self._yields = True
                    return -1
                # One short wait more, so that taking turns is not all that a worker does.
                self._turn_over = self._scheduler.others_wait()
                return min(wait, TURN if self._turn_over else SHORT_WAIT)
        self._allowed -= 1
        self._turn_over = False
        return 0

    def _note(self, claim: Claim, left: Iterable[Item], under_way: Iterable[Item] = ()) -> None:
        """Write down now and then what is done, so that a killed worker's work is not all done again."""
        if time.monotonic() - self._noted_at >= NOTE_EVERY:
            undone = [item.record for item in (*under_way, *left)]
            self._handoffs.settle(self._handler, claim, undone, release=False)
            self._noted_at = time.monotonic()

    def _succeeded(self, calls: int = 1) -> None:
        self.handled.done += calls
        if self._breaker is not None and self._suspicious:
            self._breaker.succeeded()
            self._suspicious = False

    def _failed(self, claim: Claim, item: Item, error: BaseException) -> None:
        attempts = claim.attempt + 1
        delay: float | None = self._handler.delay(attempts)
        if isinstance(error, TryLater) and error.seconds is not None:
            delay = error.seconds
        if isinstance(error, GiveUp) or attempts > self._handler.retries:
            delay = None
        claim.failures.append(_failure(item.record, item.event, error, delay))
        self.handled.failed += 1
        self.handled.first_error = self.handled.first_error or _said(error)
        if self._breaker is None:
            return
        if isinstance(error, GiveUp):  # the target answered, and knows what it wants
            self._breaker.succeeded()
            return
        self._suspicious = True
        if self._breaker.failed():
            self._yields = True

    #: Whether the target's record is worth clearing: a breaker is told of successes only after failures.
    _suspicious = True
    #: Whether others wait for this worker, and the rate does not allow a call.
    _turn_over = False
    #: Whether one call only is to be made, to see whether the target is back.
    _probe = False

    def _log(self) -> None:
        done = self.handled
        if done.failed:
            log.warning(
                "%s: %d events done, %d failed, the first with %s",
                self._handler.name, done.done, done.failed, done.first_error,
            )  # fmt: skip
        elif done.done:
            log.info("%s: %d events done", self._handler.name, done.done)


class Undone(Exception):
    """A call that could not be made."""


class _Heartbeat:
    """Renews a claim while it is worked on, from a thread: handlers may take their time."""

    def __init__(self, handoffs: WorkQueue, claim: Claim) -> None:
        self._handoffs, self._claim = handoffs, claim
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(LEASE / 3):
            try:
                self._handoffs.renew(self._claim)
            except IngestError as error:
                log.warning("a claim could not be renewed: %s", error)


@contextmanager
def _alarms() -> Iterator[None]:
    """Let alarms break off calls, in the main thread of a process, where signals arrive."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _too_long)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Break off what takes longer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise CallTimeout("the call took longer than its timeout")


def _failure(record: Record, event: Event | None, error: BaseException, delay: float | None) -> Failure:
    """What is kept of a failure."""
    kind, occurred_at = (event.type.value, event.occurred_at) if event else ("unknown", record.received_at)
    trace = "".join(traceback.format_exception(error))[-MAX_TRACEBACK:]
    return Failure(record, kind, occurred_at, _said(error), trace, delay)


def _said(error: BaseException) -> str:
    try:
        text = str(error).splitlines()
    except Exception:
        text = []
    return f"{type(error).__name__}: {text[0][:500]}" if text else type(error).__name__
