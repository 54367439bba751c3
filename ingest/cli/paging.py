"""Long output on a terminal, shown by a pager as `PAGER` names it.

What is printed holds no escape sequence from outside (`ingest.shown`), so `less -R` interprets none but ours.
"""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import click

from ingest.cli import streams

#: How `less` behaves unless `LESS` says otherwise: it leaves what fits the screen there, and takes our colours.
LESS = "-FRX"

#: The option of commands that may print a lot.
no_pager = click.option(
    "--no-pager", is_flag=True, help="Print it all at once.  [default: by $PAGER on a terminal]"
)


@contextmanager
def paged(wanted: bool = True) -> Iterator[None]:
    """What this block prints goes through the pager, if standard output is a terminal and one is `wanted`."""
    if not wanted or not sys.stdout.isatty() or not _has_pager():
        yield
        return
    if not os.environ.get("LESS"):
        os.environ["LESS"] = LESS  # as every child of this command has it
    with click.get_pager_file() as pager, redirect_stdout(pager):
        if reconfigure := getattr(pager, "reconfigure", None):
            reconfigure(errors=streams.LEGIBLE)
        with streams.reader_may_leave():
            yield


def _has_pager() -> bool:
    """An empty PAGER means none, and so does one that is no command."""
    named = os.environ.get("PAGER")
    if named is None:
        return True
    try:
        return bool(shlex.split(named))
    except ValueError:
        return False
