"""Has a process of its own look for what may be wrong, now and then: it sends the alerts (`workers.alerts`).

Endpoints and workers both do, so that the death of either is told by the other. A process of its own, because it
needs the database, which an endpoint does not, and because nothing that a receiver of alerts does can then hold up
a call or a job; it ends by itself after some seconds.
"""

import logging
import os
import subprocess
import time
from collections.abc import Callable

import redis

from ingest.processes import PARENT, own_command
from ingest.settings import Settings
from ingest.stream.lookouts import Lookouts

log = logging.getLogger(__name__)

#: Seconds between two questions whose turn it is.
ASK_EVERY = 10.0
#: Seconds for which Redis has to be away before an endpoint says so: a restart takes less.
AWAY_FOR = 60.0
#: Seconds after which what nobody took is tried again, doubled each time, and the longest of these: an hour.
RETRY_AFTER, RETRY_MAX = 60.0, 3600.0

Start = Callable[[list[str]], "subprocess.Popen[bytes]"]


def _start(command: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603  # our own command
        command,
        env=os.environ | {PARENT: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


class Lookout:
    """The part of one endpoint or worker in looking. Where no alerts are asked for, it does nothing."""

    def __init__(
        self,
        settings: Settings,
        client: redis.Redis,
        is_worker: bool,
        speaks: bool = False,
        clock: Callable[[], float] = time.monotonic,
        start: Start = _start,
    ) -> None:
        """Of the processes of an endpoint one `speaks` for all of them when Redis is away."""
        self._is_on = settings.has_alerts
        self._speaks = speaks
        self._lookouts = Lookouts(client)
        self._is_worker = is_worker
        self._clock = clock
        self._start = start
        self._asked_at = float("-inf")
        self._process: subprocess.Popen[bytes] | None = None
        #: When Redis was first seen to be away (monotonic seconds), and whether somebody took the news of it.
        self._away_since: float | None = None
        self._away_told = False
        #: Whether the process under way tells that, or that it is over.
        self._is_telling = False
        #: Attempts that failed, and when to try again.
        self._failures = 0
        self._retry_at = float("-inf")

    def look(self) -> None:
        """Start a look if it is this process's turn; to be called every few seconds while Redis serves.

        Raises:
            redis.RedisError: Redis failed.
        """
        if not self._is_on or self._is_busy() or self._clock() - self._asked_at < ASK_EVERY:
            return
        self._asked_at = self._clock()
        try:
            is_ours = self._lookouts.may_look(self._is_worker)
        except redis.ResponseError:  # it answers, but takes no writes
            self.redis_is_away()
            raise
        self._away_since = None
        if not self._away_told:
            # Nobody knows, so nobody need be told that it is over.
            self._failures, self._retry_at = 0, float("-inf")
        if self._away_told and self._clock() >= self._retry_at:
            self._tell("--redis-serves")
        elif is_ours:
            self._run(*(["--worker"] if self._is_worker else []))

    def redis_is_away(self) -> None:
        """Redis does not serve this endpoint: tell so when that lasts, until somebody takes it.

        To be called every few seconds.
        """
        if not self._is_on or not self._speaks or self._is_busy() or self._away_told:
            return
        now = self._clock()
        if self._away_since is None:
            self._away_since = now
        elif now - self._away_since >= AWAY_FOR and now >= self._retry_at:
            self._tell("--redis-is-away")

    def _tell(self, option: str) -> None:
        """Tell that Redis is away, or that this is over; how that went is seen when the process has ended."""
        self._is_telling = self._run(option)
        if not self._is_telling:
            self._was_told(False)

    def _was_told(self, is_taken: bool) -> None:
        if is_taken:
            self._away_told = not self._away_told
            self._failures, self._retry_at = 0, float("-inf")
        else:
            self._retry_at = self._clock() + min(RETRY_AFTER * 2**self._failures, RETRY_MAX)
            self._failures = min(self._failures + 1, 16)  # longer is RETRY_MAX as well

    def _is_busy(self) -> bool:
        """Whether an earlier look is still going on."""
        if self._process is not None and (code := self._process.poll()) is not None:
            self._process = None
            if self._is_telling:
                self._is_telling = False
                self._was_told(code == 0)
        return self._process is not None

    def _run(self, *options: str) -> bool:
        try:
            self._process = self._start(own_command("alert", "look", *options))
        except OSError as error:
            log.warning("nobody can look for what may be wrong: %s", error)
            return False
        return True
