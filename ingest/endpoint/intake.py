"""What happens to one call, apart from any HTTP library: check, keep, answer.

`judge` needs only the head of a request and runs before the body is read; `submit` takes the whole call and
answers once it is safe. Which failure gives which answer:

    wrong method                     405
    Content-Length beyond the limit  413
    a Content-Encoding               415
    not Copernica's                  401, with the reason
    a key that cannot be looked up   503, Retry-After, unless it is plausible and may be kept as unverified
    too many bodies held in memory   503, Retry-After
    kept neither in Redis nor spool  503, Retry-After
    kept                             200, empty
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ingest import failpoints
from ingest.batch import UNVERIFIED, Record
from ingest.copernica.header_fields import HeaderFields, Headers, pack_headers
from ingest.copernica.signature import Claim
from ingest.endpoint.answers import (
    BUSY,
    ENCODED,
    HELLO,
    KEPT,
    METHOD_NOT_ALLOWED,
    NOT_ACCEPTED,
    TOO_LARGE,
    UNAVAILABLE,
    Answer,
)
from ingest.endpoint.budget import UnverifiedBudget
from ingest.endpoint.limits import KEY_WAIT, WAITING_MAX
from ingest.endpoint.losses import Losses
from ingest.endpoint.memory import CALL_COST, Memory
from ingest.endpoint.random_ids import RandomIds
from ingest.endpoint.rare_warnings import RareWarnings
from ingest.endpoint.refusals import RefusalSample
from ingest.endpoint.under_way import Cohort, UnderWay
from ingest.endpoint.verification_thread import SHARED_MIN, VerificationThread
from ingest.errors import CallRejected, KeyUnavailable, Reason, WriteUnconfirmed
from ingest.stream.producer import Producer
from ingest.verification import Verifier

log = logging.getLogger(__name__)

#: Bytes of a body from which on it is hashed in a thread: a millisecond's work.
LARGE_BODY = 256 * 1024


#: A call that passed every check but that of its signature, and what is called with its answer.
_Examined = tuple[Claim, Record, HeaderFields, Callable[[Answer], None]]

#: Under which calls are counted as rejected that were answered 503, because of a key that cannot be looked up.
KEY_UNAVAILABLE = "key-unavailable"


class Intake:
    """Takes calls and keeps them; one per process."""

    def __init__(
        self,
        producer: Producer,
        max_body: int,
        verifier: Verifier | None = None,
        keep_headers: bool = False,
        budget: UnverifiedBudget | None = None,
        thread: VerificationThread | None = None,
        arrived: Callable[[bytes, int, int], object] | None = None,
        memory: Memory | None = None,
    ) -> None:
        """Without a `verifier`, any call is taken. With `keep_headers`, headers are stored too, for forwarding.

        `budget` is how much may be kept of calls that wait for their key; without one, nothing. `thread` takes a
        part of the verifying. `arrived` is told of each call that was to be kept: its delivery id, when it came
        in, and the status of its answer. `memory` bounds what is held.
        """
        self._thread = thread
        if arrived is not None:  # so that it costs nothing where nobody wants to know
            self._keep = partial(self._keep_and_tell, arrived)  # type: ignore[method-assign]
        self._keep_headers = keep_headers
        self._producer = producer
        self._verifier = verifier
        self.max_body = max_body
        self.accepted = 0
        self.failed = 0
        #: Calls that were answered 503 because too much was held in memory.
        self.turned_away = 0
        self.losses = Losses()
        #: Calls that were kept although their key could not be looked up.
        self.unverified = 0
        self.budget = budget or UnverifiedBudget(limit=0)
        #: How many calls were rejected, by reason; and requests that are no calls, by the status of their answer.
        self.rejected: Counter[str] = Counter()
        self.refused: Counter[int] = Counter()
        #: What is held in memory, and the calls that are being checked or kept right now.
        self.memory = memory or Memory()
        self.under_way = UnderWay()
        self._warn = RareWarnings(log)
        self.refusals = RefusalSample(log)
        self._random_ids = RandomIds()
        #: Calls that wait for their key to be looked up.
        self._waiting: set[asyncio.Task[None]] = set()
        #: Calls that passed every check but that of their signature.
        self._examined: list[_Examined] = []

    def judge(
        self, method: str, content_length: int | None, content_encoding: str | None, signed: bool
    ) -> Answer | None:
        """Judge the head of a request: None if its body may be read, else the answer."""
        if method != "POST":
            return HELLO if method in ("GET", "HEAD") else METHOD_NOT_ALLOWED
        if content_encoding and content_encoding.strip().lower() != "identity":
            return ENCODED
        if content_length is not None and content_length > self.max_body:
            return TOO_LARGE
        if self._verifier is not None and not signed:
            return self._reject(CallRejected(Reason.NO_SIGNATURE))
        return None if self.memory.has_room else self.busy_answer()

    def busy_answer(self) -> Answer:
        """The answer to a call for which there is no room in memory."""
        self.turned_away += 1
        self.losses.note()
        return BUSY

    def submit(
        self,
        target: bytes,
        fields: HeaderFields,
        body: bytes,
        answer: Callable[[Answer], None],
        claim: Claim | None = None,
    ) -> None:
        """Check and keep one call; `answer` is called with 200 once it is safe, with 401 or with 503.

        With a `claim`, everything has been checked that needs no key.
        """
        received_at = time.time_ns() // 1000
        if failpoints.armed:
            failpoints.reach("body-read")
        size = len(body) + CALL_COST
        self.memory.used += size
        cohort = self.under_way.current
        cohort.pending += 1
        finish = partial(self._finish, cohort, size, answer)
        content_type = fields.values.get(b"content-type", b"")
        headers = pack_headers(fields) if self._keep_headers else b""
        if self._verifier is None:
            record = Record(self._random_ids.next(received_at), received_at, target, content_type, body, headers)
            self._keep(record, finish)
            return
        try:
            claim = claim or self._verifier.examine(target, fields, body, received_at)
        except CallRejected as rejected:
            finish(self._reject(rejected, target, fields))
            return
        except Exception:
            self._fail(finish)
            return
        record = Record(claim.delivery_id, received_at, target, content_type, body, headers)
        if not self._examined:
            asyncio.get_running_loop().call_soon(self._verify_examined, self._verifier)
        self._examined.append((claim, record, fields, finish))

    def _verify_examined(self, verifier: Verifier) -> None:
        """Verify the calls of one turn of the event loop, one after the other.

        Together rather than each on arrival: OpenSSL's code and ours push each other out of the caches.
        """
        examined, self._examined = self._examined, []
        if self._thread is not None and self._thread.is_idle and len(examined) >= SHARED_MIN:
            examined = self._share(verifier, self._thread, examined)
        for one in examined:
            self._verify(verifier, one)

    def _share(self, verifier: Verifier, thread: VerificationThread, examined: list[_Examined]) -> list[_Examined]:
        """Let a thread verify half of these calls; returns the others, and those of a key that is not at hand."""
        own, keyed = examined[::2], []
        for one in examined[1::2]:
            if (key := verifier.key_at_hand(one[0])) is None:
                own.append(one)
            else:
                keyed.append((one, key))

        def settle(proved: list[bool]) -> None:
            for (one, key), is_proved in zip(keyed, proved, strict=True):
                self._verify(verifier, one, is_proved, key)

        return own if thread.verify([(one[0], key) for one, key in keyed], settle) else examined

    def _verify(
        self, verifier: Verifier, examined: _Examined, is_proved: bool = False, tried: RSAPublicKey | None = None
    ) -> None:
        """Verify one call unless it is proved, and keep it or let it wait for its key.

        What the thread could not prove with the key `tried` comes here as well: that may have been replaced.
        """
        claim, record, fields, finish = examined
        try:
            if is_proved or verifier.verified(claim, tried):
                self._keep(record, finish)
            elif len(self._waiting) >= WAITING_MAX or not self.memory.may_wait(record.size):
                self._turn_away(KeyUnavailable("Too many calls wait for keys."), finish)
            else:
                self.memory.waiting += record.size
                waiting = asyncio.create_task(self._keep_later(verifier, claim, record, fields, finish))
                self._waiting.add(waiting)
                waiting.add_done_callback(self._waiting.discard)
        except CallRejected as rejected:
            finish(self._reject(rejected, record.target, fields))
        except Exception:
            self._fail(finish)

    async def _keep_later(
        self,
        verifier: Verifier,
        claim: Claim,
        record: Record,
        fields: HeaderFields,
        finish: Callable[[Answer], None],
    ) -> None:
        """Keep a call whose key must be looked up, as unverified if DNS fails and the key is plausible."""
        size = record.size
        try:
            async with asyncio.timeout(KEY_WAIT):
                await verifier.verify(claim)
        except CallRejected as rejected:
            finish(self._reject(rejected, record.target, fields))
            return
        except KeyUnavailable as unavailable:
            record = record._replace(headers=pack_headers(fields), flags=UNVERIFIED)
            if not unavailable.plausible or not self.budget.take(record.size):
                self._turn_away(unavailable, finish)
                return
            self.unverified += 1
            self._warn("unverified", "calls are kept as unverified: %s %d so far.", unavailable, self.unverified)
        except TimeoutError:
            self._turn_away(KeyUnavailable("DNS takes too long."), finish)
            return
        except Exception:
            self._fail(finish)
            return
        finally:
            self.memory.waiting -= size
        self._keep(record, finish)

    def _fail(self, finish: Callable[[Answer], None]) -> None:
        """Answer 503 to a call on which we fail, in an `except`: nobody else would answer it, or give it up."""
        self.failed += 1
        self.losses.note()
        log.exception("a call could not be judged")
        finish(UNAVAILABLE)

    def _turn_away(self, unavailable: KeyUnavailable, finish: Callable[[Answer], None]) -> None:
        """Answer 503 to a call of a key that we cannot look up and have no reason, or no room, to keep it for."""
        self.rejected[KEY_UNAVAILABLE] += 1
        if unavailable.plausible:  # what strangers invent is no loss
            self.losses.note()
        why = "no more may be kept for it." if unavailable.plausible else str(unavailable)
        number = self.rejected[KEY_UNAVAILABLE]
        self._warn(KEY_UNAVAILABLE, "calls of an unknown key are answered 503: %s %d so far.", why, number)
        finish(UNAVAILABLE)

    def _finish(self, cohort: Cohort, size: int, answer: Callable[[Answer], None], result: Answer) -> None:
        """Answer a call of which so many bytes were held."""
        self.memory.used -= size
        cohort.pending -= 1
        try:
            answer(result)
        except Exception:  # the fault of one connection: the others of this turn must be answered
            log.exception("a call could not be answered")

    def _keep(self, record: Record, finish: Callable[[Answer], None]) -> None:
        self._producer.submit(record, partial(self._kept, finish))

    def _keep_and_tell(
        self, arrived: Callable[[bytes, int, int], object], record: Record, finish: Callable[[Answer], None]
    ) -> None:
        def finish_and_tell(answer: Answer) -> None:
            finish(answer)
            arrived(record.delivery_id, record.received_at, answer.status)

        self._producer.submit(record, partial(self._kept, finish_and_tell))

    def _kept(self, finish: Callable[[Answer], None], error: WriteUnconfirmed | None) -> None:
        """Answer a call that was kept, or was not."""
        if error is None:
            self.accepted += 1
            if failpoints.armed:
                failpoints.reach("answer")
            finish(KEPT)
            if failpoints.armed:
                failpoints.reach("answered")
        else:
            self.failed += 1
            self.losses.note()
            self._warn("full", "calls are answered 503: %s %d so far.", error, self.failed)
            finish(UNAVAILABLE)

    async def keep(
        self, target: bytes, headers: Headers, body: bytes, transport: asyncio.Transport | None = None
    ) -> Answer:
        """Check and keep one call, which came over a connection; returns its answer."""
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def answer(result: Answer) -> None:
            if result is not KEPT:
                self.refusals.came_from(transport)
            if not answered.done():  # otherwise the request was cancelled meanwhile
                answered.set_result(result)

        fields = HeaderFields.from_pairs(headers)
        claim = None
        if self._verifier is not None and len(body) >= LARGE_BODY:
            try:
                claim = await self._examine_apart(self._verifier, target, fields, body)
            except CallRejected as rejected:
                return self._reject(rejected, target, fields)
        self.submit(target, fields, body, answer, claim)
        return await answered

    async def _examine_apart(self, verifier: Verifier, target: bytes, fields: HeaderFields, body: bytes) -> Claim:
        """Check a call in a thread: while a large body is hashed, others need not wait.

        Raises:
            CallRejected: the call is not Copernica's.
        """
        self.memory.used += len(body)
        cohort = self.under_way.current
        cohort.pending += 1
        try:
            now = time.time_ns() // 1000
            return await asyncio.to_thread(verifier.examine, target, fields, body, now)
        finally:
            self.memory.used -= len(body)
            cohort.pending -= 1

    def _reject(self, rejected: CallRejected, target: bytes = b"", fields: HeaderFields | None = None) -> Answer:
        self.rejected[rejected.reason.value] += 1
        self.refusals.rejected(rejected, self.rejected[rejected.reason.value], target, fields)
        return NOT_ACCEPTED
