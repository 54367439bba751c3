"""What happens to one call, apart from any HTTP library: check, keep, answer.

`judge` needs the head of a request only and runs before a byte of body is read; `submit` takes the whole call and
answers when it is safe. Which failure gives which answer:

    wrong method                     405
    Content-Length beyond the limit  413
    a Content-Encoding               415
    not Copernica's                  401, with the reason
    neither Redis nor spool has it   503, Retry-After
    kept                             200, empty
"""

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus

import orjson

from ingest import failpoints
from ingest.batch import UNVERIFIED, Record
from ingest.copernica.signature import Claim, HeaderFields, Headers
from ingest.endpoint.limits import KEY_WAIT, MAX_HELD, RETRY_AFTER
from ingest.errors import CallRejected, KeyUnavailable, Reason, WriteUnconfirmed
from ingest.stream.producer import Producer
from ingest.verification import Verifier, pack_headers

log = logging.getLogger(__name__)

#: Delivery ids for which randomness is fetched at once.
RANDOM_IDS = 512
#: Seconds between two log lines about the same trouble.
SAY_EVERY = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the caller. `body` is JSON unless it is empty or `plain`."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    plain: bool = False

    @property
    def content_type(self) -> str:
        """The type of the body."""
        return "text/plain" if self.plain else "application/json"

    def raw(self, close: bool) -> bytes:
        """The answer as it goes over the wire, for where no HTTP library is in between."""
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            f"Date: {formatdate(usegmt=True)}",
            f"Content-Length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        if self.body:
            lines.append(f"Content-Type: {self.content_type}")
        if close:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def refusal(status: int, slug: str, detail: str, **headers: str) -> Answer:
    """An answer that says no: a slug for programs and a sentence for people, never an echo of what was sent."""
    return Answer(status, orjson.dumps({"error": slug, "detail": detail}), headers)


KEPT = Answer(200)
HELLO = Answer(200, b"Copernica webhooks are taken here: POST them.\n", plain=True)
NOT_FOUND = refusal(404, "not-found", "There is nothing at this path.")
METHOD = refusal(405, "method-not-allowed", "Webhooks are sent with POST.", Allow="POST, GET, HEAD")
TOO_SLOW = refusal(408, "too-slow", "The request did not arrive in time.")
TOO_LARGE = refusal(413, "too-large", "The body is larger than this endpoint takes.")
ENCODED = refusal(415, "content-encoding", "Bodies are taken as they are, without a Content-Encoding.")
BAD_REQUEST = refusal(400, "bad-request", "This is not a well-formed HTTP request.")
UNAVAILABLE = refusal(
    503, "unavailable", "The call could not be kept safe; send it again.", **{"Retry-After": str(RETRY_AFTER)}
)
BUSY = refusal(503, "busy", "Too much at once; send it again.", **{"Retry-After": str(RETRY_AFTER)})


#: The answers to calls that are not Copernica's.
REFUSED = {
    reason: refusal(
        401,
        reason,
        f"The call does not prove that it is Copernica's: {reason.replace('-', ' ')}.",
        **{"WWW-Authenticate": "Signature"},
    )
    for reason in Reason
}


