"""The pile between the endpoint and the workers: a stream in Redis, and the only code that knows its keys.

    keys        the names of all keys, and what each is for
    appending   the endpoint's side, asynchronous: `Appender` gathers calls and writes them in batches
    claiming    the workers' side, blocking: `Backlog` claims and acknowledges, and tells how it goes
    waking      the RQ jobs that say "there is something to do"

The stream is the truth. RQ jobs only wake, so one lost, doubled or killed costs nothing.
"""

from ingest.buffer.appending import APPEND_PATIENCE, APPEND_TIMEOUT, Appender, Condition, Done, Stream
from ingest.buffer.claiming import CONSUMER_TTL_MS, GROUP, RECLAIM_IDLE_MS, REPORT_TTL, Backlog, Entry
from ingest.buffer.keys import WAKE_TTL, Keys
from ingest.buffer.waking import (
    DAILY_EVERY,
    DAILY_JOB,
    DAILY_RETRY,
    DRAIN_JOB,
    EVENTS_QUEUE,
    HAND_ON_EVERY,
    HAND_ON_JOB,
    HANDLE_JOB,
    HANDLERS_QUEUE,
    JOB_TIMEOUT,
    RECONCILE_JOB,
    RECONCILE_TIMEOUT,
    VERIFY_EVERY,
    VERIFY_JOB,
)

__all__ = [
    "APPEND_PATIENCE",
    "APPEND_TIMEOUT",
    "CONSUMER_TTL_MS",
    "DAILY_EVERY",
    "DAILY_JOB",
    "DAILY_RETRY",
    "DRAIN_JOB",
    "EVENTS_QUEUE",
    "GROUP",
    "HANDLERS_QUEUE",
    "HANDLE_JOB",
    "HAND_ON_EVERY",
    "HAND_ON_JOB",
    "JOB_TIMEOUT",
    "RECLAIM_IDLE_MS",
    "RECONCILE_JOB",
    "RECONCILE_TIMEOUT",
    "REPORT_TTL",
    "VERIFY_EVERY",
    "VERIFY_JOB",
    "WAKE_TTL",
    "Appender",
    "Backlog",
    "Condition",
    "Done",
    "Entry",
    "Keys",
    "Stream",
]
