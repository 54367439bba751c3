"""Everything the endpoint answers: one `Answer` per outcome, the same on the fast path and through aiohttp."""

from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus

import orjson

from ingest.endpoint.limits import RETRY_AFTER


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the caller. `body` is JSON unless it is empty or `plain`."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    plain: bool = False

    @property
    def content_type(self) -> str:
        """The media type of the body."""
        return "text/plain" if self.plain else "application/json"

    def raw(self, close: bool) -> bytes:
        """The bytes that go over the wire where no HTTP library writes the answer."""
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


def rejection(status: int, slug: str, detail: str, **headers: str) -> Answer:
    """An answer that rejects a request: a slug for programs, a sentence for people, never an echo of the input."""
    return Answer(status, orjson.dumps({"error": slug, "detail": detail}), headers)


#: The call is safe. `FastPath` compares answers with this very object.
KEPT = Answer(200)
#: For people who open the callback URL in a browser.
HELLO = Answer(200, b"Copernica webhooks are taken here: POST them.\n", plain=True)
NOT_FOUND = rejection(404, "not-found", "There is nothing at this path.")
METHOD_NOT_ALLOWED = rejection(405, "method-not-allowed", "Webhooks are sent with POST.", Allow="POST, GET, HEAD")
TOO_SLOW = rejection(408, "too-slow", "The request did not arrive in time.")
TOO_LARGE = rejection(413, "too-large", "The body is larger than this endpoint takes.")
TARGET_TOO_LONG = rejection(
    414, "target-too-long", "The target of the request is longer than this endpoint takes."
)
ENCODED = rejection(415, "content-encoding", "Bodies are taken as they are, without a Content-Encoding.")
BAD_REQUEST = rejection(
    400, "bad-request", "This is not a well-formed HTTP request, or its head is longer than this endpoint takes."
)
FAULT = rejection(500, "fault", "Something went wrong here; send it again.")
UNAVAILABLE = rejection(
    503, "unavailable", "The call could not be kept safe; send it again.", **{"Retry-After": str(RETRY_AFTER)}
)
BUSY = rejection(503, "busy", "Too much at once; send it again.", **{"Retry-After": str(RETRY_AFTER)})

#: The answer to calls that are not Copernica's. Why is in the log and in the counts of `ingest status`, and not
#: told to strangers: reasons would let them guess the account, one number after the other.
NOT_ACCEPTED = rejection(
    401,
    "not-accepted",
    "The call does not prove that it is Copernica's, and meant for this endpoint.",
    **{"WWW-Authenticate": "Signature"},
)

#: With these, a request is answered that never became a call.
NO_CALL_STATUSES = frozenset({400, 404, 405, 408, 413, 414, 415})
#: After these, the rest of the request may still be on its way, so the connection is closed.
CLOSING_STATUSES = frozenset({400, 401, 408, 413, 414, 415})

#: All of them, each with when it is given: for docs/reference, and for whoever wonders. Copernica does not send a
#: call again whatever it is answered, so after any but 200 it is lost until it is recovered.
ALL: tuple[tuple[Answer, str], ...] = (
    (KEPT, "The call is safe, in Redis or in the spool."),
    (HELLO, "It was a GET or HEAD request, as somebody sends who opens the URL in a browser."),
    (BAD_REQUEST, "It is no well-formed HTTP, ended before it was complete, or has a head of more than 16 KiB or "
                  "128 headers."),
    (NOT_ACCEPTED, "The call is not Copernica's, or not for this endpoint. Why is in the log, in `ingest status` "
                   "and in the console, and is not told to strangers."),
    (NOT_FOUND, "The path is neither `INGEST_PATH` nor below it."),
    (METHOD_NOT_ALLOWED, "The method is none of POST, GET and HEAD."),
    (TOO_SLOW, "The head did not arrive within 10 s, or the body not within 30 s."),
    (TOO_LARGE, "The body is larger than `INGEST_MAX_BODY`."),
    (TARGET_TOO_LONG, "The target, which is the path with its query, is longer than 8 KiB."),
    (ENCODED, "The body has a Content-Encoding: whoever unpacked it would not know how large it becomes."),
    (FAULT, "A fault of the program; its log has the traceback. The call was not kept."),
    (UNAVAILABLE, "Neither Redis nor the spool could take the call, or its signer's key cannot be looked up and "
                  "no more may be kept for it. It was not kept."),
    (BUSY, "There are too many connections, or too much is held in memory. The call was not kept."),
)  # fmt: skip  # a list to be read: answer and reason
