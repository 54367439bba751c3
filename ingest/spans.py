"""Spans on their way to the collector of `ingest.tracing`: where they wait, and what is said of too many."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ingest.errors import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

log = logging.getLogger(__name__)

#: Spans that wait in a process, unless OTEL_BSP_MAX_QUEUE_SIZE says otherwise: those of two commits of a drain, of
#: 8,192 calls each, or of some seconds of an endpoint. They take 3 KB each.
WAITING_MAX = 16 * 1024 + 2
#: What says so.
SIZE_VARIABLE = "OTEL_BSP_MAX_QUEUE_SIZE"
#: Seconds between two warnings that some were dropped.
SAY_EVERY = 60.0


def processor(clock: Callable[[], float] = time.monotonic) -> "BatchSpanProcessor":
    """What has spans wait, and sends them; it holds nobody up, so some are dropped when more come in than go out.

    The library does not count what it drops. What waits is what has ended less what was taken to be sent.

    Raises:
        SettingsError: the variable is not a number.
        ValueError: OpenTelemetry's variables contradict each other.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    most = _most()
    queue = _Queue(most, clock)

    class Sender(OTLPSpanExporter):
        def export(self, spans: "Sequence[ReadableSpan]") -> "SpanExportResult":
            queue.taken += len(spans)
            return super().export(spans)

    class Waiting(BatchSpanProcessor):
        def on_end(self, span: "ReadableSpan") -> None:
            super().on_end(span)
            if span.context is not None and span.context.trace_flags.sampled:
                queue.came_in()

    return Waiting(Sender(), max_queue_size=most)


def _most() -> int:
    try:
        return int(os.environ.get(SIZE_VARIABLE) or WAITING_MAX)
    except ValueError:
        raise SettingsError(f"{SIZE_VARIABLE} is not a number of spans, such as {WAITING_MAX}.") from None


class _Queue:
    """Counts what waits and what is dropped, and says the latter now and then."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._kept = 0
        self._dropped = 0
        self._said_at = float("-inf")
        #: Spans that were taken to be sent; written by the thread that sends, the rest by others.
        self.taken = 0

    def came_in(self) -> None:
        """One more waits; the oldest makes way if there are too many."""
        if self._kept - self.taken < self._most:
            self._kept += 1
            return
        self._dropped += 1
        now = self._clock()
        if now - self._said_at >= SAY_EVERY:
            self._said_at = now
            log.warning(
                "spans are dropped, %d so far, because the collector takes fewer than there are: trace a part of "
                "the calls with OTEL_TRACES_SAMPLER, or have more wait with %s",
                self._dropped, SIZE_VARIABLE,
            )  # fmt: skip
