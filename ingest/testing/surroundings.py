"""What a worker has to itself, and a test shares with what else runs in its process."""

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


def require_no_loop(caller: str) -> None:
    """Make sure that no event loop runs in this thread, as in a worker, which starts one for each `async def`.

    Raises:
        RuntimeError: one does; it says how to call the method `caller` then.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"in an `async def` test, write: await asyncio.to_thread(copernica.{caller}, …)")


@contextmanager
def alarm_kept() -> Iterator[None]:
    """Leave the alarm of others as it was, that of pytest-timeout say: handlers' time limits use it, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    began = time.monotonic()
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    try:
        yield
    finally:
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 0.001), interval)
