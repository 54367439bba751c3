"""Traces for OpenTelemetry, and metrics of the same (`ingest.meters`), where `OTEL_EXPORTER_OTLP_ENDPOINT` is set.

One trace follows a call from the socket to its handlers. Nothing travels with the call for that: its delivery id
is the trace id, and the id of the span of its arrival follows from it, so whoever has the call knows its trace.

    call              in the endpoint, from its arrival to its answer
    ├── store         in the drain, until it is committed; linked to the span of that commit
    └── handle NAME   in the handlers' worker; of a batch, linked to the span of the batch
    commit            a trace of its own, linked to the calls in it
    handle NAME       likewise, for a batch

What is sent where, and how much of it, is for OpenTelemetry's own variables to say (`OTEL_TRACES_SAMPLER`, …).
"""

import functools
import inspect
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ingest import __version__, spans
from ingest.errors import SettingsError
from ingest.meters import Meters
from ingest.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, SpanContext, Tracer

#: The name of the service, unless OTEL_SERVICE_NAME gives another.
SERVICE = "copernica-ingest"
#: Calls that the span of a batch is linked to at most; collectors keep no more.
LINKS_MAX = 128
#: Seconds that a job or a process which ends waits until what it has to tell is sent.
FLUSH_SECONDS = 1.0


def require(settings: Settings) -> None:
    """Make sure that what OpenTelemetry needs is installed, if it is wanted.

    Raises:
        SettingsError: it is not.
    """
    if settings.otlp_endpoint is not None and find_spec("opentelemetry.sdk") is None:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but what it needs is not installed: "
            "pip install 'copernica-ingest[otel]'."
        )


def of(settings: Settings) -> "Tracing | None":
    """What traces are sent through; None where nobody wants any.

    Raises:
        SettingsError: what it needs is not installed.
    """
    require(settings)
    return None if settings.otlp_endpoint is None else Tracing()


def try_out(settings: Settings) -> None:
    """Fail at the start on what would fail with the first call; in a process of its own, as threads are started.

    Raises:
        SettingsError: what OpenTelemetry needs is not installed, or its variables cannot be used.
    """
    if (traces := of(settings)) is not None:
        traces.begin()


def trace_id(delivery_id: bytes) -> int:
    """The trace of a call: its delivery id, whose last bytes are as good as random."""
    return int.from_bytes(delivery_id[-16:]) or 1


def arrival_id(delivery_id: bytes) -> int:
    """The span in which it arrived."""
    return int.from_bytes(blake2b(delivery_id, digest_size=8).digest()) or 1


