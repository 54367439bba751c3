"""How one call reaches Copernica's REST API: access, retries, and one sentence for each failure.

The account's API token (COPERNICA_TOKEN) is exchanged for an access token, which goes with every call. What comes
back decides:

    2xx, 303 after a change       the answer
    401                           the access token is renewed, once, and the call made again
    another 3xx, to a question    asked again there, if it is the same server: the access token goes nowhere else
    429, 5xx, cut off, no answer  wait, longer each time or as long as Retry-After says, and make the call again
    403, 404, 400 and the rest    the error that says so

A call that must not be made twice is not repeated where it may have been carried out.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import NoReturn, Self, TypeVar

import aiohttp
import orjson
from yarl import URL

from ingest.copernica.api.auth import Access
from ingest.copernica.api.connection import CONNECTION_ERRORS, TooLarge, describe, read_start
from ingest.copernica.api.proxies import proxy_for
from ingest.copernica.api.request import Request, url_of
from ingest.copernica.api.retry import RetryPolicy, TemporaryFailure, with_retries
from ingest.copernica.api.retry_after import is_temporary, seconds_to_wait
from ingest.errors import AnswerTooLarge, Forbidden, InvalidToken, NotFound, OutcomeUnknown, RequestRejected

T = TypeVar("T")
#: Reads an answer; called once for each attempt.
Reader = Callable[[aiohttp.ClientResponse], Awaitable[T]]

#: Statuses that say that nothing was done: after them, even a call that must not be made twice is made again.
NOT_CARRIED_OUT = frozenset({429, 503})
#: Redirects that are followed for one question.
MAX_REDIRECTS = 5
#: Seconds after which an idle connection is not used again: servers close theirs after 5 at the earliest, and a
#: POST on one that is being closed may or may not arrive.
KEEP_ALIVE = 4.0
#: Characters of a refusal that are shown: one sentence of Copernica's fits, a page of HTML does not.
MAX_MESSAGE = 200


class AccessRefused(Exception):
    """The access token was not accepted."""


class Transport:
    """Makes calls, several at once; an asynchronous context manager, inside of which it is used.

    It may be entered again, by several tasks at once and in one event loop after another.
    """

    #: The settings that messages name: that of the API token and that of the API's URL.
    token_setting, url_setting = "COPERNICA_TOKEN", "COPERNICA_API_URL"
    #: What makes the HTTP requests, and what reads the answers.
    request_class: type[aiohttp.ClientRequest] = aiohttp.ClientRequest
    response_class: type[aiohttp.ClientResponse] = aiohttp.ClientResponse

    def __init__(self, token: str, api_url: str, auth_url: str, concurrency: int, policy: RetryPolicy) -> None:
        self._token = token
        self._api_url = api_url
        self._auth_url = auth_url
        self._policy = policy
        self._concurrency = concurrency
        self._date: str | None = None
        self._dated_at = 0.0
        #: How many are inside at the moment, and in which event loop: they share the connections.
        self._users = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots: asyncio.Semaphore
        self._session: aiohttp.ClientSession
        self._access: Access | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if loop is not self._loop or not self._users:
            self._open()
            self._loop, self._users = loop, 0
        self._users += 1
        return self

    def _open(self) -> None:
        """Prepare for calls in this event loop; access that was gained before is kept."""
        self._slots = asyncio.Semaphore(self._concurrency)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._concurrency + 1,  # one more for the exchange of tokens
                keepalive_timeout=KEEP_ALIVE,
            ),
            request_class=self.request_class,
            response_class=self.response_class,
            auto_decompress=False,  # `connection.pieces` does it, within bounds
        )
        access = Access(self._session, self._token, self._auth_url, self._policy.for_answers)
        if self._access is not None:
            access.take_over(self._access)
        self._access = access

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._users -= 1
        if not self._users:
            await self._session.close()

    @property
    def today(self) -> date | None:
        """The date in UTC by the server's clock, as of its latest answer; None if that does not tell."""
        try:
            return parsedate_to_datetime(self._date or "").astimezone(UTC).date()
        except (ValueError, OverflowError):
            return None

    @property
    def clock_offset(self) -> float | None:
        """Seconds by which the server's clock was ahead of ours at its latest answer; None if it did not say."""
        try:
            # A Date has no fractions: on average it is half a second old.
            return parsedate_to_datetime(self._date or "").timestamp() + 0.5 - self._dated_at
        except (ValueError, OverflowError):
            return None

    async def call(self, request: Request, read: Reader[T]) -> T:
        """Make a call until `read` has its whole answer.

        Raises:
            RestError: it failed; the message says what to do.
        """
        if self._access is None or not self._users:
            raise RuntimeError("a client is used inside `async with` only")
        async with self._slots:
            return await with_retries(self._policy, request.about, partial(self._attempt, request, read))

    async def _attempt(self, request: Request, read: Reader[T]) -> T:
        gate = self._access
        assert gate is not None
        access = await gate.token()
        try:
            return await self._send(request, read, access)
        except AccessRefused:
            gate.forget(access)
        access = await gate.token()
        try:
            return await self._send(request, read, access)
        except AccessRefused:
            raise InvalidToken(
                f"Copernica does not let us {request.about}, not even with fresh access (401): "
                f"check {self.token_setting} and {self.url_setting}.",
                HTTPStatus.UNAUTHORIZED,
            ) from None

    async def _send(self, request: Request, read: Reader[T], access: str) -> T:
        try:
            async with self._answer(request, access) as response:
                self._date, self._dated_at = response.headers.get("Date"), time.time()
                # Versions 2 and 3 answer 303 to a change that was made; there is nothing to see over there.
                if 200 <= response.status < 300 or (request.changes and response.status == HTTPStatus.SEE_OTHER):
                    return await _taken(response, request, read)
                if response.status == 401:
                    raise AccessRefused
                explanation = await self._refusal(response, request)
                excused = bool(request.excuse) and request.excuse in explanation.lower()
                if response.status != 400 or not excused:
                    self._raise_refusal(response.status, request, explanation)
                return await read(response)
        except CONNECTION_ERRORS as error:
            connected = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            if connected and not request.repeatable:
                raise _unknown("The connection was lost", request) from None
            raise TemporaryFailure(describe(error)) from None
        except TooLarge:
            raise AnswerTooLarge(
                f"Copernica's answer when asked to {request.about} is far too large: check {self.url_setting}."
            ) from None

    @asynccontextmanager
    async def _answer(self, request: Request, access: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a call, at the end of the redirects that may be followed."""
        url = self._url_of(request)
        params = request.params
        for _ in range(MAX_REDIRECTS + 1):
            async with self._session.request(
                request.method,
                url,
                params=params,
                data=None if request.body is None else orjson.dumps(request.body),
                headers=_headers(request, access),
                proxy=proxy_for(url),  # many servers reach the outside through a proxy only
                timeout=self._policy.for_downloads if request.large else self._policy.for_answers,
                allow_redirects=False,
            ) as response:
                there = None if request.changes else self._redirect(response)
                if there is None:
                    yield response
                    return
            if there.origin() != url.origin() or there.user is not None:
                raise RequestRejected(
                    f"Copernica sends us to another server ({str(there.origin())[:60]!a}) to {request.about}: "
                    f"check {self.url_setting}."
                )
            url, params = there, ()
        raise RequestRejected(
            f"Copernica sends us from one address to the next to {request.about}: check {self.url_setting}."
        )

    def _url_of(self, request: Request) -> URL:
        return url_of(self._api_url, request.path)

    def _redirect(self, response: aiohttp.ClientResponse) -> URL | None:
        """Where an answer sends us; None if nowhere."""
        location = response.headers.get("Location", "")
        if not 300 < response.status < 400 or not location:
            return None
        try:
            there = response.url.join(URL(location))
            return there if there.host else None
        except ValueError:
            return None

    async def _refusal(self, response: aiohttp.ClientResponse, request: Request) -> str:
        """What an answer says that is no success; a temporary one is raised as such."""
        status = response.status
        if is_temporary(status) and (request.repeatable or status in NOT_CARRIED_OUT):
            raise TemporaryFailure(f"status {status}", seconds_to_wait(response.headers.get("Retry-After")))
        return self.explained(message_in(await read_start(response)))

    def _raise_refusal(self, status: int, request: Request, explanation: str) -> NoReturn:
        """Raise what an answer means that is neither a success nor about the access token."""
        about = request.about
        if status == 403:
            raise Forbidden(
                f"Copernica does not let this token {about}{explanation}: give it the right to, or set another "
                f"{self.token_setting}.",
                status,
            )
        if status == 404:
            raise NotFound(
                f"Copernica cannot {about}, because there is no such thing (404){explanation}: if it should be "
                f"there, check {self.url_setting}.",
                status,
            )
        if 300 <= status < 400:
            raise RequestRejected(
                f"Copernica answers with a redirect ({status}) to {about}: check {self.url_setting}.",
                status,
            )
        if status >= 500:
            raise OutcomeUnknown(
                f"Copernica had an error (status {status}) when asked to {about}, and may have done so: check "
                "what is there before you try again.",
                status,
            )
        raise RequestRejected(f"Copernica declines to {about} (status {status}){explanation}.", status)

    def explained(self, text: str) -> str:
        """What a refusal says, as the rest of a sentence: printable, short, and without a token it may repeat."""
        text = self.shown(text).rstrip(".")
        return f", saying: {text}" if text else ""

    def shown(self, text: str) -> str:
        """A text that is fit for a message: printable, on one line, short, without a token of ours."""
        for secret in filter(None, self._secrets()):
            text = text.replace(secret, "***")
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:MAX_MESSAGE]

    def _secrets(self) -> Iterator[str]:
        """What no message may show."""
        yield from (self._token, self._access.current if self._access else "")


async def _taken(response: aiohttp.ClientResponse, request: Request, read: Reader[T]) -> T:
    """What an answer of success says; one that says nothing about a change leaves open whether it was made."""
    try:
        return await read(response)
    except TemporaryFailure as failure:
        if request.repeatable:
            raise
        raise _unknown(f"There was {failure}", request) from None


def _unknown(what: str, request: Request) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"{what} after Copernica was asked to {request.about}, and it may have done so: check what is there "
        "before you try again."
    )


def _headers(request: Request, access: str) -> dict[str, str]:
    # As it is, so that Content-Length is that of the file, and nothing can grow.
    headers = {"Accept-Encoding": "identity"}
    if access:
        headers["Authorization"] = f"Bearer {access}"
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    return headers


def message_in(body: bytes) -> str:
    """The text of a refusal: documented as `{"error": {"message": …}}`; a page of HTML is not a message."""
    try:
        content = orjson.loads(body)
    except ValueError:
        text = body.decode("utf-8", "replace").strip()
        return "" if text.startswith("<") else text
    for name in ("error", "message"):
        if isinstance(content, dict):
            content = content.get(name, content)
    return content if isinstance(content, str) else ""
