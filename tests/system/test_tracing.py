"""One trace follows a call from its arrival to its handlers, and nothing of the call is in it but its id."""

import asyncio
import itertools
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ingest import spans as spans_waiting
from ingest import tracing
from ingest.copernica.header_fields import HeaderFields
from ingest.endpoint.answers import Answer
from ingest.endpoint.intake import Intake
from ingest.errors import SettingsError
from ingest.redis_client import connect_async
from ingest.settings import Settings
from ingest.stream.appends import Stream
from ingest.stream.keys import Keys
from ingest.stream.producer import Producer
from ingest.tracing import Tracing, arrival_id, trace_id
from tests.support.builders import event
from tests.support.http import Script, listening
from tests.support.running import until
from tests.support.stream import records
from workers.drain.group import COMMIT_CALLS
from workers.drain.once import drain_once
from workers.handlers.configured import forget_handlers
from workers.handlers.jobs import hand_on_job, handle_job

BODY = b"type=open&id=m1&time=1795165200&recipient=jan%40example.nl"
names = (f"traced_handlers_{count}" for count in itertools.count())


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    with listening() as script:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", script.url.removesuffix("/old.php"))
        yield script


def spans(collector: Script) -> dict[str, list[Any]]:
    """What came in, by the name of the span."""
    found: dict[str, list[Any]] = {}
    for seen in (seen for seen in collector.seen if seen.path == "/v1/traces"):
        for resource in ExportTraceServiceRequest.FromString(seen.body).resource_spans:
            told = {one.key: one.value.string_value for one in resource.resource.attributes}
            assert told["service.name"] == "copernica-ingest"
            for scope in resource.scope_spans:
                for span in scope.spans:
                    found.setdefault(span.name, []).append(span)
    return found


def counted(collector: Script) -> dict[str, float]:
    """The sums of what was counted, by name and what it is about."""
    found: dict[str, float] = {}
    for seen in (seen for seen in collector.seen if seen.path == "/v1/metrics"):
        for resource in ExportMetricsServiceRequest.FromString(seen.body).resource_metrics:
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                for point in (*metric.sum.data_points, *metric.histogram.data_points):
                    about = [one.value.string_value or one.value.int_value for one in point.attributes]
                    name = " ".join([metric.name, *map(str, about)])
                    found[name] = found.get(name, 0) + (point.count if hasattr(point, "count") else point.as_int)
    return found


def links(span: Any) -> list[bytes]:
    return [link.trace_id for link in span.links]


async def taken(redis_url: str, arrived: Callable[[bytes, int, int], object] | None) -> None:
    answers: list[Answer] = []
    async with connect_async(redis_url) as client:
        producer = Producer([Stream(client)], lambda: None)
        intake = Intake(producer, 10_000, arrived=arrived)
        intake.submit(b"/copernica", HeaderFields.from_pairs(()), BODY, answers.append)
        await producer.close()
    assert [answer.status for answer in answers] == [200]


