"""Calls whose signer's key was unavailable when they came in: acknowledged, kept, and verified once it is there.

Only then do they become events, judged by the time at which they were received. A call that proves to be forged
goes to quarantine with the reason. While DNS gives no answer, they wait.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import redis

from ingest import redis_client
from ingest.batch import Record
from ingest.errors import CallRejected, IngestError, KeyUnavailable, RowsRejected
from ingest.jobs import JobScheduler
from ingest.settings import Settings
from ingest.stream.announcements import Announcements
from ingest.stream.consumer import Consumer
from ingest.verification import Verifier, unpack_headers
from workers.bisection import take_all
from workers.records import NOT_COPERNICAS, Quarantined, read
from workers.runtime import SLICE, stop_flag, unless_refused
from workers.store.store import Store

log = logging.getLogger(__name__)

#: Calls that are verified together: enough to share look-ups of keys, few enough for one transaction.
PAGE = 500
#: Seconds that one page may wait for DNS, so that a slow name server does not use up the whole time slice.
PAGE_WAIT = 5.0


class Judged(NamedTuple):
    """A call that was verified: an event if there is no `reason`, else forged."""

    record: Record
    reason: str | None


def verify_job() -> int:
    """Verify for one time slice; returns how many calls still wait, -1 if unknown. See `workers.jobs.verify`."""
    try:
        return verify_once(Settings.read())
    except (IngestError, redis.RedisError) as error:
        log.error("calls wait to be verified, and this worker cannot do it: %s", error)
        return -1


def verify_once(settings: Settings) -> int:
    """Verify what waits and can be verified now; returns how many calls still wait.

    Raises:
        SettingsError: verification is on and no account is named.
        Unavailable: the database is unavailable.
    """
    with (
        Store.open(settings.database) as store,
        redis_client.connect(settings.redis) as client,
    ):
        if not store.unverified():
            return 0
        verifier = Verifier.from_settings(settings) if settings.verify == "on" else None
        settled = asyncio.run(_verify_all(store, verifier, Announcements(client), settings.has_handlers))
        waiting = store.unverified()
        scheduler = JobScheduler(client)
        with unless_refused():
            scheduler.note_unverified(waiting)
            if settled and settings.has_handlers:
                scheduler.note_handoffs(True)
                scheduler.hand_on()
            if Consumer(client).batches():
                scheduler.wake_drain()  # none was woken for these batches while this job was on the queue
    log.info("verified %d calls that had come in without a key; %d still wait", settled, waiting)
    return waiting


async def _verify_all(
    store: Store, verifier: Verifier | None, announcements: Announcements, has_handlers: bool
) -> int:
    """Verify all calls that wait, or as many as the time slice allows; returns how many were settled."""
    settled = 0
    for page in _pages(store, time.monotonic() + SLICE):
        judged = await _judge(page, verifier)
        if not judged:
            continue
        _settle(store, judged, has_handlers)
        with unless_refused():
            announcements.publish([record.delivery_id for record, reason in judged if reason is None])
        settled += len(judged)
    return settled


def _pages(store: Store, deadline: float) -> Iterator[list[Record]]:
    """One round through the calls that wait, until `deadline` (monotonic seconds).

    It begins at a random one: calls that can never be verified, at either end, must not keep the others waiting.
    """
    start = after = store.any_unverified()
    wrapped = False
    while not stop_flag.requested and time.monotonic() < deadline:
        page = store.next_unverified(after, PAGE)
        if wrapped:
            page = [record for record in page if record.delivery_id <= start]
        if page:
            after = page[-1].delivery_id
            yield page
        elif wrapped:
            return
        else:
            wrapped, after = True, b""


def _settle(store: Store, judged: Sequence[Judged], has_handlers: bool) -> None:
    """Store what was verified; what is forged, unreadable, or refused by the database goes to quarantine."""

    def take(some: Sequence[Judged]) -> None:
        calls = [read(record) if reason is None else Quarantined(record, reason) for record, reason in some]
        store.add(
            [call for call in calls if not isinstance(call, Quarantined)],
            [call for call in calls if isinstance(call, Quarantined)],
            settled=[record for record, _ in some],
            hand_on={record.delivery_id: record for record, _ in some} if has_handlers else None,
        )

    def give_up(call: Judged, refusal: RowsRejected) -> None:
        store.add((), [Quarantined(call.record, str(refusal))], settled=[call.record])

    take_all(judged, take, give_up)


async def _judge(page: Sequence[Record], verifier: Verifier | None) -> list[Judged]:
    """Verify calls, all at the same time; those whose key is still unavailable are left out."""
    tasks = [asyncio.create_task(_judge_one(record, verifier)) for record in page]
    _, unfinished = await asyncio.wait(tasks, timeout=PAGE_WAIT)
    for task in unfinished:
        task.cancel()
    await asyncio.gather(*unfinished, return_exceptions=True)
    verdicts = [task.result() for task in tasks if task not in unfinished]
    return [judged for judged in verdicts if judged is not None]


async def _judge_one(record: Record, verifier: Verifier | None) -> Judged | None:
    if verifier is None:  # the operator accepts any call now
        return Judged(record, None)
    try:
        headers = unpack_headers(record.headers)
        await verifier.verify(verifier.examine(record.target, headers, record.body, record.received_at))
    except CallRejected as rejected:
        return Judged(record, f"{NOT_COPERNICAS}: {rejected.reason}")
    except KeyUnavailable:
        return None
    return Judged(record, None)
