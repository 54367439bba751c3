"""What a drain tells others by way of the server where rq's queues are: never more than its own work is worth.

Where there is one server, that is the server of the stream as well: a refusal is passed over, since a full Redis
refuses writes and the drain makes room, and anything else ends the drain. Where there are several, this one may be
away while another has work: then nothing is told for a while, and what had to be is told at the end. A drain that
runs because it is away (`MuteDesk`) tells nothing: its worker does when the server is back.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence

import redis

from ingest.jobs import JobScheduler
from ingest.stream.announcements import Announcements
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.keys import Keys
from ingest.stream.partitions import AWAY_FOR, Partitions
from ingest.stream.reports import DrainReport
from workers.runtime import unless_refused

log = logging.getLogger(__name__)

#: Seconds between two reports for `status`: as often as anyone looks.
REPORT_EVERY = 1.0
#: Seconds between two looks at whether other jobs wait.
LOOK_EVERY = 1.0


class Desk:
    """The drain's part of the server of the queues."""

    def __init__(self, client: redis.Redis, partitions: Partitions, name: str) -> None:
        """`name` is that of the drain."""
        self._client = client
        self._are_several = partitions.are_several
        self._scheduler = JobScheduler(client, partitions)
        self._heartbeats = Heartbeats(client, name)
        self._announcements = Announcements(client)
        self._events, self._reported_at = 0, time.monotonic()
        self._away_until = 0.0
        self._looked_at, self._others_wait = time.monotonic(), False
        #: Whether handlers were to be told of something, and were not.
        self._owes_handlers = False

    def _tell(self, *what: Callable[[], object]) -> bool:
        """Do this if it is possible now; returns whether it was done."""
        if not self._are_several:
            with unless_refused():
                for one in what:
                    one()
            return True
        if time.monotonic() < self._away_until:
            return False
        try:
            for one in what:
                one()
        except redis.ResponseError as error:
            log.warning("Redis refuses a write that is not essential: %s", error)
        except redis.RedisError as error:
            self._away_until = time.monotonic() + AWAY_FOR
            log.warning("the server of the queues is away, and the drain goes on without it: %s", error)
            return False
        return True

    def report(self, events: int) -> None:
        """Report the rate since the last report, if that is long enough ago; `events` is the total so far."""
        now = time.monotonic()
        seconds = now - self._reported_at
        if seconds >= REPORT_EVERY:
            rate = round((events - self._events) / seconds, 1)
            self._tell(lambda: self._heartbeats.report(DrainReport(rate)))
            self._events, self._reported_at = events, now

    def announce(self, delivery_ids: Sequence[bytes]) -> None:
        """These are stored."""
        self._tell(lambda: self._announcements.publish(delivery_ids))

    def wake_handlers(self) -> None:
        """Handlers have something to do."""
        self._owes_handlers = not self._tell(lambda: self._scheduler.note_handoffs(True), self._scheduler.hand_on)

    def wake_sibling(self) -> None:
        """There is enough for another worker."""
        self._tell(self._scheduler.wake_drain)

    def note_stored(self, unverified: Callable[[], tuple[int, int]] | None, has_events: bool) -> None:
        """At the end: what others make figures of; `unverified` says how many calls wait, and their bytes."""
        self._away_until = 0.0  # a last attempt
        what: list[Callable[[], object]] = []
        if self._owes_handlers:
            what += (lambda: self._scheduler.note_handoffs(True), self._scheduler.hand_on)
        if unverified is not None:
            what.append(lambda: self._scheduler.note_unverified(*unverified()))
        if has_events:
            what.append(self._scheduler.note_stored)
        if what:
            self._tell(*what)

    def others_wait(self) -> bool:
        """Whether other jobs have waited for the worker that drains; looked at once in `LOOK_EVERY`."""
        now = time.monotonic()
        if not self._others_wait and now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            waits: list[bool] = []
            self._tell(lambda: waits.append(self._scheduler.others_than_drains_wait()))
            self._others_wait = any(waits)
        return self._others_wait

    def leave(self) -> None:
        """This drain reports no more."""
        self._tell(self._heartbeats.retract)

    # --- stream servers that do not answer: a drain that meets one loses seconds, so the next need not ---

    def away(self, names: Iterable[str]) -> set[str]:
        """Those of the servers that did not answer another drain a moment ago."""
        found: set[str] = set()
        if self._are_several:
            self._tell(lambda: found.update(name for name in names if self._client.exists(Keys().away(name))))
        return found

    def note_away(self, name: str) -> None:
        """A server does not answer."""
        self._tell(lambda: self._client.set(Keys().away(name), 1, ex=int(AWAY_FOR)))


class MuteDesk(Desk):
    """That of a drain which runs as long as the server of the queues is away."""

    def __init__(self, client: redis.Redis, partitions: Partitions, name: str) -> None:
        super().__init__(client, partitions, name)
        self._without = {partitions.queues}

    def _tell(self, *_what: Callable[[], object]) -> bool:
        return False

    def away(self, names: Iterable[str]) -> set[str]:
        """The server of the queues."""
        return self._without.intersection(names)
