"""How often Python looks for garbage while a command runs.

What people wait for at a prompt is imports. They make objects by the hundred thousand and no garbage, and to look
for some among them again and again takes a seventh of the time. To go through all of them once more at the end
takes a fifth; of ours it only frees what the system frees anyway. Code of users may have left files open that are
written by then, so where any of it was imported, the end is as usual.
"""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: Objects that are made before the youngest of them are looked at: a few MB at most. Python's own number is 700.
RARELY = 50_000

_usual = gc.get_threshold()


@contextmanager
def rarely() -> Iterator[None]:
    """Within the block, look for garbage rarely."""
    gc.set_threshold(RARELY, *_usual[1:])
    try:
        yield
    finally:
        as_usual()


def as_usual() -> None:
    """Look for it as often as Python does by itself: for what runs for days."""
    gc.set_threshold(*_usual)


def none_at_the_end() -> None:
    """Look for none once this process, which is ours from its start, ends."""
    atexit.register(_freeze)


def end_as_usual() -> None:
    """Look for it when the process ends, as Python does by itself: whatever of users is in it is closed then."""
    atexit.unregister(_freeze)


def _freeze() -> None:
    gc.freeze()
