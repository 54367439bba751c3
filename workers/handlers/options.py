"""What handlers may ask for, judged when they say it: one bad number would stop the work of all handlers later."""

import inspect
import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

#: Events of one call at most, for `batch`: all of them are in memory at once.
MAX_BATCH = 10_000
#: Seconds that a call may take, or that lie before its next attempt, at most: a year, more than anybody waits.
MAX_SECONDS = 366 * 86_400.0
#: Characters of a handler's name at most: it is in tables, keys, lines of the log, and links of the console.
MAX_NAME = 200


def require_options(
    batch: int | None, retries: int | None, backoff: Sequence[float], timeout: float, concurrency: int | None
) -> None:
    """Make sure that these options of `on` can be used.

    Raises:
        ValueError: one of them cannot.
    """
    if batch is not None and not 1 <= batch <= MAX_BATCH:
        raise ValueError(f"batch={batch}: it should be between 1 and {MAX_BATCH}")
    if concurrency is not None and concurrency < 1:
        raise ValueError(f"concurrency={concurrency}: it should be at least 1")
    if timeout <= 0 or any(seconds < 0 for seconds in backoff) or (retries or 0) < 0:
        raise ValueError("timeout has to be positive, and backoff and retries cannot be negative")
    if not all(seconds <= MAX_SECONDS for seconds in (timeout, *backoff)):  # nor is it so with `nan`
        raise ValueError(f"timeout and backoff are in seconds, and at most {MAX_SECONDS:.0f}, which is a year")


def require_filter(where: Callable[..., Any] | None) -> None:
    """Make sure that a function can tell which events are wanted.

    Raises:
        ValueError: it cannot.
    """
    if where is None:
        return
    if not callable(where):
        raise ValueError(f"where={where!r} is no function: write where=lambda event: …")
    if inspect.iscoroutinefunction(where):
        raise ValueError("where= is an `async def`, whose answer nobody would wait for: write a plain `def`")


def name_of(function: Callable[..., Any], name: str | None) -> str:
    """What a handler is called: as it says, or as its function.

    Raises:
        ValueError: it has no name, or one that cannot be written everywhere.
    """
    found = name or getattr(function, "__name__", None)
    if found is None:
        raise ValueError(f"{function!r} has no name: add name=… to @on(…)")
    if not isinstance(found, str) or not found.isprintable() or len(found) > MAX_NAME or found != found.strip():
        raise ValueError(f"name={found!r:.80}: write at most {MAX_NAME} characters that can be printed")
    return found


def pause(seconds: object) -> float:
    """Seconds until the next attempt, from what a handler says: 0 for what is over, a year for what never comes.

    Raises:
        ValueError: it is no number of seconds, nor a text of one, nor a `timedelta`.
    """
    try:
        number = seconds.total_seconds() if isinstance(seconds, timedelta) else float(seconds)  # type: ignore[arg-type]
    except OverflowError:
        number = MAX_SECONDS
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"TryLater(seconds={seconds!r:.80}): write a number of seconds, or a timedelta")
    return min(max(number, 0.0), MAX_SECONDS)
