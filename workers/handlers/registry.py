"""What users plug in: functions that are called with events.

    from ingest import Event
    from workers import on

    @on("open", "click")
    def noticed(event: Event) -> None: ...

    @on("delivery", batch=500)
    def counted(events: list[Event]) -> None: ...

`INGEST_HANDLERS` names the modules that hold them. A handler that returns is done with its events. One that raises
gets them again later; after its last retry they become dead letters, and with `GiveUp` at once.
"""

import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, overload

from ingest.copernica.events import Event, EventType
from ingest.errors import SettingsError
from ingest.shown import did_you_mean
from workers.handlers import surroundings
from workers.handlers.options import name_of, pause, require_filter, require_options
from workers.handlers.shapes import require_handler

#: A function that is called with one event, and one that is called with a list of them; `async def` or not.
OneAtATime = TypeVar("OneAtATime", bound=Callable[[Event], object])
InBatches = TypeVar("InBatches", bound=Callable[[list[Event]], object])

#: Seconds that one call may take by default: enough for a slow HTTP call, and it blocks a worker for no longer.
TIMEOUT = 30.0
#: Seconds before each retry by default: within minutes for a hiccup, and for nearly three hours in all, so that a
#: broken target can be repaired.
BACKOFF = (5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0)
#: Calls under way at once in each worker, by default, for `async def` handlers: they mostly wait for the network.
ASYNC_CONCURRENCY = 16
#: What a handler that names no types gets.
ALL_TYPES = frozenset(kind.value for kind in EventType)

_RATE = re.compile(r"(\d+(?:\.\d+)?)/(s|m|h)")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class GiveUp(Exception):
    """Raised by a handler: this event will never succeed, so it becomes a dead letter at once."""


class TryLater(Exception):
    """Raised by a handler: not now, but `seconds` from now; None means after its backoff.

    Raises:
        ValueError: `seconds` is neither a number nor a `timedelta`; the call has failed with that, then.
    """

    #: As a number; also of a class of the handler's own that says nothing.
    seconds: float | None = None

    def __init__(self, text: str, seconds: float | timedelta | None = None) -> None:
        super().__init__(text)
        self.seconds = None if seconds is None else pause(seconds)


@dataclass(frozen=True, slots=True)
class Handler:
    """A function and how to call it; the options of `on` are described there."""

    name: str
    call: Callable[[Any], Any]
    types: frozenset[str]
    batch: int | None = None
    retries: int = len(BACKOFF)
    backoff: Sequence[float] = BACKOFF
    timeout: float = TIMEOUT
    where: Callable[[Event], object] | None = None
    #: Calls under way at once, across all workers; None: no limit.
    concurrency: int | None = None
    #: Calls per second, across all workers; None: no limit.
    rate: float | None = None
    #: Whether `call` takes the call as it came in, a `Record`, instead of the event.
    raw: bool = False
    #: Whether a target that fails again and again is left alone for a while.
    breaker: bool = False
    #: Called after the last call of a job.
    finish: Callable[[], Coroutine[Any, Any, None]] | None = None

    @property
    def is_async(self) -> bool:
        """Whether several calls can be under way at once in one process."""
        return inspect.iscoroutinefunction(self.call)

    def delay(self, attempt: int) -> float:
        """Seconds before the next attempt, after so many have failed."""
        return self.backoff[min(attempt, len(self.backoff)) - 1] if self.backoff else 0.0


#: The handlers that `on` has registered since the last `load`, in the order of the code.
_registered: list[Handler] = []
#: All handlers of this process, by the module of their function and by their names.
_of_modules: dict[str, dict[str, Handler]] = {}


@overload
def on(
    *types: str,
    batch: None = None,
    retries: int | None = None,
    backoff: Sequence[float] = BACKOFF,
    timeout: float = TIMEOUT,
    where: Callable[[Event], object] | None = None,
    concurrency: int | None = None,
    rate: str | None = None,
    name: str | None = None,
) -> Callable[[OneAtATime], OneAtATime]: ...


@overload
def on(
    *types: str,
    batch: int,
    retries: int | None = None,
    backoff: Sequence[float] = BACKOFF,
    timeout: float = TIMEOUT,
    where: Callable[[Event], object] | None = None,
    concurrency: int | None = None,
    rate: str | None = None,
    name: str | None = None,
) -> Callable[[InBatches], InBatches]: ...


def on(
    *types: str,
    batch: int | None = None,
    retries: int | None = None,
    backoff: Sequence[float] = BACKOFF,
    timeout: float = TIMEOUT,
    where: Callable[[Event], object] | None = None,
    concurrency: int | None = None,
    rate: str | None = None,
    name: str | None = None,
) -> Callable[[Callable[..., Any]], Any]:
    """Mark a function as a handler of these types of events; of all types if none is named.

    Args:
        types: types of events.
        batch: call the function with lists of at most this many events, instead of one event. If it raises, it
            gets ever smaller parts of the list, until the events at fault are alone.
        retries: how often a failed call is repeated; by default as often as there are values in `backoff`.
        backoff: seconds before each retry; the last value repeats.
        timeout: seconds that one call may take.
        where: tells which events are wanted.
        concurrency: how many calls may be under way at once, across all workers.
        rate: how many calls there may be, as in "50/s", "600/m" or "1000/h", across all workers. In any t seconds
            there are at most rate * (t + 1) calls: after a pause it may catch up by one second's worth.
        name: what the handler is called on the command line; by default the name of the function.

    Raises:
        ValueError: an option has an invalid value, or the function cannot be called as its handler would be.
    """
    require_options(batch, retries, backoff, timeout, concurrency)
    require_filter(where)
    wanted = _wanted_types(types)

    def register(function: Callable[..., Any]) -> Any:
        require_handler(function, batch)
        handler = Handler(
            name_of(function, name),
            function,
            wanted,
            batch=batch,
            retries=len(backoff) if retries is None else retries,
            backoff=tuple(backoff),
            timeout=timeout,
            where=where,
            concurrency=concurrency,
            rate=per_second(rate) if rate else None,
        )
        _note(function, handler)
        return function

    return register


def _note(function: Callable[..., Any], handler: Handler) -> None:
    _registered.append(handler)
    _of_modules.setdefault(getattr(function, "__module__", None) or "", {})[handler.name] = handler


def _wanted_types(types: Sequence[str]) -> frozenset[str]:
    """The types that a handler names; all if it names none."""
    for name in types:
        if name not in list(EventType):
            raise ValueError(f"{name!r} is not a type of event.{did_you_mean(name, EventType)}".rstrip("."))
    return frozenset(EventType(name).value for name in types) if types else ALL_TYPES


def per_second(rate: str) -> float:
    """The calls per second that a rate such as `50/s`, `600/m` or `1000/h` means.

    Raises:
        ValueError: it is not such a rate, or it is zero.
    """
    match = _RATE.fullmatch(rate.replace(" ", ""))
    if not match or not float(match[1]):
        raise ValueError(f"rate={rate!r}: write 50/s, 600/m or 1000/h")
    return float(match[1]) / _UNITS[match[2]]


def load(modules: Sequence[str]) -> dict[str, Handler]:
    """Import the modules, again if they were imported before, and return the handlers in them, by name.

    Raises:
        SettingsError: a module cannot be imported (the text says file, line and reason), or two handlers have the
            same name.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does
    _registered.clear()
    for name in list(sys.modules):
        if _is_within(name, modules):
            del sys.modules[name]
            _of_modules.pop(name, None)
    importlib.invalidate_caches()
    for module in modules:
        try:
            with _without_bytecode(), surroundings.kept(module):
                importlib.import_module(module)
        except KeyboardInterrupt:
            raise
        # A script that was written to be run may end itself, which is no `Exception`; nor is a panic in Rust.
        except BaseException as error:
            raise SettingsError(f"INGEST_HANDLERS={module} cannot be imported: {_where(error)}.") from error
    handlers: dict[str, Handler] = {}
    for handler in _registered:
        if handler.name in handlers:
            raise SettingsError(same_name(handler.name))
        handlers[handler.name] = handler
    return handlers


def imported(modules: Sequence[str]) -> dict[str, Handler]:
    """The handlers of modules that are imported already, and of what is inside these, by name.

    Raises:
        SettingsError: two of them have the same name.
    """
    found: dict[str, Handler] = {}
    for module, handlers in _of_modules.items():
        if not _is_within(module, modules):
            continue
        for name, handler in handlers.items():
            if name in found:
                raise SettingsError(same_name(name))
            found[name] = handler
    return found


def marked(function: Callable[..., Any]) -> dict[str, Handler]:
    """The handlers that this very function is, by name: more than one if it is marked more than once."""
    known = (handler for handlers in _of_modules.values() for handler in handlers.values())
    return {handler.name: handler for handler in known if handler.call is function}


def _is_within(name: str, modules: Sequence[str]) -> bool:
    """Whether a module is one of these, or inside one."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def same_name(name: str) -> str:
    """What is said of two handlers that have the same name."""
    return f"Two handlers are called {name!r}: rename one of them with on(name=…)."


@contextmanager
def adapted(adapt: Callable[[Handler], Handler]) -> Iterator[None]:
    """Have the handlers that are registered in this block be others: for frameworks with a part in each call."""
    before = len(_registered)
    yield
    _registered[before:] = map(adapt, _registered[before:])


@contextmanager
def _without_bytecode() -> Iterator[None]:
    """Leave no compiled files: Python dates them to the second, and a file may change twice in one."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _where(error: BaseException) -> str:
    """File, line and reason of an error while importing."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and Path(frame.filename).parent != Path(__file__).parent
    ]
    reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".: ")
    if not frames:
        return f"{reason} (looked in {Path.cwd()} and among the installed packages)"
    return f"{frames[-1].filename}, line {frames[-1].lineno}: {reason}"


def wanting(handlers: Mapping[str, Handler], kind: str) -> list[str]:
    """The names of the handlers that want events of a type."""
    return [handler.name for handler in handlers.values() if kind in handler.types]
