"""A thread that verifies signatures while the event loop verifies others, where a processor is free for it.

OpenSSL lets go of Python's lock while it calculates. Handing over costs as much as a few verifications, so only
what has come in together in some number is shared, and only while the thread is idle: otherwise the loop does it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ingest import container
from ingest.copernica.signature import Claim
from ingest.errors import CallRejected

log = logging.getLogger(__name__)

#: Calls of one turn of the event loop from which on half of them go to the thread.
SHARED_MIN = 16

#: A claim, and the key that it names.
Keyed = tuple[Claim, RSAPublicKey]


class VerificationThread:
    """One thread, and at most one lot of claims in it."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "verification")
        self.is_idle = True

    def verify(self, claims: Sequence[Keyed], then: Callable[[list[bool]], None]) -> bool:
        """Verify claims, while this is idle; returns False if it cannot be done here.

        `then` is called in the event loop with whether each is proved.
        """
        try:
            future = asyncio.get_running_loop().run_in_executor(self._executor, _proved, claims)
        except RuntimeError:  # no thread could be started
            return False
        self.is_idle = False
        future.add_done_callback(partial(self._done, len(claims), then))
        return True

    def _done(self, count: int, then: Callable[[list[bool]], None], future: "asyncio.Future[list[bool]]") -> None:
        self.is_idle = True
        try:
            proved = future.result()
        except Exception:  # whatever it was: the loop verifies them itself
            log.exception("signatures could not be verified in a thread")
            proved = [False] * count
        then(proved)

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _proved(claims: Sequence[Keyed]) -> list[bool]:
    return [_is_proved(claim, key) for claim, key in claims]


def _is_proved(claim: Claim, key: RSAPublicKey) -> bool:
    try:
        claim.verify(key)
    except CallRejected:
        return False
    return True


def has_free_processor(processes: int) -> bool:
    """Whether this machine, or this container, has a processor that nothing else of ours is likely to need.

    The processes of the endpoint have one each, and Redis and the workers one together. A thread that has none of
    its own would only cost: the lock changes hands for each signature.
    """
    return container.processors() >= processes + 2
