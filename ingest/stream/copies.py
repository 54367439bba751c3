"""Which batches are sent to a second server, so that calls need not wait until one that hangs is given up.

A batch that has waited for much longer than another server takes goes there as well, and the first that confirms
it counts: the delivery ids keep it single. The one that is behind gets nothing more until it has answered.

Where all are slow, as with a disk that they share, none is quicker by far, so nothing is sent twice; and whatever
happens, copies are few: one that hangs has been sent four batches by then at most.
"""

import time

from ingest.stream.lanes import LATE, Lane, Lanes
from ingest.stream.writes import Write

#: How many times as long as the other server takes lately a batch must have waited.
TIMES = 4.0
#: Share of all batches that may be sent twice …
SHARE = 0.05
#: … and how many at once, as when one has just begun to hang.
AT_ONCE = 8.0
#: Seconds between two looks at what is on its way.
LOOK_EVERY = LATE / 2


class Copies:
    """What is on its way to several servers, and how many copies may be made of it."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._under_way: dict[Write, None] = {}
        self._left = AT_ONCE
        #: Batches that were sent to another server as well.
        self.number = 0

    def begun(self, write: Write) -> None:
        """A batch is on its way."""
        self._under_way[write] = None
        self._left = min(AT_ONCE, self._left + SHARE)

    def ended(self, write: Write) -> None:
        """It is not any more."""
        self._under_way.pop(write, None)

    @property
    def any_under_way(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self._under_way)

    def due(self) -> list[tuple[Write, Lane]]:
        """What should be sent to another server now, and to which; those that are behind get nothing more."""
        now = time.monotonic()
        found = []
        for write in list(self._under_way):
            waited, lane = now - write.began, write.lane
            if waited < LATE:
                break  # they are in the order in which they began
            other = self._lanes.quickest(write.fate.lanes)
            if lane is None or other is None or waited < TIMES * other.usual(now):
                continue
            lane.is_behind = True
            if self._left >= 1 and write.fate.may_be_copied(write):
                self._left -= 1
                self.number += 1
                found.append((write.again(), other))
        return found
