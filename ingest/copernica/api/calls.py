"""The calls of the public client: get, post, put, delete, and lists page by page; and what SMTPeter's is, too.

How a call gets there, and what becomes of failures, is in `ingest.copernica.api.transport`.
"""

import logging
from collections.abc import AsyncIterator
from datetime import date
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from ingest.copernica.api import API_URL, AUTH_URL
from ingest.copernica.api.answers import Declined, NotJson, read_content, read_created, read_rows
from ingest.copernica.api.paging import PAGE_SIZE, Reading, Row, Unsettled, row
from ingest.copernica.api.request import Params, Request, params_of
from ingest.copernica.api.retry import RetryPolicy
from ingest.copernica.api.transport import Reader, Transport
from ingest.errors import NotFound, RequestRejected, Unreachable

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Calls made at once by one client: enough to hide the network, far from what Copernica limits.
CONCURRENCY = 4


class HasAccess(Protocol):
    """What gives access to an account: the program's settings do."""

    @property
    def token(self) -> str:
        """The API token."""

    @property
    def copernica_api_url(self) -> str:
        """Where the API is."""

    @property
    def copernica_auth_url(self) -> str:
        """Where the token is exchanged for access."""


class Caller:
    """What the clients of both APIs, Copernica's and SMTPeter's, have in common; an asynchronous context manager.

    One client may be entered again and again, by several tasks at once or in one event loop after another: those
    inside share its connections, and access, which is valid for a day, is gained once.
    """

    def __init__(self, transport: Transport, policy: RetryPolicy) -> None:
        self._transport = transport
        self._policy = policy

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    @property
    def today(self) -> date | None:
        """Today's date in UTC by Copernica's clock; None before its first answer, or if that does not tell."""
        return self._transport.today

    @property
    def clock_offset(self) -> float | None:
        """Seconds by which Copernica's clock is ahead of ours; None before its first answer."""
        return self._transport.clock_offset

    async def _read(self, request: Request, read: Reader[T]) -> T:
        try:
            return await self._transport.call(request, read)
        except NotJson:
            raise self._unexpected(request.about) from None
        except Declined as declined:
            said = self._transport.explained(str(declined))
            raise RequestRejected(f"Copernica declines to {request.about}{said}.") from None

    def _unexpected(self, about: str) -> RequestRejected:
        return unexpected_answer(about, self._transport.url_setting)


class Calls(Caller):
    """Calls to the API, for whoever knows its paths."""

    def __init__(
        self,
        token: str,
        api_url: str = API_URL,
        auth_url: str = AUTH_URL,
        concurrency: int = CONCURRENCY,
        policy: RetryPolicy | None = None,
    ) -> None:
        """`token` is an API token of the account, exchanged at `auth_url` for access to `api_url`.

        `concurrency` is how many calls are made at once, `policy` how often a call is tried and how long it waits.
        """
        policy = policy or RetryPolicy()
        super().__init__(Transport(token, api_url, auth_url, concurrency, policy), policy)

    @classmethod
    def with_settings(cls, settings: HasAccess, policy: RetryPolicy | None = None) -> Self:
        """A client of the account that the program's settings name.

        Raises:
            SettingsError: COPERNICA_TOKEN is not set.
        """
        return cls(settings.token, settings.copernica_api_url, settings.copernica_auth_url, policy=policy)

    async def get(self, path: str, params: Params | None = None, about: str = "") -> Any:
        """What Copernica answers to a question, read from its JSON.

        `path` is below the API's URL and taken literally: `/profile/12`. `about` describes the call in messages,
        as in "Copernica declines to `list webhooks`".
        """
        request = Request("GET", path, about or self._about("answer GET", path), params_of(params))
        return await self._read(request, read_content)

    async def get_if_there(self, path: str, params: Params | None = None, about: str = "") -> Any:
        """The same; None if Copernica says that there is no such thing, by a 404 or, which it does more, a 400."""
        try:
            return await self.get(path, params, about)
        except (NotFound, RequestRejected) as refusal:
            if refusal.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND):
                return None
            raise

    async def post(self, path: str, body: object = None, params: Params | None = None, about: str = "") -> str:
        """Create something from `body`, sent as JSON, and return its ID; empty if Copernica does not name it.

        Raises:
            OutcomeUnknown: no answer came, and it may be there: it is not tried again.
        """
        request = Request(
            "POST", path, about or self._about("carry out POST", path), params_of(params), body, repeatable=False
        )
        return await self._read(request, read_created)

    async def put(self, path: str, body: object = None, params: Params | None = None, about: str = "") -> str:
        """Change something to what `body` says, sent as JSON, and return the ID that Copernica names, if it does.

        It is tried again where it may have been done: twice is as good as once.
        """
        request = Request("PUT", path, about or self._about("carry out PUT", path), params_of(params), body)
        return await self._read(request, read_created)

    async def delete(self, path: str, params: Params | None = None, about: str = "") -> None:
        """Delete something. What is deleted already is as it should be."""
        request = Request(
            "DELETE",
            path,
            about or self._about("carry out DELETE", path),
            params_of(params),
            excuse="already been removed",
        )
        await self._read(request, read_created)

    async def pages(
        self, path: str, params: Params | None = None, limit: int = PAGE_SIZE, about: str = ""
    ) -> AsyncIterator[dict[str, Any]]:
        """Everything in a list that comes in pages, such as `/database/1/profiles`, one entry after the other.

        `limit` is how many come with one request, at most 1000. What was there from beginning to end comes once;
        what is added or removed meanwhile may not come, and what moves far may come twice.

        Raises:
            Unreachable: it changes too fast or does not come to an end; what came until then is right.
        """
        async for rows in self.pages_of(path, params, limit, about):
            for entry in rows:
                yield entry

    async def pages_of(
        self, path: str, params: Params | None = None, limit: int = PAGE_SIZE, about: str = ""
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """The same, page by page."""
        what = about or self._about("answer GET", path)
        reading = Reading(partial(self._rows, path, params, limit, what), limit)
        try:
            async for rows in reading.pages():
                entries = [entry.value for entry in rows if isinstance(entry.value, dict)]
                if others := len(rows) - len(entries):
                    log.warning("Copernica was asked to %s, and %d entries are no objects", what, others)
                yield entries
        except Unsettled:
            raise Unreachable(
                f"Copernica was asked to {what}, and the list changes or repeats itself without coming to an end: "
                "try again later."
            ) from None

    async def page(self, path: str, params: Params | None, start: int, limit: int, about: str) -> list[Any]:
        """One page of a list: at most `limit` entries from `start` on, as they are.

        A short page need not be the last one: see `ingest.copernica.api.paging`.

        Raises:
            AnswerTooLarge: fewer have to be requested at once.
        """
        asked = {**(params or {}), "start": start, "limit": limit, "total": False}
        return await self._read(Request("GET", path, about, params_of(asked)), read_rows)

    def _about(self, doing: str, path: str) -> str:
        return f"{doing} {self._transport.shown(path)}"

    async def _rows(self, path: str, params: Params | None, limit: int, about: str, start: int) -> list[Row]:
        return [row(entry) for entry in await self.page(path, params, start, limit, about)]


def unexpected_answer(about: str, url_setting: str = Transport.url_setting) -> RequestRejected:
    """The error for an answer that is not what the documentation says."""
    return RequestRejected(f"Copernica gives an unexpected answer when asked to {about}: check {url_setting}.")
