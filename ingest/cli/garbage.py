"""How often Python looks for garbage while a command runs.

What people wait for at a prompt is imports. They make objects by the hundred thousand and no garbage, and to look
for some among them again and again takes a seventh of the time. To go through all of them once more at the end
takes a fifth, only to free what the system frees anyway.
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
    """Within the block, look for garbage rarely, and no longer once the program ends."""
    gc.set_threshold(RARELY, *_usual[1:])
    atexit.unregister(gc.freeze)  # however often commands are run in one process
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        as_usual()


def as_usual() -> None:
    """Look for it as often as Python does by itself: for what runs for days."""
    gc.set_threshold(*_usual)
