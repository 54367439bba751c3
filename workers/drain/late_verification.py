"""Calls whose signer's key was unavailable when they came in: acknowledged, kept, and verified once it is there.

Only then do they become events, judged by the time at which they were received. A call that proves to be forged
goes to quarantine with the reason. While DNS gives no answer, they wait.

Anybody can send calls that wait here, in the name of anybody, while DNS is away. So keys take turns: first those
that DNS confirmed lately, then the others, of which the oldest, the most wanted and any at random alternate. For
each key that is there a page of calls is verified, then for each the next page.
"""

import asyncio
import hashlib
import logging
import random
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, zip_longest
from typing import NamedTuple

import redis

from ingest import partitions, redis_client, shown
from ingest.batch import Record
from ingest.copernica.events import Event
from ingest.copernica.header_fields import unpack_headers
from ingest.copernica.public_keys import STALE
from ingest.copernica.signature import identity
from ingest.errors import CallRejected, IngestError, KeyUnavailable, RowsRejected
from ingest.jobs import JobScheduler
from ingest.settings import Settings
from ingest.stream.announcements import Announcements
from ingest.stream.known_keys import KnownKeys
from ingest.verification import Verifier
from workers.bisection import take_all
from workers.pausing import events_are_paused
from workers.records import NOT_COPERNICAS, Quarantined, Why, read
from workers.runtime import SLICE, stop_flag, unless_refused
from workers.store.commits import VERIFICATION, Commit
from workers.store.rows import Waiting
from workers.store.store import Signer, Store

log = logging.getLogger(__name__)

#: Calls that are verified together: few enough for one transaction.
PAGE = 500
#: Keys that are looked up together, and the seconds that they may take, so that a slow name server does not use up
#: the whole time slice.
WAVE = 32
WAVE_WAIT = 5.0


class Judged(NamedTuple):
    """A call that was verified: an event if there is no `reason`. `forged`: its signature was put to the test."""

    call: Waiting
    reason: str | None = None
    forged: bool = False


def verify_job() -> int:
    """Verify for one time slice; returns how many calls still wait, -1 if unknown. See `workers.jobs.verify`."""
    settings = Settings.read()
    if events_are_paused(settings):
        return -1
    try:
        return verify_once(settings)
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
        Store.of(settings) as store,
        redis_client.connect(settings.redis) as client,
        partitions.opened(settings, client) as streams,
    ):
        scheduler = JobScheduler(client)
        waiting = store.unverified()
        settled = 0
        if waiting:
            verifier = _verifier(settings, client)
            settled = asyncio.run(_verify_all(store, verifier, Announcements(client), settings.has_handlers))
            waiting = store.unverified()
            verified = shown.counted(settled, "call")
            log.info("verified %s that had come in without a key; %d waiting", verified, waiting)
        with unless_refused():
            scheduler.note_unverified(waiting, store.unverified_bytes() if waiting else 0)
            if settled and waiting:
                scheduler.wake_verify()  # the time slice was over, or some keys are not there yet
            if settled and settings.has_handlers:
                scheduler.note_handoffs(True)
                scheduler.hand_on()
            if streams.batches():
                scheduler.wake_drain()  # none was woken for these batches while this job was on the queue
    return waiting


def _verifier(settings: Settings, client: redis.Redis) -> Verifier | None:
    if settings.verify == "off":
        return None
    verifier = Verifier.from_settings(settings)
    with unless_refused():
        verifier.learn(KnownKeys(client).exchange({}, time.time() - STALE))
    return verifier


async def _verify_all(
    store: Store, verifier: Verifier | None, announcements: Announcements, has_handlers: bool
) -> int:
    """Verify all calls that wait, or as many as the time slice allows; returns how many were settled."""
    deadline = time.monotonic() + SLICE
    settled = 0
    signers = _in_fair_order(store.unverified_signers(), verifier.known_names() if verifier else ())
    for at in range(0, len(signers), WAVE):
        key_ids = await _with_keys(verifier, signers[at : at + WAVE])
        for page in _pages(store, key_ids, deadline):
            judged = await _judge(page, verifier)
            if judged:
                _settle(store, judged, has_handlers)
                with unless_refused():
                    announcements.publish([each.call.record.delivery_id for each in judged if not each.reason])
            settled += len(judged)
        if stop_flag.requested or time.monotonic() >= deadline:
            break
    return settled