class Tracing:
    """What this process tells of calls; whoever is forked from it begins anew, with a sender of its own."""

    def __init__(self) -> None:
        # Imported here, before workers fork: each of them would spend a third of a second on it.
        import opentelemetry.exporter.otlp.proto.http.metric_exporter  # noqa: PLC0415
        import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: PLC0415
        import opentelemetry.sdk.trace  # noqa: PLC0415, F401

        self._provider_of: tuple[int, TracerProvider, Meters] | None = None
        self._next: tuple[int, int] | None = None

    def begin(self) -> None:
        """Have in place what sends, which else the first span does.

        Raises:
            SettingsError: OpenTelemetry's variables cannot be used.
        """
        try:
            self._provider  # noqa: B018
        except ValueError as error:  # what the library says of a variable
            raise SettingsError(f"OpenTelemetry's variables OTEL_… cannot be used: {error}") from None

    @property
    def _provider(self) -> "TracerProvider":
        if self._provider_of is None or self._provider_of[0] != os.getpid():
            resource = self._resource()
            self._provider_of = os.getpid(), self._new_provider(resource), Meters(resource)
        return self._provider_of[1]

    @property
    def _meters(self) -> Meters:
        if self._provider_of is None or self._provider_of[0] != os.getpid():
            self._provider  # noqa: B018  # makes both
        assert self._provider_of is not None
        return self._provider_of[2]

    def _resource(self) -> "Resource":
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

        told: dict[str, str | int] = {"service.version": __version__, "process.pid": os.getpid()}
        if not os.environ.get("OTEL_SERVICE_NAME"):
            told["service.name"] = SERVICE
        return Resource.create(told)

    def _new_provider(self, resource: "Resource") -> "TracerProvider":
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415

        outer = self

        class Ids(RandomIdGenerator):
            """Random ones, unless those of a call's arrival are asked for."""

            def generate_trace_id(self) -> int:
                return outer._next[0] if outer._next else super().generate_trace_id()

            def generate_span_id(self) -> int:
                return outer._next[1] if outer._next else super().generate_span_id()

        provider = TracerProvider(resource=resource, id_generator=Ids(), shutdown_on_exit=False)
        provider.add_span_processor(spans.processor())
        return provider

    @property
    def _tracer(self) -> "Tracer":
        return self._provider.get_tracer("ingest", __version__)

    def flush(self) -> None:
        """Send what there is to tell, within `FLUSH_SECONDS`."""
        if self._provider_of is not None and self._provider_of[0] == os.getpid():
            # In a thread, since the library takes its own time: it tries to reach a collector that is away.
            _, provider, meters = self._provider_of
            senders = [
                threading.Thread(target=send, name="telemetry", daemon=True)
                for send in (provider.force_flush, meters.flush)
            ]
            for sender in senders:
                sender.start()
            until = time.monotonic() + FLUSH_SECONDS
            for sender in senders:
                sender.join(max(0.0, until - time.monotonic()))

    def _arrival(self, delivery_id: bytes) -> "SpanContext":
        """The span of a call's arrival as others see it; whether it was sampled is decided alike everywhere."""
        from opentelemetry.sdk.trace.sampling import Decision  # noqa: PLC0415
        from opentelemetry.trace import SpanContext, TraceFlags  # noqa: PLC0415

        trace = trace_id(delivery_id)
        sampled = self._provider.sampler.should_sample(None, trace, "call").decision is Decision.RECORD_AND_SAMPLE
        flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        return SpanContext(trace, arrival_id(delivery_id), is_remote=True, trace_flags=flags)

    def _links(self, delivery_ids: Sequence[bytes]) -> "list[Link]":
        from opentelemetry.trace import Link  # noqa: PLC0415

        return [Link(self._arrival(one)) for one in delivery_ids[:LINKS_MAX]]

    # --- the endpoint ---

    def arrived(self, delivery_id: bytes, received_at: int, status: int) -> None:
        """A call that came in at a time in µs since 1970 was answered now."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        self._next = trace_id(delivery_id), arrival_id(delivery_id)
        try:
            span = self._tracer.start_span(
                "call",
                kind=SpanKind.SERVER,
                attributes={"ingest.delivery_id": delivery_id.hex(), "http.response.status_code": status},
                start_time=received_at * 1000,
            )
        finally:
            self._next = None
        span.end()
        meters = self._meters
        meters.calls.add(1, {"http.response.status_code": status})
        meters.acknowledged.record(max(0.0, time.time() - received_at / 1e6))

    # --- the drain ---

    def stored(self, delivery_ids: Sequence[bytes], new: int, began_ns: int) -> None:
        """Calls were committed together now, so many of them with `new` events: the others were there already.

        `began_ns` is when their batches were claimed, in ns since 1970.
        """
        from opentelemetry.trace import Link, SpanKind  # noqa: PLC0415

        ended = time.time_ns()
        self._meters.stored.add(new)
        commit = self._tracer.start_span(
            "commit",
            attributes={"ingest.events": len(delivery_ids)},
            links=self._links(delivery_ids),
            start_time=began_ns,
        )
        commit.end(ended)
        link = [Link(commit.get_span_context())]
        for delivery_id in delivery_ids:
            context = self._within(delivery_id)
            if context is None:
                continue
            span = self._tracer.start_span(
                "store", context, kind=SpanKind.CONSUMER, links=link, start_time=began_ns
            )
            span.end(ended)

    def _within(self, delivery_id: bytes) -> Any:
        """The context of a call's arrival; None if its trace is not sampled."""
        from opentelemetry.trace import NonRecordingSpan, set_span_in_context  # noqa: PLC0415

        arrival = self._arrival(delivery_id)
        return set_span_in_context(NonRecordingSpan(arrival)) if arrival.trace_flags.sampled else None

    # --- handlers ---

    def handling(self, name: str, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The function of a handler, within a span of its own; what it tells itself belongs to that."""
        if inspect.iscoroutinefunction(call):

            @functools.wraps(call)
            async def traced_later(given: Any) -> Any:
                with self._handled(name, given):
                    return await call(given)

            return traced_later

        @functools.wraps(call)
        def traced(given: Any) -> Any:
            with self._handled(name, given):
                return call(given)

        return traced

    @contextmanager
    def _handled(self, name: str, given: Any) -> Iterator[None]:
        began, outcome = time.monotonic(), "failed"
        try:
            with self._span_of(name, given):
                yield
            outcome = "done"
        finally:
            told = {"ingest.handler": name}
            self._meters.handling.record(time.monotonic() - began, told)
            self._meters.handled.add(1, told | {"outcome": outcome})

    @contextmanager
    def _span_of(self, name: str, given: Any) -> Iterator[None]:
        from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415

        batch = isinstance(given, list)
        ids = [event.delivery_id for event in given] if batch else [given.delivery_id]
        context = None if batch else self._within(ids[0])
        if context is None and not batch:
            yield
            return
        with self._tracer.start_as_current_span(
            f"handle {name}",
            context,
            kind=SpanKind.CONSUMER,
            attributes={"ingest.handler": name, "ingest.events": len(ids)},
            links=self._links(ids) if batch else None,
            record_exception=False,  # what it says may be personal
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise
