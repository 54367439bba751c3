"""How one call reaches SMTPeter's API: as to Copernica's (`ingest.copernica.api.transport`), but for the token.

SMTPeter wants its API token in the URL, where logs, messages, tracebacks and tracing libraries look first. So the
URLs that we and aiohttp work with do not have it: it is put into the request's target at the moment in which that
is written to the connection. Nothing can show what is nowhere else. What a server repeats of it, as in the address
of a redirect, is taken out of the answer's head. Redirects are followed on the same server only.
"""

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote

import aiohttp
from aiohttp import RequestInfo
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ingest.copernica.api.request import Request
from ingest.copernica.api.retry import RetryPolicy
from ingest.copernica.api.transport import AccessRefused, Reader, T, Transport
from ingest.errors import InvalidToken

if TYPE_CHECKING:
    from aiohttp.connector import Connection

#: The parameter that is the token, and what is shown in its place.
PARAMETER, HIDDEN = "access_token", "***"


class _Token:
    """An API token that no `repr` shows, so that no list of a frame's variables does either."""

    __slots__ = ("_pattern", "written")

    def __init__(self, token: str) -> None:
        #: As it stands in a URL.
        self.written = quote(token, safe="")
        # Somebody else encodes other characters of it, or all of them twice; PHP's JSON has `\/`.
        spelt = (rf"\\?(?:{re.escape(character)}|%(?:25)*{ord(character):02x})" for character in token)
        self._pattern = re.compile("".join(spelt), re.IGNORECASE)

    def __repr__(self) -> str:
        return HIDDEN

    def hidden_in(self, text: str) -> str:
        """A text without it."""
        return self._pattern.sub(HIDDEN, text)


def _carrying(token: _Token) -> type[aiohttp.ClientRequest]:
    """A kind of request that has a token where it is written to the connection, and in no URL before or after."""

    class Carrying(aiohttp.ClientRequest):
        @property
        def request_info(self) -> RequestInfo:
            public = self.original_url
            return RequestInfo(public, self.method, CIMultiDictProxy(self.headers), public)

        async def send(self, conn: "Connection") -> aiohttp.ClientResponse:
            public = self.url
            joint = "&" if public.raw_query_string else "?"
            self.url = URL(f"{public}{joint}{PARAMETER}={token.written}", encoded=True)
            try:
                return await super().send(conn)
            finally:
                self.url = public

        # What whoever traces requests is told.
        async def _on_headers_request_sent(self, method: str, _url: URL, headers: CIMultiDict[str]) -> None:
            await super()._on_headers_request_sent(method, self.original_url, headers)

        async def _on_chunk_request_sent(self, method: str, _url: URL, chunk: bytes) -> None:
            await super()._on_chunk_request_sent(method, self.original_url, chunk)

    return Carrying


def _hiding(token: _Token) -> type[aiohttp.ClientResponse]:
    """A kind of answer whose head does not have the token, whatever the server repeats in it."""

    class Hiding(aiohttp.ClientResponse):
        async def start(self, connection: "Connection") -> aiohttp.ClientResponse:
            readable = True
            try:
                await super().start(connection)
            except aiohttp.ClientResponseError:  # which quotes what it could not read
                readable = False
            if not readable:
                raise aiohttp.ClientConnectionError("what was answered is no HTTP")
            self.reason = token.hidden_in(self.reason or "")
            headers = [(name, token.hidden_in(value)) for name, value in self._headers.items()]
            self._headers = CIMultiDictProxy(CIMultiDict(headers))
            encoded = ((name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in headers)
            self._raw_headers = tuple(encoded)
            self._cache.pop("headers", None)  # where the base class may have them as they came
            return self

    return Hiding


class TokenInUrl(Transport):
    """Makes calls to SMTPeter's API."""

    token_setting, url_setting = "INGEST_SMTPETER_TOKEN", "INGEST_SMTPETER_URL"

    def __init__(self, token: str, api_url: str, concurrency: int, policy: RetryPolicy) -> None:
        super().__init__("", api_url, "", concurrency, policy)
        self._own = _Token(token)
        self.request_class, self.response_class = _carrying(self._own), _hiding(self._own)

    async def _attempt(self, request: Request, read: Reader[T]) -> T:
        try:
            return await self._send(request, read, "")
        except AccessRefused:
            self._raise_invalid(HTTPStatus.UNAUTHORIZED, "")

    def _url_of(self, request: Request) -> URL:
        return URL(f"{self._api_url.rstrip('/')}{request.path}", encoded=True)  # `client` encodes what needs to be

    def _redirect(self, response: aiohttp.ClientResponse) -> URL | None:
        there = super()._redirect(response)
        return there and there.without_query_params(PARAMETER)

    def _raise_refusal(self, status: int, request: Request, explanation: str) -> NoReturn:
        if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN) and "token" in explanation.lower():
            self._raise_invalid(status, explanation)
        super()._raise_refusal(status, request, explanation)

    def _raise_invalid(self, status: int, explanation: str) -> NoReturn:
        raise InvalidToken(
            f"SMTPeter does not accept the token (status {status:d}){explanation}: check {self.token_setting}.",
            status,
        ) from None

    def explained(self, text: str) -> str:
        """What a refusal says, as the rest of a sentence, without the token in any spelling."""
        return super().explained(self._own.hidden_in(text))
