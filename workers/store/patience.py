"""How long a thread waits for the database: whoever asks for people gives up rather than keep a server busy.

A store obeys this only after `Database.hurry`; drains and other work that has to be done never do.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_asking = threading.local()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Have what this thread asks in the block given up after so many seconds; a shorter time outside counts."""
    outer: float | None = getattr(_asking, "until", None)
    until = time.monotonic() + seconds
    _asking.until = until if outer is None else min(outer, until)
    try:
        yield
    finally:
        _asking.until = outer


def left() -> float | None:
    """Seconds that this thread has left, negative once the time is up; None if nobody set a limit."""
    until: float | None = getattr(_asking, "until", None)
    return None if until is None else until - time.monotonic()
