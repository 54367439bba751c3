"""How each kind of fault is done to a site, and undone: one context manager per kind."""

import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from time import monotonic, sleep
from typing import TypeVar

from redis import RedisError

from ingest.stream.keys import Keys
from ingest.stream.pauses import HANDLER, QUEUE
from tests.chaos.network import CUT, OUTSIDE, WEATHERS, Weather, between
from tests.chaos.parts import Handles, Part, alive_below
from tests.chaos.plan import MACHINES, Fault
from tests.chaos.site import Site

T = TypeVar("T")

#: Seconds between two looks at what is due.
LOOK_EVERY = 0.01
#: Longest wait for the lock on SQLite's file, in seconds.
LOCK_WAIT = 2.0


class Skipped(Exception):
    """A fault that cannot be made here; the message says why."""


class Storm:
    """Does what was planned, when it was planned."""

    def __init__(self, site: Site, faults: Sequence[Fault]) -> None:
        self._site = site
        self._waiting = list(faults)
        self._blowing: list[tuple[float, AbstractContextManager[None]]] = []
        self.done: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def blow(self) -> None:
        """Until everything has begun and ended."""
        began = monotonic()
        try:
            while self._waiting or self._blowing:
                now = monotonic() - began
                for one in [one for one in self._blowing if one[0] <= now]:
                    self._blowing.remove(one)
                    one[1].__exit__(None, None, None)
                while self._waiting and self._waiting[0].at <= now:
                    self._begin(self._waiting.pop(0))
                sleep(LOOK_EVERY)
        finally:
            for _, fault in self._blowing:
                fault.__exit__(None, None, None)

    def _begin(self, what: Fault) -> None:
        name = f"{what.target}: {_shown(what)}"
        fault = DONE[what.kind](self._site, what)
        try:
            fault.__enter__()
        except Skipped as skipped:
            self.skipped[f"{name}: {skipped}"] += 1
            return
        self.done[name] += 1
        self._blowing.append((what.ends, fault))


def _shown(what: Fault) -> str:
    """How a fault is counted: those of wires and links by what they do."""
    if what.kind in ("wire", "link"):
        return what.how
    return f"{what.kind}, {what.how}" if what.kind in ("uplink", "alone") else what.kind


@contextmanager
def _signalled(site: Site, what: Fault) -> Iterator[None]:
    """Killed or asked to end; a part of its own stays down for the time."""
    handles, parts = _struck(site, what)
    with _kept_down(parts):
        number = signal.Signals[what.kind]
        # PostgreSQL takes SIGTERM for "when all have left by themselves"; systemd and hosts send what does not.
        handles.send(signal.SIGINT if what.target == "postgres" and number is signal.SIGTERM else number)
        handles.close()
        yield


@contextmanager
def _kept_down(parts: Sequence[Part]) -> Iterator[None]:
    """In this block they are not started again."""
    for part in parts:
        part.held += 1
    try:
        yield
    finally:
        for part in parts:
            part.held -= 1


@contextmanager
def _stopped(site: Site, what: Fault) -> Iterator[None]:
    """There, but silent."""
    handles, _ = _struck(site, what)
    handles.send(signal.SIGSTOP)
    try:
        yield
    finally:
        handles.send(signal.SIGCONT)
        handles.close()


@contextmanager
def _paused(site: Site, what: Fault) -> Iterator[None]:
    """Redis lets its clients wait, and then does what they asked for."""
    _ask_redis(site, "CLIENT", "PAUSE", str(int(what.lasts * 1000)), what.how)
    yield  # ends by itself


@contextmanager
def _miswired(site: Site, what: Fault) -> Iterator[None]:
    wire = site.wires[what.target]
    site.on_loop(wire.misbehave(what.how))
    try:
        yield
    finally:
        site.on_loop(wire.behave())


@contextmanager
def _in_weather(site: Site, what: Fault) -> Iterator[None]:
    """A link between machines misbehaves, or all of one machine's."""
    with site.weather(*_links(what)):
        yield


