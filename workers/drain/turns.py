"""The drains' turns within jobs that take long, since they share the queue."""

import time

from ingest.errors import Interrupted
from ingest.stream.consumer import Consumer
from ingest.stream.partitions import Partitions
from workers.drain import drain
from workers.runtime import stop_flag

#: Seconds between two looks at the backlog: drains wait no longer than that for their turn.
TURN_INTERVAL = 1.0
#: Seconds that such a turn takes at most: with a whole slice of ten, one worker that also gets calls all the time
#: hardly got on with anything else.
TURN_SECONDS = 2.0


class Turns:
    """Gives the drains their turn."""

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions
        self._looked_at = 0.0
        #: Seconds that the drains have had.
        self.seconds = 0.0

    def take(self) -> None:
        """Drain what waits, for `TURN_SECONDS` at most, if no drain is working on it.

        Raises:
            Interrupted: this process was asked to stop.
        """
        if stop_flag.requested:
            raise Interrupted("The worker was asked to stop.")
        began = time.monotonic()
        if began - self._looked_at < TURN_INTERVAL:
            return
        if any(self._partitions.each(Consumer.is_left_lying).values()):
            drain.drain_job(TURN_SECONDS, linger_ms=None)
        self._looked_at = time.monotonic()
        self.seconds += self._looked_at - began
