"""What an error of Redis means for us: is it another server's business, and what is said about it, and how often.

    wrong server    it answers, but is not the one to ask (any more): after a fail-over, or while it starts. The
                    connection is closed, and the next one goes wherever the name in REDIS_URL leads by then
    bad mood        the right one, which does not do this now: full, busy, its disk failed, no permission
    no answer       it is away

In each of them the caller waits and tries again, and nothing that was acknowledged depends on it.
"""

import logging
import re
import time

import redis

#: What a server says that is not the primary, not ready, or does not know our password (any more): by a new
#: connection the next attempt may find the right one. NOREPLICAS is how a primary that was cut off says so.
WRONG_SERVER = (
    "READONLY", "MASTERDOWN", "CLUSTERDOWN", "MOVED", "ASK", "REDIRECT", "UNBLOCKED", "NOREPLICAS", "LOADING",
    "NOAUTH", "WRONGPASS",
)  # fmt: skip  # a list to be read across
# Anywhere in the text: Redis before 7 puts what a script met behind `ERR Error running script …: -READONLY …`, and
# an EXEC that is refused says `EXECABORT Transaction discarded because of: READONLY …`.
_WRONG_SERVER = re.compile(rf"(?:^|[ -])(?:{'|'.join(WRONG_SERVER)})\b")
# The same within a script, as Redis before 7 and since says it.
_DENIED = re.compile(r"(?:^|[ -])NOPERM\b|\bACL failure in script\b")

#: Seconds until the next attempt: at first, since most troubles of Redis are short, and at most, so that work
#: continues soon after a long one.
RETRY_FIRST, RETRY_MOST = 0.5, 5.0


def is_wrong_server(error: BaseException) -> bool:
    """Whether an error says that another server, or the same one by a new connection, should be asked."""
    return isinstance(error, redis.RedisError) and bool(_WRONG_SERVER.search(described(error)))


def is_denied(error: BaseException) -> bool:
    """Whether our user may not do what we need: nothing but a change of its rights helps."""
    if isinstance(error, redis.exceptions.NoPermissionError):
        return True
    return isinstance(error, redis.ResponseError) and bool(_DENIED.search(described(error)))


def described(error: BaseException) -> str:
    """The error as Redis sent it: redis-py takes off the codes that it knows."""
    code, text = getattr(error, "status_code", None), str(error) or type(error).__name__
    return f"{code} {text}" if code and code != "ERR" and not text.startswith(code) else text


class Outage:
    """What a process says about a Redis that fails it: each trouble once when it begins, and once that it is over.

    It also says how long to wait before the next attempt: longer each time.
    """

    def __init__(self, log: logging.Logger, what: str, settle: float = 0.0) -> None:
        """`what` has to wait. Success counts as the end once nothing has failed for `settle` seconds."""
        self._log = log
        self._what = what
        self._settle = settle
        self._said: set[str] = set()
        #: Unix time of the first failure.
        self.began = 0.0
        self._failed_at = 0.0
        #: When an attempt last succeeded (monotonic seconds).
        self.served_at = float("-inf")
        #: Seconds to wait before the next attempt.
        self.pause = 0.0

    @property
    def is_on(self) -> bool:
        """Whether something failed and has not succeeded since."""
        return bool(self._said)

    def failed(self, error: BaseException) -> None:
        """An attempt failed."""
        now = time.monotonic()
        if not self._said:
            self.began, self.pause = time.time(), RETRY_FIRST
        elif now - self._failed_at >= self.pause:  # not one more failure of the same attempt
            self.pause = min(2 * self.pause, RETRY_MOST)
        self._failed_at = now
        kind = type(error).__name__
        if isinstance(error, redis.ResponseError):
            kind = described(error).partition(" ")[0]
        if kind not in self._said:
            self._said.add(kind)
            unknown = None if isinstance(error, redis.RedisError) else error
            self._log.warning(
                "%s, nothing is lost: %s",
                self._what,
                described(error),
                exc_info=unknown,
                extra={"event": "redis-fails"},
            )

    def served(self) -> None:
        """An attempt succeeded."""
        self.served_at = time.monotonic()
        if self._said and time.monotonic() - self._failed_at >= self._settle:
            self._said.clear()
            self._log.info("Redis serves again after %.0f s", time.time() - self.began)
