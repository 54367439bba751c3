"""`ingest status --watch`: shows something again and again, until a key is pressed."""

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from ingest.cli.render.console import Console

T = TypeVar("T")

#: Keys that end it.
QUIT = frozenset(b"qQ")


def watching(look: Callable[[], T], draw: Callable[[T], RenderableType], seconds: float) -> T:
    """Look and draw every so many seconds until q is pressed; returns what was seen last.

    Where the output is no terminal, each picture is printed below the one before, until interrupted.
    """
    console = Console(highlight=False)
    seen = look()
    if not console.is_terminal:
        while True:
            console.print(draw(seen))
            console.print()
            sys.stdout.flush()
            time.sleep(seconds)
            seen = look()
    hint = Text(f"every {seconds:g} s; q ends", style="dim")
    with (
        _keys() as pressed,
        Live(Group(draw(seen), hint), console=console, screen=True, auto_refresh=False) as live,
    ):
        while not pressed(seconds):
            seen = look()
            live.update(Group(draw(seen), hint), refresh=True)
    console.print(draw(seen))
    return seen


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Yield what waits so many seconds, and says whether a key was pressed that ends it.

    Keys count at once and are not shown. Where the input is no terminal there are none.
    """
    if not sys.stdin.isatty():
        yield _no_keys
        return
    import termios  # only where there is a terminal
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def pressed(seconds: float) -> bool:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([terminal], [], [], left)
            if not ready:
                continue
            typed = os.read(terminal, 1024) or b"q"  # nothing to read: it was closed
            if not QUIT.isdisjoint(typed) and not typed.startswith(b"\x1b"):  # as the keys for functions do
                return True
        return False

    try:
        tty.setcbreak(terminal)
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _no_keys(seconds: float) -> bool:
    time.sleep(seconds)
    return False
