"""Ctrl-C: the command says what it had done by then, and ends with the code that shells expect."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from click.exceptions import Exit

#: What a command ends with that Ctrl-C ended: 128 and the number of SIGINT.
INTERRUPTED = 130


@contextmanager
def interruptible(so_far: Callable[[], str] = lambda: "") -> Iterator[None]:
    """In this block Ctrl-C ends the command; `so_far` says, in whole sentences, what was done."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"Interrupted. {so_far()}".rstrip(), err=True)
        raise Exit(INTERRUPTED) from None


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """In this block SIGTERM, as supervisors send it, does what Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
