"""The first failure of a handler is in the log with its traceback, and each that follows in a line with others."""

import logging

import redis

from ingest.batch import Record
from ingest.stream.keys import Keys
from workers.handlers.registry import GiveUp, TryLater

log = logging.getLogger(__name__)

#: Seconds for which a failure of the same kind is not told in full again, by whatever worker: tracebacks are long,
#: and a target that is away makes thousands of them.
TELL_EVERY = 600


class FirstFailures:
    """Tells in full of the first failure of each kind, in one run of one handler."""

    def __init__(self, client: redis.Redis, handler: str) -> None:
        self._client = client
        self._handler = handler
        self._met: set[str] = set()

    def tell(self, record: Record, attempt: int, error: BaseException) -> None:
        """The handler failed with an error, at its n-th attempt with a call, which may have been one of a batch.

        What it says itself by `GiveUp` and `TryLater` is no fault to be looked for.
        """
        kind = type(error).__name__
        if kind in self._met or isinstance(error, GiveUp | TryLater):
            return
        self._met.add(kind)
        if self._is_first(kind):
            call = record.delivery_id.hex()
            log.error(
                "%s failed with call %s at attempt %d, which is told in full once in %d minutes:",
                self._handler,
                call,
                attempt,
                TELL_EVERY // 60,
                exc_info=error,
                extra={"event": "handler-failed-first", "handler": self._handler, "delivery_id": call},
            )

    def _is_first(self, kind: str) -> bool:
        try:
            return bool(self._client.set(Keys().told(self._handler, kind), 1, nx=True, ex=TELL_EVERY))
        except redis.RedisError:  # full, or gone: better twice than never
            return True
