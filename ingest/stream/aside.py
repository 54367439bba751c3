"""The way around Redis: whether the spool takes what no server does, and for how long that is enough."""

from collections.abc import Sequence

from ingest.batch import Batch
from ingest.errors import SpoolFailed, WriteUnconfirmed
from ingest.spool import Spool
from ingest.stream.lanes import Lanes

#: Seconds for which a spool is enough for a 200 whose disk goes with the process. A fail-over or a restart of
#: Redis takes less; and the shorter it is, the seldomer the process is replaced just while calls lie there.
PASSING_SPOOL = 60.0


class Aside:
    """The spool of a process, beside the servers that it stands in for."""

    def __init__(self, lanes: Lanes, spool: Spool | None, lasts: bool) -> None:
        """`lasts`: whether the spool's disk is still there when this process is replaced by another."""
        self._lanes = lanes
        self.spool = spool
        self.lasts = lasts

    @property
    def is_overdue(self) -> bool:
        """Whether Redis has not taken calls for so long that a spool which goes with the process is not enough."""
        if self.lasts or self.spool is None:
            return False
        return max(self._lanes.away_for, self.spool.oldest_age or 0.0) > PASSING_SPOOL

    @property
    def takes(self) -> bool:
        """Whether a call that Redis does not take is likely to be kept all the same."""
        return self.spool is not None and self.spool.takes and not self.is_overdue

    async def keep(self, batches: Sequence[Batch]) -> None:
        """Put batches into the spool.

        Raises:
            WriteUnconfirmed: they are not certain to be there.
        """
        if self.spool is None:
            full = "The backlog uses as much of Redis as it may (INGEST_BUFFER_MAX)."
            raise WriteUnconfirmed(full if any(lane.is_over for lane in self._lanes) else self._lanes.why)
        if self.is_overdue:
            raise WriteUnconfirmed(
                f"{self._lanes.why} The spool's disk goes with this process (INGEST_SPOOL_DURABLE=no), and Redis "
                f"has not taken calls for {PASSING_SPOOL:.0f} s.".strip()
            )
        try:
            if batches:
                await self.spool.keep(batches)
        except SpoolFailed as error:
            raise WriteUnconfirmed(f"{self._lanes.why} {error}".strip()) from None
