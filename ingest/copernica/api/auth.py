"""Access to Copernica's REST API: an API token is exchanged for a JWT, which is good for a day.

Facts: Copernica's article on authentication in REST v4. The token is sent as a form, `access_token=…`; the answer
is the JWT and nothing else.
"""

import asyncio
import base64
import re
import time
from urllib.parse import urlsplit

import aiohttp
import orjson

from ingest.copernica.api.retry import LOST, TRY_AGAIN, Again, beginning, reason_of, seconds_asked
from ingest.errors import InvalidToken, RequestRejected

#: Seconds that an access token counts as good if it does not tell. Copernica's are good for a day.
DEFAULT_LIFE = 3600.0
#: Seconds before its end at which an access token is had anew; a tenth of its life if that is less.
MARGIN = 300.0
#: What fits in a header behind `Bearer`.
TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")


class Access:
    """Has an access token when one is needed."""

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
        #: Until when it is good, on the monotonic clock.
        self._good_until = 0.0

    async def token(self) -> str:
        """An access token that is good for a while; one exchange at a time, however many calls need it.

        Raises:
            Again: it cannot be had now.
            InvalidToken: it is refused.
            RequestRejected: the answer is none.
        """
        async with self._exchanging:
            if not self.current or time.monotonic() >= self._good_until:
                self.current = await self._exchange()
                life = life_of(self.current, time.time())
                self._good_until = time.monotonic() + life - min(MARGIN, life / 10)
            return self.current

    def forget(self, refused: str) -> None:
        """An access token was refused; nothing is done if another call has seen to it already."""
        if self.current == refused:
            self.current = ""

    async def _exchange(self) -> str:
        host = urlsplit(self._url).hostname
        form = {"access_token": self._token}
        try:
            async with self._session.post(
                self._url, data=form, timeout=self._timeout, allow_redirects=False
            ) as response:
                status = response.status
                if status in TRY_AGAIN or status >= 500:
                    raise Again(f"status {status} at {host}", seconds_asked(response.headers.get("Retry-After")))
                body = await beginning(response)
        except LOST as error:
            raise Again(f"{reason_of(error)} at {host}") from None
        if status in (400, 401, 403):
            raise InvalidToken(f"Copernica does not accept the token (status {status}): check COPERNICA_TOKEN.")
        # Documented as the token and nothing else; quotes would make it JSON, which is understood, too.
        access = body.decode("utf-8", "replace").strip().strip('"').strip()
        if status != 200 or not TOKEN.fullmatch(access):
            raise RequestRejected(
                f"{host} does not answer with a token (status {status}): check COPERNICA_AUTH_URL."
            )
        return access


def life_of(access: str, now: float) -> float:
    """Seconds that a JWT is good for from `now` on, by its own account, which is not verified.

    Its `iat` is preferred to our clock, which may be wrong.
    """
    try:
        payload = access.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        life = float(claims["exp"]) - float(claims.get("iat", now))
    except (ValueError, TypeError, LookupError, AttributeError):
        return DEFAULT_LIFE
    return life if 0 < life <= 366 * 86_400 else DEFAULT_LIFE
