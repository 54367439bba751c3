"""Access to Copernica's REST API: an API token is exchanged for an access token, a JWT valid for a day.

The facts come from Copernica's article on authentication in REST v4: the API token is sent as a form,
`access_token=…`, and the answer is the JWT and nothing else.
"""

import asyncio
import base64
import re
import time
from urllib.parse import urlsplit

import aiohttp
import orjson
from yarl import URL

from ingest.copernica.api.connection import CONNECTION_ERRORS, describe, read_start
from ingest.copernica.api.proxies import proxy_for
from ingest.copernica.api.retry import TemporaryFailure
from ingest.copernica.api.retry_after import is_temporary, seconds_to_wait
from ingest.copernica.events import DAY
from ingest.errors import InvalidToken, RequestRejected

#: Seconds that an access token counts as valid if it does not say; Copernica's are valid for a day.
DEFAULT_LIFETIME = 3600.0
#: Seconds; a longer lifetime than a year is not believed.
MAX_LIFETIME = 366 * DAY
#: Seconds before its end at which an access token is renewed; a tenth of its lifetime if that is less.
RENEWAL_MARGIN = 300.0
#: What fits into a header after `Bearer`.
TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")


class Access:
    """Gets an access token when one is needed, and keeps it while it is valid."""

    def __init__(
        self, session: aiohttp.ClientSession, token: str, url: str, timeout: aiohttp.ClientTimeout
    ) -> None:
        self._session = session
        self._token = token
        self._url = url
        self._timeout = timeout
        self._exchanging = asyncio.Lock()
        #: The access token; empty if there is none.
        self.current = ""
        #: When it is to be renewed, on the monotonic clock.
        self._renew_at = 0.0

    async def token(self) -> str:
        """An access token that is valid for a while; one exchange at a time, however many calls need it.

        Raises:
            TemporaryFailure: the exchange may work later.
            InvalidToken: Copernica does not accept the API token.
            RequestRejected: the answer is not an access token.
        """
        async with self._exchanging:
            if not self.current or time.monotonic() >= self._renew_at:
                self.current = await self._exchange()
                lifetime = lifetime_of(self.current, time.time())
                self._renew_at = time.monotonic() + lifetime - min(RENEWAL_MARGIN, lifetime / 10)
            return self.current

    def take_over(self, other: "Access") -> None:
        """Go on with the access token that another had, for the same API token."""
        self.current, self._renew_at = other.current, other._renew_at

    def forget(self, refused: str) -> None:
        """Drop an access token that was refused, unless another call has renewed it already."""
        if self.current == refused:
            self.current = ""

    async def _exchange(self) -> str:
        host = urlsplit(self._url).hostname
        form = {"access_token": self._token}
        try:
            async with self._session.post(
                self._url,
                data=form,
                timeout=self._timeout,
                allow_redirects=False,
                proxy=proxy_for(URL(self._url)),
            ) as response:
                status = response.status
                if is_temporary(status):
                    retry_after = seconds_to_wait(response.headers.get("Retry-After"))
                    raise TemporaryFailure(f"status {status} at {host}", retry_after)
                body = await read_start(response)
        except CONNECTION_ERRORS as error:
            raise TemporaryFailure(f"{describe(error)} at {host}") from None
        if status in (400, 401, 403):
            raise InvalidToken(
                f"Copernica does not accept the token (status {status}): check COPERNICA_TOKEN.", status
            )
        # Documented as the token and nothing else; quotes would make it JSON, which is understood as well.
        access = body.decode("utf-8", "replace").strip().strip('"').strip()
        if status != 200 or not TOKEN.fullmatch(access):
            raise RequestRejected(
                f"Copernica ({host}) does not answer with a token (status {status}): check COPERNICA_AUTH_URL.",
                status,
            )
        return access


def lifetime_of(access: str, now: float) -> float:
    """Seconds that a JWT is valid from `now` (Unix seconds) on, by its own account, which is not verified.

    Its `iat` is preferred to our clock, which may be wrong.
    """
    try:
        payload = access.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        lifetime = float(claims["exp"]) - float(claims.get("iat", now))
    except (ValueError, TypeError, LookupError, AttributeError):
        return DEFAULT_LIFETIME
    return lifetime if 0 < lifetime <= MAX_LIFETIME else DEFAULT_LIFETIME