def _links(what: Fault) -> tuple[list[tuple[str, str]], Weather]:
    """Which ones a fault is about, and how they are then."""
    if what.kind == "alone":
        return between(MACHINES, what.target), WEATHERS[what.how]
    there = (OUTSIDE, what.target)
    if what.kind == "link":
        one, _, other = what.target.partition("-")
        there = (one, other)
    back = there[::-1]
    how, _, which = what.how.partition(" ")
    if which in ("there", "back"):
        return [there if which == "there" else back], WEATHERS[how]
    return [there, back], WEATHERS[what.how]


@contextmanager
def _powerless(site: Site, what: Fault) -> Iterator[None]:
    """A machine loses its power: nothing there says a last word, and all of it is started again later."""
    parts = site.on_machine(what.target)
    with site.weather(between((OUTSIDE, *MACHINES), what.target), CUT), _kept_down(parts):
        handles = Handles(_all_of(parts), os.getpid())
        handles.send(signal.SIGKILL)
        handles.close()
        yield


@contextmanager
def _suspended(site: Site, what: Fault) -> Iterator[None]:
    """A machine stands still, as when it is moved to another host."""
    with site.weather(between((OUTSIDE, *MACHINES), what.target), CUT):
        handles = Handles(_all_of(site.on_machine(what.target)), os.getpid())
        handles.send(signal.SIGSTOP)
        try:
            yield
        finally:
            handles.send(signal.SIGCONT)
            handles.close()


@contextmanager
def _memory_full(site: Site, _what: Fault) -> Iterator[None]:
    """Redis refuses every write that needs memory; one that is restarted meanwhile does not."""
    _ask_redis(site, "CONFIG", "SET", "maxmemory", "1")
    try:
        yield
    finally:
        with suppress(Skipped):  # at the end of all faults it is done again
            _ask_redis(site, "CONFIG", "SET", "maxmemory", "512mb")


@contextmanager
def _disk_full(site: Site, what: Fault) -> Iterator[None]:
    disk = site.disks[what.target]
    if disk.mounted:
        disk.fill()
        try:
            yield
        finally:
            disk.free()
        return
    parts = site.holders(what.target)
    disk.limit(_all_of(parts))
    try:
        yield
    finally:
        disk.unlimit(_all_of(parts))


def _all_of(parts: Sequence[Part]) -> list[int]:
    return [pid for part in parts for pid in (part.pid, *part.below())]


