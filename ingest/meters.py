"""Metrics for OpenTelemetry, of what the traces are about: counts and durations, under names of ours only.

    ingest.calls             calls that were to be kept, by the `http.response.status_code` of the answer
    ingest.ack.duration      seconds from a call's arrival to its answer
    ingest.events.stored     events that were committed
    ingest.handler.calls     calls of handlers, by `ingest.handler` and `outcome`: `done` or `failed`
    ingest.handler.duration  seconds that they took

They are sent as differences, since a work-horse lives for one job. What there is at a moment, such as the backlog,
is at `INGEST_METRICS_PORT`, which collectors can read too.
"""

from typing import TYPE_CHECKING

from ingest import __version__

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram
    from opentelemetry.sdk.resources import Resource

#: Bounds of the durations, in seconds: those of an acknowledgement and those of a handler are far apart.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Meters:
    """What one process counts; whoever is forked from it makes its own."""

    def __init__(self, resource: "Resource") -> None:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
        from opentelemetry.sdk import metrics  # noqa: PLC0415
        from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415
            AggregationTemporality,
            PeriodicExportingMetricReader,
        )

        differences: dict[type, AggregationTemporality] = dict.fromkeys(
            (metrics.Counter, metrics.Histogram), AggregationTemporality.DELTA
        )
        exporter = OTLPMetricExporter(preferred_temporality=differences)
        reader = PeriodicExportingMetricReader(exporter)
        self._provider = metrics.MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        meter = self._provider.get_meter("ingest", __version__)
        bounds = list(BOUNDS)
        self.calls: Counter = meter.create_counter("ingest.calls", "{call}")
        self.acknowledged: Histogram = meter.create_histogram(
            "ingest.ack.duration", "s", explicit_bucket_boundaries_advisory=bounds
        )
        self.stored: Counter = meter.create_counter("ingest.events.stored", "{event}")
        self.handled: Counter = meter.create_counter("ingest.handler.calls", "{call}")
        self.handling: Histogram = meter.create_histogram(
            "ingest.handler.duration", "s", explicit_bucket_boundaries_advisory=bounds
        )

    def flush(self) -> None:
        """Send what was counted."""
        self._provider.force_flush()
