"""What belongs to the whole process and handlers' modules may change while they are imported: put back, and told.

A module that was written as a script changes the working folder, say, and with it where `sqlite:///data/ingest.db`
is. What a function does to the process when it is called is over when its job is: each has a process of its own.
"""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from ingest import garbage
from ingest.stops import STOPS
from workers.handlers.time_limits import end_child_of

log = logging.getLogger(__name__)

#: Signals that the worker, or what it is built upon, waits for.
SIGNALS = (*STOPS, signal.SIGCHLD, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2)
#: How the names of our loggers, and of those that we rely on, begin.
OURS = frozenset({"ingest", "workers", "rq"})


@contextmanager
def kept(module: str) -> Iterator[None]:
    """Import a module in the block, and have the process as it was afterwards."""
    garbage.end_as_usual()
    folder, mask, timeout, process = _folder(), _mask(), socket.getdefaulttimeout(), os.getpid()
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    destinations, level = list(logging.root.handlers), logging.root.level
    try:
        with _staying(module):
            yield
    finally:
        end_child_of(process, f"INGEST_HANDLERS={module}")  # else there were two workers of one name
        changed = []
        if folder is not None and _folder() != folder:
            os.chdir(folder)
            changed.append("the working folder")
        if _mask() != mask:
            os.umask(mask)
            changed.append("the umask")
        if socket.getdefaulttimeout() != timeout:
            socket.setdefaulttimeout(timeout)
            changed.append("the time limit of all sockets")
        if any(signal.getsignal(number) != handler for number, handler in handlers.items()):
            with suppress(ValueError):  # not in the main thread, where nobody can change them either
                for number, handler in handlers.items():
                    if handler is not None:
                        signal.signal(number, handler)
            changed.append("what signals do")
        is_ours = handlers[signal.SIGALRM] not in (signal.SIG_DFL, signal.SIG_IGN, None)  # as RQ's time limit
        if signal.getitimer(signal.ITIMER_REAL)[0] and not is_ours:
            signal.setitimer(signal.ITIMER_REAL, 0)
            changed.append("the alarm")
        if _put_back_log(destinations, level):
            changed.append("where the log goes")
        if changed:
            log.warning(
                "INGEST_HANDLERS=%s changes %s of the process when it is imported: that was put back, since the "
                "program and other handlers rely on it", module, ", ".join(changed),
            )  # fmt: skip


@contextmanager
def _staying(module: str) -> Iterator[None]:
    """In this block `os._exit` is an error: it would end this process with 0 say, and without a word.

    A child that the module has forked ends by it, as it should.
    """
    real, process, thread = os._exit, os.getpid(), threading.get_ident()

    def ending(status: int) -> NoReturn:
        if os.getpid() == process:
            if threading.get_ident() == thread:
                raise SystemExit(f"os._exit({status})")
            os.write(
                2, f"INGEST_HANDLERS={module} has ended the process: os._exit({status}) in a thread\n".encode()
            )
            status = status or 1
        real(status)

    os._exit = ending
    try:
        yield
    finally:
        os._exit = real


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109  # it may be gone
    except OSError:
        return None


def _mask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _put_back_log(destinations: list[logging.Handler], level: int) -> bool:
    """Have our lines go where they went, as `logging.config.dictConfig` ends that; tells whether it had to.

    What the module adds stays, unless it would write to the same output a second time.
    """
    root = logging.root
    muted = [
        one for one in list(root.manager.loggerDict.values()) if isinstance(one, logging.Logger) and _is_ours(one)
    ]
    muted = [one for one in muted if one.disabled]
    for logger in muted:
        logger.disabled = False
    if not destinations or (root.level == level and all(one in root.handlers for one in destinations)):
        return bool(muted)
    outputs = {getattr(one, "stream", None) for one in destinations} | {sys.stderr, sys.stdout}
    added = [
        one for one in root.handlers if one not in destinations and getattr(one, "stream", None) not in outputs
    ]
    root.handlers[:] = [*destinations, *added]
    root.setLevel(level)
    return True


def _is_ours(logger: logging.Logger) -> bool:
    return logger.name.partition(".")[0] in OURS
