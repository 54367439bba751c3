"""Watches the server of rq's queues, and drains without jobs while it is away and other stream servers are not.

rq waits for its server for as long as that takes, and for minutes before it sees that a server hangs: the machine
is frozen, or the network swallows everything. What waits on the other stream servers is not to wait for that. So a
thread asks the server every two seconds, over a connection of its own:

    it answers                     jobs are had from rq, nothing to do here
    no answer for `AWAY_AFTER`,    a drain of the other servers runs beside rq's loop, and asks this one nothing
    at the end of an attempt
    it answers again               handlers are told that there may be something; the drain ends once rq's loop has
                                   its server as well

A server that is slow is never called away as long as each answer comes within the time that everything here allows
(`redis_client.ANSWER_TIMEOUT`). A wrong guess costs a process for some seconds, no more: drains share work.
"""

import logging
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import redis

from ingest import partitions, redis_client
from ingest.jobs import EVENTS_QUEUE, JobScheduler
from ingest.processes import Child, own_command
from ingest.redis_errors import described
from ingest.settings import Settings
from ingest.stream.pauses import QUEUE, Pauses
from workers.metrics import figures
from workers.process.patience import redis_outage

log = logging.getLogger(__name__)

#: Seconds between two questions.
ASK_EVERY = 2.0
#: Seconds without an answer after which the server is away: longer than a restart, and than one attempt takes.
AWAY_AFTER = 8.0
#: Seconds for which the drain goes on at most once the server is back: rq's loop may be busy with a long job.
RETURN_GRACE = 30.0
#: Seconds that the drain has to end when the worker does: hosts kill after 10.
END_PATIENCE = 3.0


class Silence:
    """For how long a server has not answered. Times are monotonic seconds."""

    def __init__(self, now: float, is_away: bool = False) -> None:
        self.is_away = is_away
        #: When it last answered; when it came back.
        self._answered_at = now
        self.returned_at = now

    def answered(self, now: float) -> bool:
        """It answered; whether it was away until then."""
        was_away, self.is_away, self._answered_at = self.is_away, False, now
        if was_away:
            self.returned_at = now
        return was_away

    def failed(self, now: float) -> bool:
        """An attempt came to nothing; whether that makes it away, which it was not."""
        if self.is_away or now - self._answered_at < AWAY_AFTER:
            return False
        self.is_away = True
        return True


class QueuesWatch:
    """The thread, and the drain that it starts."""

    def __init__(self, settings: Settings, is_away: bool = False) -> None:
        """`is_away`: the server did not answer a moment ago."""
        self._settings = settings
        self._silence = Silence(time.monotonic(), is_away)
        self._is_paused = False
        #: Whether handlers are to be told, and drains woken, when that is possible.
        self._owes_news = False
        self._drain: Child | None = None
        self._over = threading.Event()
        self._starting = threading.Lock()

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._watch, name="queues-watch", daemon=True).start()

    def end(self) -> None:
        """Watch no longer, and end the drain: what it has not stored yet is another drain's."""
        self._over.set()
        self._end_drain()

    def _watch(self) -> None:
        with redis_client.connect(self._settings.redis) as client:
            while not self._over.is_set():
                try:
                    self._look(client)
                except Exception:  # a worker whose watch has ended would not be noticed until the next outage
                    log.exception("a look at the server of the queues broke off")
                self._over.wait(ASK_EVERY)

    def _look(self, client: redis.Redis) -> None:
        error = self._ask(client)
        now = time.monotonic()
        if error is None:
            if self._silence.answered(now):
                log.info("the server of the queues answers again", extra={"event": "queues-back"})
        elif self._silence.failed(now):
            log.warning(
                "the server of the queues is away, and the other stream servers are drained without jobs: %s",
                described(error),
                extra={"event": "queues-away"},
            )
        if self._silence.is_away:
            self._drain_beside()
        else:
            self._settle(client, now)

    def _ask(self, client: redis.Redis) -> redis.RedisError | None:
        """What speaks against an answer; also learns whether somebody has paused the queue."""
        try:
            self._is_paused = Pauses(client).of(QUEUE + EVENTS_QUEUE) is not None
        except redis.ResponseError as error:  # whatever it refuses: it answers
            log.debug("not known whether the queue is paused: %s", error)
        except redis.RedisError as error:
            return error
        return None

    def _drain_beside(self) -> None:
        """See to it that the drain runs, unless draining was paused when the server last answered."""
        with self._starting:
            if self._over.is_set() or self._is_paused:
                return
            self._owes_news = True
            if self._drain is None:
                board = figures.board
                shared = [] if board is None else ["--board", str(board.fd)]
                argv = own_command("drain", "--without-queues", *shared)
                self._drain = Child("drain", argv, pass_fds=[] if board is None else [board.fd])
                self._drain.start()
            elif said := self._drain.check():
                log.warning("%s", said)

    def _end_drain(self) -> None:
        """Ask the drain to end, and give it a moment for that."""
        with self._starting:
            drain, self._drain = self._drain, None
            if drain is not None and drain.process is not None:
                drain.terminate()
                with suppress(subprocess.TimeoutExpired):
                    drain.process.wait(END_PATIENCE)

    def _settle(self, client: redis.Redis, now: float) -> None:
        """The server answers: tell what could not be told, and end the drain when rq's loop is there again."""
        if self._owes_news:
            try:
                self._tell(client)
            except redis.RedisError as error:
                log.debug("told at the next look: %s", error)
                return
            self._owes_news = False
        since = self._silence.returned_at
        if redis_outage.served_at > since or now - since > RETURN_GRACE:
            self._end_drain()

    def _tell(self, client: redis.Redis) -> None:
        with partitions.opened(self._settings, client) as streams:
            scheduler = JobScheduler(client, streams)
            if self._settings.has_handlers:
                scheduler.note_handoffs(True)
                scheduler.hand_on()
            scheduler.note_stored()
            scheduler.wake_drain()


@contextmanager
def watching(settings: Settings, queue_name: str, is_away: bool) -> Iterator[None]:
    """In this block the server of the queues is watched, if this worker has other stream servers to drain."""
    if queue_name != EVENTS_QUEUE or len(settings.stream_servers) == 1:
        yield
        return
    watch = QueuesWatch(settings, is_away)
    watch.start()
    try:
        yield
    finally:
        watch.end()
