"""The endpoint's side of the stream: batches are written to Redis or, while it fails, to the spool."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial

import redis

from ingest import batch, failpoints
from ingest.batch import Batch, Record
from ingest.errors import WriteUnconfirmed
from ingest.spool import Spool
from ingest.stream.appends import Stream
from ingest.stream.aside import Aside
from ingest.stream.copies import LOOK_EVERY, Copies
from ingest.stream.detour import Detour
from ingest.stream.lanes import Lane, Lanes
from ingest.stream.writes import Done, Write, WriteTimes, failed, gather, tell

log = logging.getLogger(__name__)

#: Seconds that Redis may take to confirm a write before it goes to the spool. Above what an fsync takes on a bad
#: day; well below what a sender waits.
APPEND_TIMEOUT = 0.5
#: The same where another server takes what it does not: it need not be sure, as calls may be written twice.
OTHERS_TIMEOUT = 0.25
#: The same where there is no spool that could take it instead.
APPEND_PATIENCE = 5.0
#: Writes to Redis that may be on their way at once. Each carries at least as much as those before it together,
#: so the fourth begins when eight times as much has arrived as the first carries.
MOST_WRITES = 4


class Producer:
    """Group commit: while writes are on their way, arriving records gather for the next.

    No timer: an idle endpoint writes at once, a busy one writes big batches by itself. Further writes begin while
    Redis works on the first ones, each once as much has gathered as is on its way: so few of them suffice, and
    calls need not wait for one fsync to end before the next has something to do. Every caller is told the outcome
    of its own batch. With a spool, a batch that Redis does not confirm in time goes there, and those after it do
    not wait for Redis until it is known to serve again: the breaker says which way. What Redis may have got after
    all it gets once more, and the delivery id keeps it single. Of several servers, one that lets a batch wait
    for much longer than another takes is not waited for: the other gets it as well (`ingest.stream.copies`).
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        wake: Callable[[], object],
        spool: Spool | None = None,
        spool_lasts: bool = True,
    ) -> None:
        """`spool_lasts`: whether the spool's disk is still there when this process is replaced by another."""
        self.lanes = Lanes(streams)
        self.aside = Aside(self.lanes, spool, spool_lasts)
        self.copies = Copies(self.lanes)
        #: Where it is noted how long things take, if anybody wants to know.
        self.times: WriteTimes | None = None
        self._wake = wake
        self._waiting: deque[tuple[Record, Done]] = deque()
        #: Whether what waits will be looked at in this turn of the event loop.
        self._looks = False
        #: The next look at servers that may be late, and at what waits behind them.
        self._watching: asyncio.TimerHandle | None = None
        self._detour = Detour(self.aside, self.lanes, self._waiting, self._tell)
        self._tasks: set[asyncio.Task[None]] = set()
        #: Done at the end of the next write, for whoever waits for that.
        self._next_end: asyncio.Future[None] | None = None
        self.batches = 0
        self.events = 0

    def submit(self, record: Record, done: Done) -> None:
        """Keep one record; `done` is called with None once it is confirmed to be safe, or with why it is not."""
        self._waiting.append((record, done))
        if not self._looks:
            self._look()

    async def settle(self) -> None:
        """Wait until nothing is on its way any more."""
        while self._tasks or self._waiting or self.lanes.any_writes:
            if self._looks:
                await asyncio.sleep(0)  # which way it goes is seen in this turn of the event loop
            elif self._tasks:
                await asyncio.wait(self._tasks)
            else:
                if self._next_end is None or self._next_end.done():
                    self._next_end = asyncio.get_running_loop().create_future()
                await self._next_end

    async def close(self) -> None:
        """Wait until nothing is on its way any more, and end the connection."""
        await self.settle()
        for lane in self.lanes:
            await lane.stream.close()

    @property
    def uses_redis(self) -> bool:
        """Whether the next batch goes to Redis."""
        return self.lanes.any_takes

    @property
    def spool(self) -> Spool | None:
        """Where goes what Redis does not take."""
        return self.aside.spool

    @property
    def is_overdue(self) -> bool:
        """Whether Redis has not taken calls for so long that a spool which goes with the process is not enough."""
        return self.aside.is_overdue

    @property
    def spool_takes(self) -> bool:
        """Whether a call that Redis does not take is likely to be kept all the same."""
        return self.aside.takes

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _look(self) -> None:
        """Write what waits; not at once, for what else arrives in this turn of the event loop shares the write."""
        self._looks = True
        asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        """Begin as many writes as may be on their way."""
        self._looks = False
        while self._waiting and self._may_write() and (lane := self.lanes.choose()) is not None:
            self._begin(gather(self._waiting), lane)
        if self._waiting and not self.uses_redis:
            self._go_around()

    def _begin(self, write: Write, lane: Lane) -> None:
        """Send a write on its way to a server."""
        if self.times is not None or self.lanes.are_several:
            write.began = time.monotonic()
        write.lane = lane
        write.fate.lanes.add(lane)
        write.fate.under_way += 1
        lane.begin(write)
        if self.lanes.are_several:
            self.copies.begun(write)
            self._watch()
        if not (lane.stream.is_open and write.size <= batch.MAX_SIZE and self._send(write, lane)):
            self._start(self._append(write, lane))

    def _watch(self) -> None:
        """Look for servers that are late, for as long as anything is on its way."""
        if self._watching is None and self.copies.any_under_way:
            self._watching = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look_for_late)

    def _look_for_late(self) -> None:
        watched, self._watching = self._watching, None
        # If we are late ourselves, answers may have come that we have not seen yet.
        if watched is None or asyncio.get_running_loop().time() - watched.when() < LOOK_EVERY:
            for write, lane in self.copies.due():
                self._begin(write, lane)
        self._watch()
        if self._waiting and not self._looks:
            self._write()

    def _go_around(self) -> None:
        if (work := self._detour.begin(self._write)) is not None:
            self._start(work)

    def _may_write(self) -> bool:
        """Whether one more write to Redis may begin.

        With several servers as with one, so that there are as few writes and each carries as much.
        """
        writes, records, size = self.lanes.on_their_way()
        return not writes or (
            writes < MOST_WRITES
            and len(self._waiting) >= records
            and size + self._waiting[0][0].size <= batch.MAX_SIZE
            and self.lanes.any_open
        )

    # --- to Redis: the short way, by callbacks over the open connection …

    def _send(self, write: Write, lane: Lane) -> bool:
        """Send a write on its way; False if it must go the long one."""
        if write.tries:  # it is packed
            if len(write.batches) != 1:
                return False
        else:
            try:
                write.pack()
            except Exception:
                return False  # there it is found out whose fault that is
        try:
            write.reach()
            lane.stream.send(write.batches[0], self._patience(write, lane), partial(self._answered, write, lane))
        except Exception as error:  # whatever it was: the callers must be told
            self._over(write, lane, failed(error), is_ours=True)
        return True

    def _answered(self, write: Write, lane: Lane, said: bool | WriteUnconfirmed | None) -> None:
        if said is None:
            self._start(self._append(write, lane))
        elif isinstance(said, WriteUnconfirmed):
            self._over(write, lane, said)
        else:
            try:
                self._appended(write.batches, said, write.fate.is_told)
            except Exception as error:  # whatever it was: the callers must be told
                self._over(write, lane, failed(error), is_ours=True)
            else:
                self._over(write, lane, None)

    # --- … and the long way, for the first one, large ones, and after a refusal ---

    async def _append(self, write: Write, lane: Lane) -> None:
        try:
            if not write.batches:
                await write.pack_somehow()
                write.reach()
            if write.batches:
                woken = await lane.stream.append(write.batches, self._patience(write, lane))
                self._appended(write.batches, woken, write.fate.is_told)
        except WriteUnconfirmed as error:
            self._over(write, lane, error)
        except Exception as error:  # whatever it was: the callers must be told
            self._over(write, lane, failed(error), is_ours=True)
        else:
            self._over(write, lane, None)

    def _patience(self, write: Write, lane: Lane) -> float:
        """Seconds that a server has to confirm a write."""
        if write.size <= batch.MAX_SIZE and self.lanes.others_take(lane):
            return OTHERS_TIMEOUT
        return APPEND_TIMEOUT if self.spool_takes else APPEND_PATIENCE

    def _over(self, write: Write, lane: Lane, refusal: WriteUnconfirmed | None, is_ours: bool = False) -> None:
        """A write has come to its end; whether it is our own fault that it was refused."""
        lane.end(write, refusal is None, self.lanes.are_several)
        if self.times is not None:
            self.times.written(write, refusal is None)
        fate = write.fate
        fate.under_way -= 1
        self.copies.ended(write)
        if refusal is not None and (fate.is_told or fate.under_way):
            # Another server has it, or may yet say so.
            if not is_ours and self._is_to_go_around(lane, refusal):
                self.lanes.trip(lane, refusal)
        elif not fate.is_told and (refusal is None or is_ours or not self._goes_elsewhere(write, lane, refusal)):
            self._tell(write, refusal)
        if self._waiting and not self._looks:
            self._look()
        if self._next_end is not None and not self._next_end.done():
            self._next_end.set_result(None)

    def _goes_elsewhere(self, write: Write, lane: Lane, refusal: WriteUnconfirmed) -> bool:
        """Have a write that a server did not confirm go to another, or to the spool; False if there is none.

        Where it went may have it all the same: the delivery ids keep it single.
        """
        others_take = self.lanes.others_take(lane)
        takes_none = bool(refusal.state)  # it serves, and said so
        is_last = self.lanes.are_several and not others_take and lane.takes and not takes_none
        if is_last and write.tries <= len(self.lanes):
            # The last that takes calls, which was given less time while there were others.
            write.tries = len(self.lanes) + 1
            self._begin(write, lane)
            return True
        if not self._is_to_go_around(lane, refusal):
            return False
        self.lanes.trip(lane, refusal)
        write.tries += 1
        another = self.lanes.choose() if write.tries < len(self.lanes) else None
        if another is not None:
            self._begin(write, another)
        elif self.spool is not None:
            self._detour.add(write)
            self._go_around()
        else:
            return False
        return True

    def _is_to_go_around(self, lane: Lane, refusal: WriteUnconfirmed) -> bool:
        """Whether calls are to go around a server that refused: not without a place to go to."""
        return self.spool is not None or self.lanes.others_take(lane) or bool(refusal.state)

    def _tell(self, write: Write, refusal: WriteUnconfirmed | None) -> None:
        """Tell those whose calls are in a write what became of it."""
        write.fate.is_told = True
        if self.times is not None and refusal is None:
            self.times.safe(write)
        tell(write.owners, refusal)

    async def append(self, batches: Sequence[Batch], seconds: float) -> None:
        """Put batches into a stream and wake a worker for them; a server that does not take them is left out.

        Raises:
            WriteUnconfirmed: it is not certain that they are there, on any server.
        """
        while (lane := self.lanes.choose()) is not None:
            try:
                woken = await lane.stream.append(batches, seconds)
            except WriteUnconfirmed as error:
                self.lanes.trip(lane, error)
                if not self.uses_redis:
                    raise
            else:
                self._appended(batches, woken)
                return
        raise WriteUnconfirmed(self.lanes.why)

    def _appended(self, batches: Sequence[Batch], woken: bool, again: bool = False) -> None:
        """Batches are in the stream of a server; `again`: and in that of another, where they were counted."""
        if failpoints.armed:
            failpoints.reach("redis-written")
        if not again:
            self.batches += len(batches)
            self.events += sum(one.events for one in batches)
        if woken:
            self._start(asyncio.to_thread(self._enqueue))

    def _enqueue(self) -> None:
        try:
            self._wake()
        except Exception as error:
            # The batch is safe; the sweep wakes the workers once the wake key has expired.
            unknown = None if isinstance(error, redis.RedisError) else error
            log.warning("could not wake the workers: %s", error, exc_info=unknown)
