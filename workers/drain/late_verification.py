"""Calls whose signer's key could not be had when they came in: acknowledged, kept, and verified when it can be.

They reach the events only then, judged by the time at which they were received. A call that proves false goes to
quarantine with the reason. While DNS gives no answer, they wait.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

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
from workers.drain.drain import SLICE, stopping, unless_refused
from workers.records import NOT_COPERNICAS, Quarantined, read
from workers.store.store import Store

log = logging.getLogger(__name__)

#: Calls that are looked at together.
PAGE = 500
#: Seconds that one page may wait for DNS.
PAGE_WAIT = 5.0


def verify_job() -> int:
    """The RQ job; returns how many calls still wait, -1 if that was not found out. Outcomes:

    done        nothing waits any more, or it cannot be verified now and a sweep starts another job later
    killed      each page is one transaction: what was settled is, the rest waits
    failed      Redis or the database did not answer, which is said in one line: another job follows
    """  # noqa: D415
    try:
        return verify_once(Settings.read())
    except (IngestError, redis.RedisError) as error:
        log.error("calls wait to be verified, and this worker cannot do it: %s", error)
        return -1


def verify_once(settings: Settings) -> int:
    """Verify what waits and can be verified now; returns how many calls still wait.

    Raises:
        SettingsError: verification is on and no account is named.
        Unavailable: the database does not answer.
    """
    store = Store.open(settings.database)
    client = redis_client.connect(settings.redis)
    try:
        if not store.unverified():
            return 0
        verifier = Verifier.of(settings) if settings.verify == "on" else None
        scheduler = JobScheduler(client)
        settled = asyncio.run(_verify_all(store, verifier, Announcements(client), settings.has_handlers))
        waiting = store.unverified()
        with unless_refused():
            scheduler.note_unverified(waiting)
            if settled and settings.has_handlers:
                scheduler.note_handoffs(True)
                scheduler.hand_on()
            if Consumer(client).batches():
                scheduler.wake_drain()  # a drain was not woken for them while this job stood in the queue
    finally:
        store.close()
        client.close()
    log.info("verified %d calls that had come in without a key; %d still wait", settled, waiting)
    return waiting


async def _verify_all(
    store: Store, verifier: Verifier | None, announcements: Announcements, has_handlers: bool
) -> int:
    """One round through what waits, or as far as the time slice goes.

    It begins anywhere: calls that can never be told, at whichever end, shall not keep the others waiting.
    """
    settled = 0
    began = time.monotonic()
    start = after = store.any_unverified()
    wrapped = False
    while not stopping.asked and time.monotonic() - began < SLICE:
        page = store.next_unverified(after, PAGE)
        if wrapped:
            page = [record for record in page if record.delivery_id <= start]
        if not page:
            if wrapped:
                break
            wrapped, after = True, b""
            continue
        after = page[-1].delivery_id
        verdicts = await _judge(page, verifier)
        done = [(record, verdict) for record, verdict in zip(page, verdicts, strict=True) if verdict is not None]
        if not done:
            continue
        _settle(store, done, has_handlers)
        with unless_refused():
            announcements.publish([record.delivery_id for record, verdict in done if verdict == ""])
        settled += len(done)
    return settled


def _settle(store: Store, done: Sequence[tuple[Record, str]], has_handlers: bool) -> None:
    """Store what was found out of calls: each is an event, or belongs in quarantine for a reason."""

    def take(some: Sequence[tuple[Record, str]]) -> None:
        found = [read(record) if verdict == "" else Quarantined(record, verdict) for record, verdict in some]
        store.add(
            [event for event in found if not isinstance(event, Quarantined)],
            [call for call in found if isinstance(call, Quarantined)],
            settled=[record for record, _ in some],
            hand_on={record.delivery_id: record for record, _ in some} if has_handlers else None,
        )

    def give_up(one: tuple[Record, str], refusal: RowsRejected) -> None:
        store.add((), [Quarantined(one[0], str(refusal))], settled=[one[0]])

    take_all(done, take, give_up)


async def _judge(page: list[Record], verifier: Verifier | None) -> list[str | None]:
    """For each call: an empty string if it is Copernica's, the reason if not, None if that cannot be told."""
    tasks = [asyncio.create_task(_judge_one(record, verifier)) for record in page]
    _, unfinished = await asyncio.wait(tasks, timeout=PAGE_WAIT)
    for task in unfinished:
        task.cancel()
    return [None if task in unfinished else task.result() for task in tasks]


async def _judge_one(record: Record, verifier: Verifier | None) -> str | None:
    if verifier is None:  # the operator takes any call now
        return ""
    try:
        headers = unpack_headers(record.headers)
        await verifier.verify(verifier.examine(record.target, headers, record.body, record.received_at))
    except CallRejected as rejected:
        return f"{NOT_COPERNICAS}: {rejected.reason}"
    except KeyUnavailable:
        return None
    return ""
