"""What an endpoint process leaves for the metrics port: its counts and times, once a second.

One that died has left its figures in its slot, and its successor counts on from there.
"""

import asyncio
import logging
import os
import time

from ingest.endpoint.answers import BUSY, NO_CALL_STATUSES
from ingest.endpoint.connections import Connections
from ingest.endpoint.intake import KEY_UNAVAILABLE, Intake
from ingest.errors import Reason
from ingest.metrics.board import Board
from ingest.metrics.figures import Figures
from ingest.stream.producer import Producer
from ingest.stream.writes import WriteTimes

log = logging.getLogger(__name__)

#: Seconds between two times: a process that is killed takes at most so much of its counts with it.
INTERVAL = 1.0


class Measuring:
    """The figures of one endpoint process."""

    def __init__(
        self, board: Board, slot: int, intake: Intake, producer: Producer, connections: Connections
    ) -> None:
        self._board = board
        self._slot = slot
        self._intake = intake
        self._producer = producer
        self._connections = connections
        #: Of those that had this slot before.
        self._before = before = Figures.from_json(board.read(slot))
        last_at = before.gauges.get(("ingest_last_call_timestamp_seconds",), 0.0)
        producer.times = WriteTimes(
            before.timing("ingest_ack_seconds"), before.timing("ingest_append_seconds"), last_at
        )

    async def run(self) -> None:
        """Leave the figures every `INTERVAL`, and at last when cancelled."""
        try:
            while True:
                self._leave()
                await asyncio.sleep(INTERVAL)
        finally:
            self._leave()

    def _leave(self) -> None:
        try:
            self._board.write(self._slot, self._figures().as_json())
        except Exception:  # the next time must come, whatever is wrong with this one
            log.exception("figures could not be left for the metrics port")

    def _figures(self) -> Figures:
        intake, producer, before = self._intake, self._producer, self._before
        times = producer.times
        now = Figures(timings=before.timings, pid=os.getpid(), at=time.time())
        now.counts.update(before.counts)
        refused = {reason: intake.rejected[reason] for reason in (*map(str, Reason), KEY_UNAVAILABLE)}
        results = {
            "kept": intake.accepted,
            "rejected": sum(refused.values()) - refused[KEY_UNAVAILABLE],
            KEY_UNAVAILABLE: refused[KEY_UNAVAILABLE],
            "busy": intake.turned_away,
            "failed": intake.failed,
        }
        for result, number in results.items():
            now.count("ingest_calls_total", result, by=number)
        for reason, number in refused.items():
            now.count("ingest_refused_total", reason, by=number)
        answered = intake.refused + self._connections.refused
        for status in sorted({*NO_CALL_STATUSES, BUSY.status}):
            now.count("ingest_requests_refused_total", str(status), by=answered[status])
        now.count("ingest_calls_unverified_total", by=intake.unverified)
        now.count("ingest_batches_total", by=producer.batches)
        now.count("ingest_batches_copied_total", by=producer.copies.number)
        now.count("ingest_append_failures_total", by=times.failures if times else 0)
        if times and times.last_at:
            now.gauges[("ingest_last_call_timestamp_seconds",)] = times.last_at
        now.gauges[("ingest_connections",)] = self._connections.count
        now.gauges[("ingest_connections_limit",)] = self._connections.limit
        now.gauges[("ingest_spool_open_processes",)] = not producer.uses_redis
        if producer.spool is not None:
            now.gauges[("ingest_spool_events",)] = producer.spool.events
            now.gauges[("ingest_spool_bytes",)] = producer.spool.size
            now.gauges[("ingest_spool_limit_bytes",)] = producer.spool.max_bytes
            now.gauges[("ingest_spool_oldest_age_seconds",)] = producer.spool.oldest_age or 0.0
        return now
