"""Ctrl-C: the command says what it had done by then, and ends with the code that shells expect."""

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