def test_one_trace_from_the_socket_to_the_handler(
    collector: Script,
    client: redis.Redis,
    redis_url: str,
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = next(names)
    (tmp_path / f"{module}.py").write_text(
        "from opentelemetry import trace\n"
        "from workers import on\n"
        "current = []\n"
        "@on('open')\ndef one(event): current.append(trace.get_current_span().get_span_context())\n"
        "@on('open', batch=10)\nasync def many(events): raise ValueError('jan@example.nl')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "INGEST_HANDLERS": module}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    settings = Settings.read()
    traces = tracing.of(settings)
    assert traces is not None
    asyncio.run(taken(redis_url, traces.arrived))
    (record,) = records(client)
    ((_, entry),) = cast(list[tuple[bytes, Any]], client.xrange(Keys().stream))
    traces.flush()
    drain_once(settings)
    hand_on_job()
    for handler in ("one", "many"):
        handle_job(handler)
    forget_handlers()

    found = spans(collector)
    trace = trace_id(record.delivery_id).to_bytes(16)
    (call,), (store,), (commit,), (one,), (many,) = (
        found[name] for name in ("call", "store", "commit", "handle one", "handle many")
    )
    assert (call.trace_id, call.span_id, call.parent_span_id) == (
        trace,
        arrival_id(record.delivery_id).to_bytes(8),
        b"",
    )
    for span in (store, one):
        assert (span.trace_id, span.parent_span_id) == (trace, call.span_id)
    assert trace.hex() == "00000000" + record.delivery_id.hex()
    assert links(store) == [commit.trace_id]
    assert links(commit) == links(many) == [trace]
    assert call.start_time_unix_nano == record.received_at * 1000
    assert (many.status.code, many.status.message) == (2, "ValueError")
    (current,) = sys.modules[module].current
    assert current.span_id.to_bytes(8) == one.span_id
    assert counted(collector) == {
        "ingest.calls 200": 1,
        "ingest.ack.duration": 1,
        "ingest.events.stored": 1,
        "ingest.handler.calls one done": 1,
        "ingest.handler.calls many failed": 1,
        "ingest.handler.duration one": 1,
        "ingest.handler.duration many": 1,
    }
    client.xadd(Keys().stream, entry)  # as after a crash between the commit and the acknowledgement
    drain_once(settings)
    assert len(spans(collector)["store"]) == 2
    assert counted(collector)["ingest.events.stored"] == 1
    sent = b"".join(seen.body for seen in collector.seen)
    assert b"jan" not in sent
    assert b"m1" not in sent


def test_all_processes_choose_the_same_calls(collector: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.3")
    endpoint, worker = Tracing(), Tracing()
    events = [
        event(number)._replace(delivery_id=number.to_bytes(4, "big") + bytes([number * 5] * 8))
        for number in range(1, 51)
    ]
    for one in events:
        endpoint.arrived(one.delivery_id, 1, 200)
    worker.stored([one.delivery_id for one in events], len(events), 1)
    handled: list[object] = []
    handle = worker.handling("h", handled.append)
    for one in events:
        handle(one)
    assert handled == events
    endpoint.flush()
    worker.flush()
    found = spans(collector)
    chosen = {span.trace_id for span in found["call"]}
    assert 5 < len(chosen) < 30
    assert {span.trace_id for span in found["store"]} == {span.trace_id for span in found["handle h"]} == chosen


def test_a_collector_that_is_away_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")  # so that the thread ends soon
        monkeypatch.setattr(tracing, "FLUSH_SECONDS", 0.1)
        traces = Tracing()
        for number in range(1, 3000):  # more than are kept
            traces.arrived(event(number).delivery_id, 1, 200)
        traces.flush()
        assert [one for one in threading.enumerate() if one.name == "telemetry"]  # it has not been waited for


def test_no_span_of_the_largest_commit_is_dropped_and_only_new_events_count(
    collector: Script, caplog: pytest.LogCaptureFixture
) -> None:
    taking, seen = threading.Event(), collector.answer
    collector.answer = lambda one: (taking.wait(10), seen(one))[1]  # the collector takes its time
    worker = Tracing()
    worker.stored([event(number).delivery_id for number in range(COMMIT_CALLS)], 5, 1)
    taking.set()

    def are_all_there() -> bool:
        worker.flush()
        return len(spans(collector).get("store", ())) == COMMIT_CALLS

    until(are_all_there, "all spans", 20)
    assert counted(collector)["ingest.events.stored"] == 5
    assert "dropped" not in caplog.text


def test_what_does_not_fit_is_dropped_and_said(collector: Script, caplog: pytest.LogCaptureFixture) -> None:
    clock = itertools.count(0, 0.1)
    queue = spans_waiting._Queue(100, lambda: next(clock))
    for _ in range(100):
        queue.came_in()
    assert "dropped" not in caplog.text
    for _ in range(1000):
        queue.came_in()
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == [1, 601]
    queue.taken += 50
    for _ in range(50):
        queue.came_in()
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_BSP_MAX_QUEUE_SIZE", "100"), ("OTEL_BSP_MAX_QUEUE_SIZE", "many"), ("OTEL_BSP_MAX_QUEUE_SIZE", "-1")],
)
def test_variables_that_cannot_be_used_are_refused_at_the_start(
    collector: Script, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="OTEL_"):
        tracing.try_out(Settings.read())


def test_where_nobody_wants_traces_nothing_is_loaded_and_nothing_is_in_the_way(redis_url: str) -> None:
    assert tracing.of(Settings.read({})) is None
    asyncio.run(taken(redis_url, None))
