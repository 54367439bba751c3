"""What users plug in: functions that get events.

    from ingest import Event
    from workers import on

    @on("open", "click")
    def noticed(event: Event) -> None: ...

    @on("delivery", batch=500)
    def counted(events: list[Event]) -> None: ...

`INGEST_HANDLERS` names the modules that hold them. A handler that returns is done with its events; one that raises
gets them again later, and after its last retry they are dead letters. `GiveUp` makes them that at once.
"""

import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ingest.copernica.events import Event, EventType
from ingest.errors import SettingsError

F = TypeVar("F", bound=Callable[..., Any])

#: Seconds that one call may take, if the handler does not say.
TIMEOUT = 30.0
#: Seconds before each retry, if the handler does not say: half an hour of patience in all, then two hours more.
BACKOFF = (5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0)
#: Calls under way at once, of an `async def` handler that does not say, in each worker.
ASYNC_CONCURRENCY = 16
#: Events of one call at the most, for `batch`.
MAX_BATCH = 10_000

_RATE = re.compile(r"(\d+(?:\.\d+)?)/(s|m|h)")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class GiveUp(Exception):  # said by handlers: "give up"
    """Raised by a handler: this event will never succeed, so it becomes a dead letter at once."""


class TryLater(Exception):
    """Raised by a handler: not now; `seconds` from now, if it knows, else after its backoff."""

    def __init__(self, text: str, seconds: float | None = None) -> None:
        super().__init__(text)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Handler:
    """A function and how it wants to be called.

    `rate` is in calls per second, `concurrency` calls at once, both across all workers; None means no limit. `raw`
    handlers get the call itself, a `Record`, in place of the event.
    """

    name: str
    call: Callable[[Any], Any]
    types: frozenset[str]
    batch: int | None = None
    retries: int = len(BACKOFF)
    backoff: Sequence[float] = BACKOFF
    timeout: float = TIMEOUT
    where: Callable[[Event], object] | None = None
    concurrency: int | None = None
    rate: float | None = None
    raw: bool = False
    #: Whether a target that fails again and again is left alone for a while.
    breaker: bool = False
    #: Called after the last call of a job.
    finish: Callable[[], Coroutine[Any, Any, None]] | None = None

    @property
    def is_async(self) -> bool:
        """Whether calls of it can be under way at once in one process."""
        return inspect.iscoroutinefunction(self.call)

    def delay(self, attempt: int) -> float:
        """Seconds before the next attempt, after this many have failed."""
        return self.backoff[min(attempt, len(self.backoff)) - 1] if self.backoff else 0.0


#: What `on` has seen, in the order of the code.
_registered: list[Handler] = []


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
) -> Callable[[F], F]:
    """Mark a function as a handler of these types of events; of all types, if none is named.

    With `batch` it gets lists of up to so many. `retries` defaults to the length of `backoff`, whose last value
    repeats (seconds). `timeout` is in seconds per call. `where` says which events are wanted. `concurrency` is how
    many calls may be under way at once, `rate` how many there may be, as in "50/s", both across all workers.
    `name` is what the handler is called on the command line: by default as the function.

    Raises:
        ValueError: an option has a value that cannot be used.
    """
    for kind in types:
        if kind not in list(EventType):
            raise ValueError(f"{kind!r} is no type of event")
    wanted = frozenset(EventType(kind).value for kind in types) or frozenset(kind.value for kind in EventType)
    if batch is not None and not 1 <= batch <= MAX_BATCH:
        raise ValueError(f"batch={batch}: it should be between 1 and {MAX_BATCH}")
    if concurrency is not None and concurrency < 1:
        raise ValueError(f"concurrency={concurrency}: it should be at least 1")
    if timeout <= 0 or any(seconds < 0 for seconds in backoff) or (retries or 0) < 0:
        raise ValueError("timeout, backoff and retries cannot be negative")

    def register(function: F) -> F:
        _registered.append(
            Handler(
                name or function.__name__,
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
        )
        return function

    return register


def per_second(rate: str) -> float:
    """How many per second `50/s`, `600/m` or `1000/h` means.

    Raises:
        ValueError: it is none of these.
    """
    found = _RATE.fullmatch(rate.replace(" ", ""))
    if not found or not float(found[1]):
        raise ValueError(f"rate={rate!r}: write 50/s, 600/m or 1000/h")
    return float(found[1]) / _UNITS[found[2]]


def load(modules: Sequence[str]) -> dict[str, Handler]:
    """Import the modules and return the handlers in them, by name.

    Raises:
        SettingsError: a module cannot be imported; the text says file, line and reason.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` would have it
    _registered.clear()
    for name in list(sys.modules):
        if any(name == module or name.startswith(f"{module}.") for module in modules):
            del sys.modules[name]
    importlib.invalidate_caches()
    for module in modules:
        try:
            with _without_bytecode():
                importlib.import_module(module)
        except Exception as error:
            raise SettingsError(
                f"INGEST_HANDLERS={module} cannot be imported: {_where(module, error)}."
            ) from error
    found: dict[str, Handler] = {}
    for handler in _registered:
        if handler.name in found:
            raise SettingsError(
                f"Two handlers are called {handler.name!r}: give one another name with on(name=…)."
            )
        found[handler.name] = handler
    return found


@contextmanager
def _without_bytecode() -> Iterator[None]:
    """Compiled files are told apart by the second: a handler changed twice in one would stay as it was."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _where(module: str, error: Exception) -> str:
    """File, line and reason in a few words."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
    if not frames:
        return f"{reason} (looked in {Path.cwd()} and where Python's packages are)"
    return f"{frames[-1].filename}, line {frames[-1].lineno}: {reason}"


def wanting(handlers: Mapping[str, Handler], kind: str) -> list[str]:
    """The names of those that want events of a type."""
    return [handler.name for handler in handlers.values() if kind in handler.types]
