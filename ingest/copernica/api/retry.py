"""How long Copernica is waited for, and how often it is asked: deadlines, pauses that grow, Retry-After."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

import aiohttp

from ingest.errors import Unreachable

log = logging.getLogger(__name__)

T = TypeVar("T")

#: What is worth another attempt, when the wire raises it.
LOST = (aiohttp.ClientError, TimeoutError, ConnectionError)
#: Statuses after which it is worth trying again, besides all from 500 up.
TRY_AGAIN = frozenset({408, 425, 429})
#: Bytes that are read of a refusal, or of an access token.
BODY_MAX = 65_536


@dataclass(frozen=True)
class Patience:
    """How long is waited, all in seconds, and how often a call is made."""

    #: Times that a call is made before Copernica counts as unreachable.
    attempts: int = 6
    #: The first pause between two of them; each further one is twice as long, less up to half at random.
    pause: float = 1.0
    longest_pause: float = 60.0
    #: The longest that Retry-After is heeded: somebody may be waiting at a terminal.
    longest_asked: float = 300.0
    #: For a connection to stand, and for a short answer to be whole.
    connect: float = 10.0
    answer: float = 60.0
    #: Between two pieces of a download, its first included: Copernica may have to make the file first.
    silence: float = 90.0
    #: For a download with all its attempts; a day of millions of events has gigabytes.
    download: float = 6 * 3600.0

    @property
    def short(self) -> aiohttp.ClientTimeout:
        """For calls whose answer is short."""
        return aiohttp.ClientTimeout(total=self.answer, sock_connect=self.connect)

    @property
    def long(self) -> aiohttp.ClientTimeout:
        """For downloads: all the time that they need while something comes in."""
        return aiohttp.ClientTimeout(total=None, sock_connect=self.connect, sock_read=self.silence)

    def before(self, attempt: int, asked: float | None) -> float:
        """The pause before an attempt, the second being 2; `asked` is what Retry-After said."""
        if asked is not None:
            return min(asked, self.longest_asked)
        pause = min(self.longest_pause, self.pause * 2.0 ** (attempt - 2))
        return pause * random.uniform(0.5, 1)  # noqa: S311  # so that not all come back at once


class Again(Exception):
    """It may work later; `asked` is what Retry-After said, in seconds."""

    def __init__(self, reason: str, asked: float | None = None) -> None:
        super().__init__(reason)
        self.asked = asked


async def patiently(patience: Patience, about: str, once: Callable[[], Awaitable[T]]) -> T:
    """Do something until it does not raise `Again`.

    Raises:
        Unreachable: it did, every time.
    """
    attempts = patience.attempts
    for attempt in range(1, attempts + 1):
        try:
            return await once()
        except Again as again:
            if attempt == attempts:
                times = "" if attempts == 1 else f", tried {attempts} times"
                raise Unreachable(
                    f"Copernica could not be had to {about} ({again}{times}): try again later."
                ) from None
            pause = patience.before(attempt + 1, again.asked)
            log.warning("asked Copernica to %s: %s; again in %.0f s", about, again, pause)
            await asyncio.sleep(pause)
    raise AssertionError("there is at least one attempt")


def seconds_asked(retry_after: str | None) -> float | None:
    """What a Retry-After says, in seconds from now: it is a number or a date."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def reason_of(error: Exception) -> str:
    """What went wrong on the wire, in some words; aiohttp's own hold addresses and names of classes."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no such host"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "no good certificate"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {error.os_error.strerror or type(error.os_error).__name__}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return "the connection was cut"


async def beginning(response: aiohttp.ClientResponse) -> bytes:
    """The first of a body, which is all of it unless somebody sends what nobody wants."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(BODY_MAX):
        body += chunk
        if len(body) >= BODY_MAX:
            break
    return bytes(body)