class Intake:
    """Takes calls and keeps them; one per process."""

    def __init__(
        self, appender: Producer, max_body: int, verifier: Verifier | None = None, keep_headers: bool = False
    ) -> None:
        """Without a `verifier`, any call is taken. With `keep_headers`, headers are kept, to be passed on."""
        self._keep_headers = keep_headers
        self._appender = appender
        self._verifier = verifier
        self.max_body = max_body
        self.accepted = 0
        self.failed = 0
        #: Calls that were taken although their key could not be had.
        self.unverified = 0
        #: How many calls were refused for what reason.
        self.refused: Counter[str] = Counter()
        #: Bytes of bodies, and number of calls, that are being taken right now.
        self.held = 0
        self.busy = 0
        self._said_at: dict[str, float] = {}
        self._randomness: list[bytes] = []
        self._waiting: set[asyncio.Task[None]] = set()
        #: Calls that lack nothing but the verification of their signature.
        self._examined: list[tuple[Claim, Record, HeaderFields, Callable[[Answer], None]]] = []

    def judge(
        self, method: str, content_length: int | None, content_encoding: str | None, signed: bool
    ) -> Answer | None:
        """Look at the head of a request: None if its body may be read, else the answer."""
        if method != "POST":
            return HELLO if method in ("GET", "HEAD") else METHOD
        if content_encoding and content_encoding.strip().lower() != "identity":
            return ENCODED
        if content_length is not None and content_length > self.max_body:
            return TOO_LARGE
        if self._verifier is not None and not signed:
            return self._refuse(CallRejected(Reason.NO_SIGNATURE))
        return None if self.has_room else BUSY

    @property
    def has_room(self) -> bool:
        """Whether another body may be read."""
        return self.held < MAX_HELD

    @contextmanager
    def hold(self, content_length: int | None) -> Iterator[None]:
        """Count a body as held in memory while it is read; one of unknown length as a largest one."""
        size = self.max_body if content_length is None else content_length
        self.held += size
        self.busy += 1
        try:
            yield
        finally:
            self.held -= size
            self.busy -= 1

    def submit(self, target: bytes, found: HeaderFields, body: bytes, answer: Callable[[Answer], None]) -> None:
        """Check and keep one call; `answer` is called with 200 once it is safe, with 401 or with 503."""
        received_at = time.time_ns() // 1000
        if failpoints.armed:
            failpoints.reach("body-read")
        size = len(body)

        def finish(given: Answer) -> None:
            self.held -= size
            self.busy -= 1
            answer(given)

        self.held += size
        self.busy += 1
        content_type = found.values.get(b"content-type", b"")
        headers = pack_headers(found) if self._keep_headers else b""
        if self._verifier is None:
            record = Record(self._random_id(received_at), received_at, target, content_type, body, headers)
            self._keep(record, finish)
            return
        try:
            claim = self._verifier.examine(target, found, body, received_at)
        except CallRejected as rejected:
            finish(self._refuse(rejected))
            return
        record = Record(claim.delivery_id, received_at, target, content_type, body, headers)
        if not self._examined:
            asyncio.get_running_loop().call_soon(self._verify_examined, self._verifier)
        self._examined.append((claim, record, found, finish))

    def _verify_examined(self, verifier: Verifier) -> None:
        """Verify what came in during one turn of the event loop, one after the other.

        Together rather than each at once: OpenSSL's code and ours push each other out of the processor's caches.
        """
        examined, self._examined = self._examined, []
        for claim, record, found, finish in examined:
            try:
                if verifier.verified(claim):
                    self._keep(record, finish)
                else:
                    waiting = asyncio.create_task(self._keep_later(verifier, claim, record, found, finish))
                    self._waiting.add(waiting)
                    waiting.add_done_callback(self._waiting.discard)
            except CallRejected as rejected:
                finish(self._refuse(rejected))

    async def _keep_later(
        self,
        verifier: Verifier,
        claim: Claim,
        record: Record,
        found: HeaderFields,
        finish: Callable[[Answer], None],
    ) -> None:
        """Keep a call whose key must be looked up, as unverified if it cannot be had in time."""
        try:
            async with asyncio.timeout(KEY_WAIT):
                await verifier.verify(claim)
        except CallRejected as rejected:
            finish(self._refuse(rejected))
            return
        except (KeyUnavailable, TimeoutError) as error:
            self.unverified += 1
            self._say("unverified", "calls are kept as unverified: %s %d so far.", error, self.unverified)
            record = record._replace(headers=pack_headers(found), flags=UNVERIFIED)
        self._keep(record, finish)

    def _keep(self, record: Record, finish: Callable[[Answer], None]) -> None:
        def done(refused: WriteUnconfirmed | None) -> None:
            if refused is None:
                self.accepted += 1
                if failpoints.armed:
                    failpoints.reach("answer")
                finish(KEPT)
                if failpoints.armed:
                    failpoints.reach("answered")
            else:
                self.failed += 1
                self._say("full", "calls are answered 503: %s %d so far.", refused, self.failed)
                finish(UNAVAILABLE)

        self._appender.submit(record, done)

    async def keep(self, target: str, headers: Headers, body: bytes) -> Answer:
        """Check and keep one call; returns its answer."""
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def answer(given: Answer) -> None:
            if not answered.done():  # else its request was cancelled meanwhile
                answered.set_result(given)

        # As aiohttp decoded it, so that it is the bytes of the request line again.
        self.submit(target.encode("utf-8", "surrogateescape"), HeaderFields.from_pairs(headers), body, answer)
        return await answered

    def _refuse(self, rejected: CallRejected) -> Answer:
        reason = rejected.reason
        self.refused[reason.value] += 1
        named = f", it named {rejected.excerpt}" if rejected.excerpt else ""
        self._say(reason, "refused a call: %s%s; %d so far.", reason, named, self.refused[reason.value])
        return REFUSED[reason]

    def _say(self, about: str, text: str, *values: object) -> None:
        """Warn in the log, but not for each of thousands."""
        if time.monotonic() - self._said_at.get(about, -SAY_EVERY) >= SAY_EVERY:
            self._said_at[about] = time.monotonic()
            log.warning(text, *values)

    def _random_id(self, received_at: int) -> bytes:
        """An id for a call that is not verified: 4 bytes of the second it came in, then 8 random ones."""
        if not self._randomness:
            fresh = os.urandom(8 * RANDOM_IDS)  # many at once: asking the system costs more than all the rest
            self._randomness = [fresh[at : at + 8] for at in range(0, len(fresh), 8)]
        return (received_at // 1_000_000).to_bytes(4, "big") + self._randomness.pop()
