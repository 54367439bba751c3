"""All metrics. `docs/metrics.md` lists them, and alerts and dashboard use no others; tests compare.

A label has one of a few values that this program or its configuration knows beforehand: nothing that a sender
could choose, so nobody can make the number of series grow.
"""

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """The types that Prometheus knows."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Port(StrEnum):
    """Whose port shows a metric."""

    #: Of `ingest serve`: about its own processes.
    ENDPOINT = "endpoint"
    #: Of `ingest worker`: about its own jobs.
    WORKER = "worker"
    #: All of them, the same everywhere: about Redis and the database.
    SHARED = "every, the same"
    #: All of them: about the processes behind this port.
    OWN = "every, its own"


class Metric(NamedTuple):
    """One metric."""

    name: str
    kind: Kind
    port: Port
    help: str
    labels: tuple[str, ...] = ()


_COUNTER, _GAUGE, _HISTOGRAM = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_ENDPOINT, _WORKER, _SHARED, _OWN = Port.ENDPOINT, Port.WORKER, Port.SHARED, Port.OWN

CATALOGUE = (
    # --- calls, as the endpoint takes them ---
    Metric("ingest_calls_total", _COUNTER, _ENDPOINT,
           "Calls by what became of them: kept (200), rejected (401), and answered 503 as key-unavailable (the "
           "signer's key cannot be looked up), busy (too much held in memory) or failed (nothing could keep it).",
           ("result",)),
    Metric("ingest_refused_total", _COUNTER, _ENDPOINT,
           "Calls that were rejected, or whose key was unavailable, by the reason.", ("reason",)),
    Metric("ingest_requests_refused_total", _COUNTER, _ENDPOINT,
           "Requests that never became a call, by the status that they were answered with: 413 is a body larger "
           "than INGEST_MAX_BODY, 503 one that had to make room for others. What is not HTTP is not counted.",
           ("status",)),
    Metric("ingest_calls_unverified_total", _COUNTER, _ENDPOINT,
           "Calls that were kept although their signature could not be verified yet."),
    Metric("ingest_ack_seconds", _HISTOGRAM, _ENDPOINT,
           "From the moment a call has arrived wholly until it is safe and its 200 is sent."),
    Metric("ingest_append_seconds", _HISTOGRAM, _ENDPOINT,
           "How long Redis took to confirm a batch."),
    Metric("ingest_batches_copied_total", _COUNTER, _ENDPOINT,
           "Batches that went to a second stream server as well, since the first let them wait."),
    Metric("ingest_append_failures_total", _COUNTER, _ENDPOINT,
           "Batches that Redis did not confirm; with a spool they went there."),
    Metric("ingest_batches_total", _COUNTER, _ENDPOINT, "Batches that Redis confirmed."),
    Metric("ingest_connections", _GAUGE, _ENDPOINT, "Open connections of senders."),
    Metric("ingest_connections_limit", _GAUGE, _ENDPOINT, "How many connections of senders there may be."),
    Metric("ingest_spool_events", _GAUGE, _ENDPOINT, "Calls in the spool, to be sent on to Redis."),
    Metric("ingest_spool_bytes", _GAUGE, _ENDPOINT, "Size of the spool."),
    Metric("ingest_spool_limit_bytes", _GAUGE, _ENDPOINT, "What the spool may hold (INGEST_SPOOL_MAX)."),
    Metric("ingest_spool_oldest_age_seconds", _GAUGE, _ENDPOINT,
           "Since the oldest file of the spool was begun; 0 when nothing waits."),
    Metric("ingest_spool_open_processes", _GAUGE, _ENDPOINT,
           "Endpoint processes whose calls go to the spool, because Redis fails or is full."),
    # --- what workers do ---
    Metric("ingest_events_stored_total", _COUNTER, _WORKER,
           "Events that were stored, by type; those recovered from log files included.", ("type",)),
    Metric("ingest_doubles_total", _COUNTER, _WORKER, "Calls that were drained and in the store already."),
    Metric("ingest_quarantined_total", _COUNTER, _WORKER, "Calls that went to quarantine, by the reason.",
           ("reason",)),
    Metric("ingest_store_seconds", _HISTOGRAM, _WORKER,
           "How long the database took for a commit of drained calls, waiting for it included."),
    Metric("ingest_handler_calls_total", _COUNTER, _WORKER,
           "Calls by what became of them at a handler: done, unwanted (its `where` said no), retried (it raised, "
           "and gets them again) or dead (a dead letter).", ("handler", "outcome")),
    Metric("ingest_handler_seconds", _HISTOGRAM, _WORKER,
           "How long a handler took each time it was called, with one event or a batch.", ("handler",)),
    # --- what Redis and the database know ---
    Metric("ingest_redis_up", _GAUGE, _SHARED, "1 if Redis answered this look, else 0."),
    Metric("ingest_database_up", _GAUGE, _SHARED, "1 if the database answered this look, else 0."),
    Metric("ingest_last_call_timestamp_seconds", _GAUGE, _SHARED,
           "When the last call was kept, as Unix time; not there before the first one."),
    Metric("ingest_backlog_events", _GAUGE, _SHARED, "Events in the stream that are not stored yet."),
    Metric("ingest_backlog_batches", _GAUGE, _SHARED, "Batches in the stream, those being worked on included."),
    Metric("ingest_pending_batches", _GAUGE, _SHARED, "Of these, batches that a drain has claimed."),
    Metric("ingest_oldest_event_age_seconds", _GAUGE, _SHARED,
           "Since the oldest batch in the stream that is not stored yet came in; 0 when there is none."),
    Metric("ingest_dead_batches", _GAUGE, _SHARED, "Damaged batches in the dead stream."),
    Metric("ingest_endpoint_processes", _GAUGE, _SHARED, "Endpoint processes that reported lately."),
    Metric("ingest_workers", _GAUGE, _SHARED, "Workers, by their queue.", ("queue",)),
    Metric("ingest_workers_suspended", _GAUGE, _SHARED, "1 while `rq suspend` keeps workers from taking jobs."),
    Metric("ingest_redis_memory_bytes", _GAUGE, _SHARED, "Memory that Redis uses."),
    Metric("ingest_redis_memory_limit_bytes", _GAUGE, _SHARED,
           "What it may use (maxmemory); not there without a limit."),
    Metric("ingest_stream_up", _GAUGE, _SHARED,
           "Of several stream servers (INGEST_STREAM_URLS), 1 if this one answered this look, else 0.",
           ("partition",)),
    Metric("ingest_stream_foreign", _GAUGE, _SHARED,
           "1 while it is another database's, so that endpoints write nothing there, else 0.", ("partition",)),
    Metric("ingest_stream_backlog_events", _GAUGE, _SHARED, "Events in the stream of this one.", ("partition",)),
    Metric("ingest_stream_backlog_batches", _GAUGE, _SHARED,
           "Batches there; of one that is named no more, when it was last seen.", ("partition",)),
    Metric("ingest_stream_oldest_event_age_seconds", _GAUGE, _SHARED,
           "Since the oldest batch there came in; 0 when there is none.", ("partition",)),
    Metric("ingest_stream_memory_bytes", _GAUGE, _SHARED, "Memory that this one uses.", ("partition",)),
    Metric("ingest_stream_memory_limit_bytes", _GAUGE, _SHARED,
           "What it may use (maxmemory); not there without a limit.", ("partition",)),
    Metric("ingest_seconds_behind", _GAUGE, _SHARED,
           "Since the oldest of what waits for a queue's workers could have been worked on; 0 when nothing waits.",
           ("queue",)),
    Metric("ingest_recommended_workers", _GAUGE, _SHARED,
           "How many workers a queue should have, see `ingest scale`.", ("queue",)),
    Metric("ingest_stored_events", _GAUGE, _SHARED, "Events in the database."),
    Metric("ingest_quarantined_calls", _GAUGE, _SHARED, "Calls in the table `quarantine`."),
    Metric("ingest_unverified_calls", _GAUGE, _SHARED,
           "Calls that wait until their signer's key can be looked up."),
    Metric("ingest_outbox_calls", _GAUGE, _SHARED, "Calls that no handler has been given yet."),
    Metric("ingest_handler_waiting", _GAUGE, _SHARED,
           "Calls that wait for a handler, those to be tried again included.", ("handler",)),
    Metric("ingest_handler_retries", _GAUGE, _SHARED,
           "Of these, calls that failed before and are tried again.", ("handler",)),
    Metric("ingest_dead_letters", _GAUGE, _SHARED, "Calls that a handler did not take after its last attempt.",
           ("handler",)),
    Metric("ingest_gaps_unfilled", _GAUGE, _SHARED,
           "Periods in which calls may be missing that are not filled yet, see `ingest gaps`."),
    Metric("ingest_gaps_left", _GAUGE, _SHARED, "Those of which nothing more is to be had."),
    Metric("ingest_day_complete", _GAUGE, _SHARED,
           "Of the last seven days that are over: 1 if its log files were compared and every line is in the "
           "store, and no totals are known to differ; 0 if it may lack events; not there while that is not known.",
           ("day",)),
    # --- the processes behind a port ---
    Metric("ingest_build_info", _GAUGE, _OWN, "1; the release, and whose port this is (serve, worker, metrics).",
           ("version", "part")),
    Metric("ingest_process_resident_memory_bytes", _GAUGE, _OWN, "Memory of a process.", ("process",)),
    Metric("ingest_process_virtual_memory_bytes", _GAUGE, _OWN, "Address space of a process.", ("process",)),
    Metric("ingest_process_cpu_seconds_total", _COUNTER, _OWN, "Processor time of a process.", ("process",)),
    Metric("ingest_process_open_fds", _GAUGE, _OWN, "Open descriptors of a process.", ("process",)),
    Metric("ingest_process_max_fds", _GAUGE, _OWN, "Descriptors that a process may open.", ("process",)),
    Metric("ingest_process_start_time_seconds", _GAUGE, _OWN, "When a process started, as Unix time.",
           ("process",)),
)  # fmt: skip  # a list to be read: name and meaning

BY_NAME = {metric.name: metric for metric in CATALOGUE}
