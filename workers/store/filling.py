"""Fills what a new release keeps of each event, for the events that were there before: `ingest db upgrade`.

It goes in steps of a transaction each, with a pause in between, so that everything else goes on: until it
is done, answers are found as before. Killed at any line, it goes on where it was.
"""

import math
import time
from collections.abc import Callable

from workers.store.counting import Counting

#: How long to pause after a step, as a part of what it took: others want to store something.
PAUSE_PER_STEP = 0.5


def fill(
    store: Counting, progress: Callable[[float], object] = lambda part: None, seconds: float = math.inf
) -> None:
    """Count the events that are not counted yet, for about so many `seconds` at most.

    `progress` is called with the part that is done, from 0 to 1.

    Raises:
        Unavailable: the database cannot be used now; what was done stays done.
    """
    part, ends = 0.0, time.monotonic() + seconds
    while part < 1 and time.monotonic() < ends:
        began = time.monotonic()
        part = store.count_more()
        progress(part)
        if part < 1:
            time.sleep((time.monotonic() - began) * PAUSE_PER_STEP)