def _in_fair_order(signers: Sequence[Signer], known: Collection[str]) -> list[str]:
    """The key ids of signers in the order in which they get their turn; `known` are those with a key."""
    strangers = [signer for signer in signers if signer.key_id not in known]
    oldest = sorted(strangers, key=lambda signer: signer.oldest)
    most_wanted = sorted(strangers, key=lambda signer: -signer.calls)
    any_order = random.sample(strangers, len(strangers))
    turns = chain.from_iterable(zip_longest(oldest, most_wanted, any_order))
    first = [signer for signer in signers if signer.key_id in known]
    return list(dict.fromkeys(signer.key_id for signer in chain(first, turns) if signer is not None))


async def _with_keys(verifier: Verifier | None, key_ids: Sequence[str]) -> list[str]:
    """Those of the keys about which DNS has an answer by now, be it that there is no such key."""
    if verifier is None:
        return list(key_ids)
    # Calls that an older release kept have no key id of their own beside them.
    lookups = {key_id: asyncio.create_task(verifier.look_up(key_id)) for key_id in key_ids if key_id}
    if lookups:
        _, unfinished = await asyncio.wait(lookups.values(), timeout=WAVE_WAIT)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*lookups.values(), return_exceptions=True)
    return [key_id for key_id in key_ids if not key_id or _found(lookups[key_id])]


def _found(lookup: asyncio.Task[None]) -> bool:
    return not lookup.cancelled() and lookup.exception() is None


def _pages(store: Store, key_ids: Sequence[str], deadline: float) -> Iterator[list[Waiting]]:
    """All calls that wait for these keys, a page of each in turns, until `deadline` (monotonic seconds)."""
    turns = deque((key_id, (b"", b"")) for key_id in key_ids)
    while turns and not stop_flag.requested and time.monotonic() < deadline:
        key_id, after = turns.popleft()
        if page := store.next_unverified(key_id, after, PAGE):
            yield page
            turns.append((key_id, page[-1].key))


def _settle(store: Store, judged: Sequence[Judged], has_handlers: bool) -> None:
    """Store what was verified; what is forged, unreadable, or refused by the database goes to quarantine."""

    def take(some: Sequence[Judged]) -> None:
        calls = [_outcome(each) for each in some]
        store.add(
            [call for call in calls if not isinstance(call, Quarantined)],
            [call for call in calls if isinstance(call, Quarantined)],
            settled=[each.call.key for each in some],
            hand_on={each.call.record.delivery_id: each.call.record for each in some} if has_handlers else None,
            commit=Commit(VERIFICATION),
        )

    def give_up(each: Judged, refusal: RowsRejected) -> None:
        store.add((), [Quarantined(each.call.record, str(refusal), Why.REFUSED)], settled=[each.call.key])

    take_all(judged, take, give_up)


def _outcome(judged: Judged) -> Event | Quarantined:
    record, reason = judged.call.record, judged.reason
    if reason is None:
        return read(record)
    return _head_of(record, reason) if judged.forged else Quarantined(record, reason, Why.NOT_COPERNICAS)


def _head_of(record: Record, reason: str) -> Quarantined:
    """What is kept of a forged call: enough to look into it, but none of a body that a stranger chose.

    It gets an id of its own: its delivery id is that of the genuine call, if its signature was copied from one.
    """
    digest = identity(record.target, unpack_headers(record.headers), record.body).digest
    body = hashlib.sha256(record.body).hexdigest()
    told = f"{reason}; its body of {len(record.body)} bytes (SHA-256 {body}) was not kept"
    return Quarantined(
        record._replace(delivery_id=record.delivery_id[:4] + digest[:8], body=b""), told, Why.NOT_COPERNICAS
    )


async def _judge(page: Sequence[Waiting], verifier: Verifier | None) -> list[Judged]:
    """Verify calls, all at the same time; those whose key is still unavailable are left out."""
    tasks = [asyncio.create_task(_judge_one(call, verifier)) for call in page]
    _, unfinished = await asyncio.wait(tasks, timeout=WAVE_WAIT)
    for task in unfinished:
        task.cancel()
    await asyncio.gather(*unfinished, return_exceptions=True)
    verdicts = [task.result() for task in tasks if task not in unfinished]
    return [judged for judged in verdicts if judged is not None]


async def _judge_one(call: Waiting, verifier: Verifier | None) -> Judged | None:
    if verifier is None:  # the operator accepts any call now
        return Judged(call)
    record = call.record
    try:
        claim = verifier.examine(record.target, unpack_headers(record.headers), record.body, record.received_at)
    except CallRejected as rejected:
        # The endpoint thought otherwise, so the settings have changed: the call may be genuine.
        return Judged(call, f"{NOT_COPERNICAS}: {rejected.reason}")
    try:
        await verifier.verify(claim)
    except CallRejected as rejected:
        return Judged(call, f"{NOT_COPERNICAS}: {rejected.reason}", forged=True)
    except KeyUnavailable:
        return None
    return Judged(call)
