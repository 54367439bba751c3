"""How often and how long Copernica's REST API is tried: time limits, growing pauses, Retry-After.

The pauses are stamina's: they double from one attempt to the next, with up to one first pause added at random so
that many clients do not come back at once. A Retry-After takes their place.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
import stamina
import stamina.instrumentation

from ingest.errors import Unreachable

log = logging.getLogger(__name__)

T = TypeVar("T")

# Where structlog is installed, stamina would print each retry to standard output, into the middle of what is meant
# for other programs.
stamina.instrumentation.set_on_retry_hooks([stamina.instrumentation.LoggingOnRetryHook])


class TemporaryFailure(Exception):
    """The call may succeed later; `retry_after` is the seconds that the answer asked to wait, if it did."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a call is made, and its time limits; all times in seconds."""

    #: Times that a call is made before Copernica counts as unreachable: about half a minute in all.
    attempts: int = 6
    #: The pause after the first attempt; later ones double.
    first_pause: float = 1.0
    #: The longest pause of our own choice.
    max_pause: float = 60.0
    #: The longest pause that a Retry-After may ask for: someone may be waiting at a terminal.
    max_retry_after: float = 300.0
    #: For opening a connection: any network does that within seconds or not at all.
    connect_timeout: float = 10.0
    #: For a short answer to arrive whole.
    answer_timeout: float = 60.0
    #: Between two pieces of a download, and before the first: Copernica may have to create the file first.
    silence_timeout: float = 90.0
    #: For a download with all its attempts; a day of millions of events has gigabytes.
    download_timeout: float = 6 * 3600.0

    @property
    def for_answers(self) -> aiohttp.ClientTimeout:
        """The time limits of a call whose answer is short."""
        return aiohttp.ClientTimeout(total=self.answer_timeout, sock_connect=self.connect_timeout)

    @property
    def for_downloads(self) -> aiohttp.ClientTimeout:
        """The time limits of a download: as long as it needs, while something keeps arriving."""
        return aiohttp.ClientTimeout(total=None, sock_connect=self.connect_timeout, sock_read=self.silence_timeout)

    def backoff(self, error: Exception) -> bool | float:
        """What stamina does after a failure: give up, wait its own pause, or wait this many seconds."""
        if not isinstance(error, TemporaryFailure):
            return False
        return True if error.retry_after is None else min(error.retry_after, self.max_retry_after)


async def with_retries(policy: RetryPolicy, about: str, call: Callable[[], Awaitable[T]]) -> T:
    """Make a call until it does not raise `TemporaryFailure`; `about` completes "Copernica did not …".

    Raises:
        Unreachable: all attempts failed.
    """
    attempts = stamina.retry_context(
        policy.backoff,
        attempts=policy.attempts,
        timeout=None,  # each kind of call has limits of its own
        wait_initial=policy.first_pause,
        wait_max=policy.max_pause,
        wait_jitter=policy.first_pause,
    )
    try:
        async for attempt in attempts:
            with attempt:
                try:
                    return await call()
                except TemporaryFailure as failure:
                    if attempt.num < policy.attempts:
                        answer = policy.backoff(failure)
                        pause = attempt.next_wait if answer is True else answer
                        log.warning("Copernica did not %s: %s; trying again in %.0f s", about, failure, pause)
                    raise
    except TemporaryFailure as failure:
        times = f", tried {policy.attempts} times" if policy.attempts > 1 else ""
        raise Unreachable(f"Copernica did not {about} ({failure}{times}): try again later.") from None
    raise RuntimeError("stamina made no attempt")  # a policy of no attempts
