"""How one call reaches Copernica's REST API: an access token, patience, and a sentence for each failure.

A token of the account (COPERNICA_TOKEN) is exchanged for an access token, a JWT that is good for a day and goes
with every call. What comes back decides:

    2xx                          the answer
    401                          the access token is had anew, once, and the call made again
    429, 5xx, cut, silence       waited, longer each time or as long as Retry-After says, and made again
    403, 404, 400 and the rest   the error that says so

A call that must not be made twice is not repeated where it may have been carried out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import NoReturn, Self, TypeVar

import aiohttp
import orjson

from ingest.copernica.api.auth import Access
from ingest.copernica.api.retry import (
    LOST,
    TRY_AGAIN,
    Again,
    Patience,
    beginning,
    patiently,
    reason_of,
    seconds_asked,
)
from ingest.errors import Forbidden, InvalidToken, NotFound, OutcomeUnknown, RequestRejected

T = TypeVar("T")
Take = Callable[[aiohttp.ClientResponse], Awaitable[T]]

#: Statuses that say that nothing was done: after them, even what must not be done twice is tried again.
NOT_DONE = frozenset({429, 503})
#: Characters of a refusal that are shown.
MESSAGE_MAX = 200


@dataclass(frozen=True)
class Request:
    """One call. `about` tells it in messages, as in "Copernica declines to list webhooks"."""

    method: str
    path: str
    about: str
    params: Mapping[str, str] = field(default_factory=dict)
    #: Sent as JSON, if not None.
    body: object = None
    #: Whether making it twice does no harm.
    repeatable: bool = True
    #: Whether the answer may be large: it is then given all the time it needs while pieces of it come in.
    large: bool = False


class _Stale(Exception):
    """The access token was not taken."""


class Transport:
    """Makes calls, some at once; an asynchronous context manager, inside of which it is used."""

    def __init__(self, token: str, api_url: str, auth_url: str, concurrency: int, patience: Patience) -> None:
        self._token = token
        self._api_url = api_url.rstrip("/")
        self._auth_url = auth_url
        self._patience = patience
        self._concurrency = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._session: aiohttp.ClientSession
        self._access: Access

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._concurrency + 1),
            trust_env=True,  # many servers are let out through a proxy only
        )
        self._access = Access(self._session, self._token, self._auth_url, self._patience.short)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def call(self, request: Request, take: Take[T]) -> T:
        """Make a call until `take` has its answer whole; `take` begins anew each time.

        Raises:
            RestError: it came to nothing; the message says what to do.
        """

        async def once() -> T:
            access = await self._access.token()
            try:
                return await self._send(request, take, access)
            except _Stale:
                self._access.forget(access)
            access = await self._access.token()
            try:
                return await self._send(request, take, access)
            except _Stale:
                raise InvalidToken(
                    f"Copernica does not let us {request.about}, not even with fresh access (401): "
                    "check COPERNICA_TOKEN and COPERNICA_API_URL."
                ) from None

        async with self._slots:
            return await patiently(self._patience, request.about, once)

    async def _send(self, request: Request, take: Take[T], access: str) -> T:
        try:
            async with self._session.request(
                request.method,
                self._api_url + request.path,
                params=request.params,
                data=None if request.body is None else orjson.dumps(request.body),
                headers=_headers(request, access),
                timeout=self._patience.long if request.large else self._patience.short,
                allow_redirects=False,
            ) as response:
                if 200 <= response.status < 300:
                    return await take(response)
                if response.status == 401:
                    raise _Stale
                await self._refuse(response, request)
        except LOST as error:
            connected = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            if connected and not request.repeatable:
                raise OutcomeUnknown(
                    f"The connection was lost after Copernica was asked to {request.about}, and it may have done "
                    "so: look what is there before you try again."
                ) from None
            raise Again(reason_of(error)) from None

    async def _refuse(self, response: aiohttp.ClientResponse, request: Request) -> NoReturn:
        """Raise what an answer means that is neither good nor about the access token."""
        status, about = response.status, request.about
        if (status in TRY_AGAIN or status >= 500) and (request.repeatable or status in NOT_DONE):
            raise Again(f"status {status}", seconds_asked(response.headers.get("Retry-After")))
        said = await self._message(response)
        if status == 403:
            raise Forbidden(
                f"Copernica does not let this token {about}{said}: give it the right to, or set another "
                "COPERNICA_TOKEN."
            )
        if status == 404:
            raise NotFound(
                f"Copernica cannot {about}, because there is no such thing (404){said}: if it should be there, "
                "check COPERNICA_API_URL."
            )
        if 300 <= status < 400:
            raise RequestRejected(
                f"Copernica answers with a redirect ({status}) to {about}: check COPERNICA_API_URL."
            )
        if status >= 500:
            raise OutcomeUnknown(
                f"Copernica had an error (status {status}) when asked to {about}, and may have done so: look what "
                "is there before you try again."
            )
        raise RequestRejected(f"Copernica declines to {about} (status {status}){said}.")

    async def _message(self, response: aiohttp.ClientResponse) -> str:
        """What a refusal says, as the rest of a sentence: printable, short, and without a token it may repeat."""
        text = message_in(await beginning(response))
        for secret in (self._token, self._access.current):
            text = text.replace(secret, "***") if secret else text
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split()).rstrip(".")
        return f", it says: {text[:MESSAGE_MAX]}" if text else ""


def _headers(request: Request, access: str) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {access}"}
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    if request.large:
        headers["Accept-Encoding"] = "identity"  # so that Content-Length is that of the file
    return headers


def message_in(body: bytes) -> str:
    """The text of a refusal: documented as `{"error": {"message": …}}`; a page of HTML is no message."""
    try:
        found = orjson.loads(body)
    except ValueError:
        text = body.decode("utf-8", "replace").strip()
        return "" if text.startswith("<") else text
    for name in ("error", "message"):
        if isinstance(found, dict):
            found = found.get(name, found)
    return found if isinstance(found, str) else ""
