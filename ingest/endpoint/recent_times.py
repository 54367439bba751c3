"""How long the calls of the last minute waited for their 200, from what is counted since the process started."""

from collections import deque

from ingest.endpoint.limits import MAINTENANCE_INTERVAL
from ingest.stream.writes import WriteTimes

#: Seconds that count as just now: long enough to have some calls at night, short enough to show a slow disk.
WINDOW = 60.0


class RecentTimes:
    """Keeps what was counted at each look of the last minute."""

    def __init__(self) -> None:
        self._looks: deque[list[int]] = deque(maxlen=round(WINDOW / MAINTENANCE_INTERVAL) + 1)

    def look(self, times: WriteTimes | None) -> tuple[int, ...]:
        """Calls of the last minute by how long they took, in a histogram's buckets; none without times."""
        if times is None:
            return ()
        now = list(times.acknowledged.counts)
        self._looks.append(now)
        return tuple(max(0, count - before) for count, before in zip(now, self._looks[0], strict=True))