@contextmanager
def _locked(site: Site, _what: Fault) -> Iterator[None]:
    """Somebody else writes into SQLite's file and takes his time."""
    path = site.database.removeprefix("sqlite:///")
    connection = sqlite3.connect(path, timeout=LOCK_WAIT, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        connection.close()
        raise Skipped(str(error)) from None
    try:
        yield
    finally:
        connection.rollback()
        connection.close()


@contextmanager
def _clock_off(site: Site, what: Fault) -> Iterator[None]:
    """A clock jumps, and jumps back."""
    if not site.clocks.shift:
        raise Skipped("needs a C compiler, cc")
    site.clocks.set(what.target, int(what.how))
    try:
        yield
    finally:
        site.clocks.set(what.target, 0)


@contextmanager
def _month_off(site: Site, what: Fault) -> Iterator[None]:
    """Calls come in that are of another month, and the daily job looks after the months at the same time."""
    with _clock_off(site, what):
        _ask_redis(site, "DEL", Keys().daily)
        yield
    with suppress(Skipped):
        _ask_redis(site, "DEL", Keys().daily)


@contextmanager
def _failed_over(site: Site, _what: Fault) -> Iterator[None]:
    """The replica becomes the primary, and the primary its replica, with all its connections; and back again."""
    try:
        site.fail_over(to_replica=True)
    except (RedisError, AssertionError) as error:
        raise Skipped(f"the replica is not ready ({type(error).__name__})") from None
    try:
        yield
    finally:
        site.fail_over(to_replica=False)


@contextmanager
def _by_hand(site: Site, what: Fault) -> Iterator[None]:
    """Somebody pauses a queue or a handler, and resumes it; what came meanwhile waits and is not lost."""
    name = {"drains": f"{QUEUE}events", "handlers": f"{HANDLER}noted"}[what.target]
    _ask_redis(site, "HSET", Keys().paused, name, "")
    try:
        yield
    finally:
        with suppress(Skipped):  # at the end of all faults it is done again
            _ask_redis(site, "HDEL", Keys().paused, name)


@contextmanager
def _notes_forgotten(site: Site, _what: Fault) -> Iterator[None]:
    """Redis forgets everything but the calls: what else it holds are notes that can be made again."""
    keys = Keys()
    notes = (keys.wake, keys.unverified, keys.verify, keys.handoffs, keys.hand_on, keys.daily, keys.reports)
    _ask_redis(site, "DEL", *notes)
    yield


@contextmanager
def _breaking(site: Site, what: Fault) -> Iterator[None]:
    """The processes of a kind are started anew, to break at a fail point; and once more, to break no longer."""
    parts = site.endpoints() if what.target == "endpoint" else site.workers()
    site.fail_at[what.target] = what.how
    for part in parts:
        part.send(signal.SIGTERM)
    try:
        yield
    finally:
        del site.fail_at[what.target]
        for part in parts:
            part.send(signal.SIGTERM)
        # Those that stopped themselves at the fail point are asleep; whatever is below us may be woken.
        handles = Handles(alive_below(os.getpid()), os.getpid())
        handles.send(signal.SIGCONT)
        handles.close()


DONE: dict[str, Callable[[Site, Fault], AbstractContextManager[None]]] = {
    "SIGKILL": _signalled,
    "SIGTERM": _signalled,
    "SIGSTOP": _stopped,
    "pause": _paused,
    "wire": _miswired,
    "link": _in_weather,
    "uplink": _in_weather,
    "alone": _in_weather,
    "power": _powerless,
    "suspended": _suspended,
    "memory full": _memory_full,
    "disk full": _disk_full,
    "locked": _locked,
    "clock": _clock_off,
    "month": _month_off,
    "fail over": _failed_over,
    "paused": _by_hand,
    "forgotten notes": _notes_forgotten,
    "fail point": _breaking,
}


def _ask_redis(site: Site, *command: str) -> None:
    with site.redis() as client:
        try:
            client.execute_command(*command)
        except RedisError as error:
            raise Skipped(f"Redis does not answer ({type(error).__name__})") from None


def _struck(site: Site, what: Fault) -> tuple[Handles, list[Part]]:
    """The processes that a fault is about, and the parts whose main process is among them."""
    parts = site.parts
    if what.target == "endpoint":
        parts = {"endpoint": _picked(site.endpoints(), what.pick)}
    if what.target in parts:
        part = parts[what.target]
        return _handles([part.pid, *(part.below() if what.how == "with its children" else [])]), [part]
    if what.target in ("endpoint child", "postgres session"):
        of = site.endpoints() if what.target == "endpoint child" else [parts["postgres"]]
        part = _picked(of, what.pick)
        return _handles([_picked(part.below(), what.pick)]), []
    part = _picked(site.workers(), what.pick)
    if what.target == "worker":
        return _handles([part.pid]), [part]
    work_horse = part.below()[-1:]  # a worker for handlers has a scheduler, too, which is older
    if what.target == "work-horse":
        return _handles(work_horse), []
    return _handles([part.pid, *work_horse]), [part]


def _handles(pids: Sequence[int]) -> Handles:
    handles = Handles(pids, os.getpid())
    if not handles:
        raise Skipped("there is no such process just now")
    return handles


def _picked(things: Sequence[T], pick: float) -> T:
    if not things:
        raise Skipped("there is no such process just now")
    return things[min(int(pick * len(things)), len(things) - 1)]
