"""One process's part in the spool: it keeps batches, and gives back what waits.

All work on the disk is done in one thread, so that a slow disk holds up only those who wait for it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar, TypeVarTuple

from ingest import failpoints
from ingest.batch import Batch
from ingest.errors import SpoolFailed
from ingest.spool import segment
from ingest.spool.directory import adopt, holds_only, prepare, require
from ingest.spool.locks import FolderLock, OwnerLock
from ingest.spool.own_segments import OwnSegments
from ingest.spool.reader import Portion, SegmentReader, WaitingSegment, events_in
from ingest.spool.segment import Reserve, SegmentWriter

log = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Bytes after which a segment is full: what a reader holds in memory, and the least that frees disk space again.
SEGMENT_SIZE = 16 * 1024 * 1024
#: Seconds that a disk may take; a caller that has waited longer is told that nothing is certain.
KEEP_TIMEOUT = 5.0
#: Seconds before a segment that could not be read, or that Redis rejected, is tried again.
POSTPONE = 60.0


class Spool(OwnSegments, AbstractAsyncContextManager["Spool"]):
    """One process's part in the folder. An asynchronous context manager: leaving it is `close`."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """`max_bytes` is for all segments in the folder, whoever wrote them.

        Raises:
            Unavailable: the folder cannot be used, which somebody has to mend. One whose disk is full is used as
                soon as there is room, and what lies in it is replayed at once.
        """
        super().__init__()
        #: Why nothing can be kept at present; None if it can, as far as is known.
        self.trouble = require(folder)
        if self.trouble is not None:
            log.warning("%s", self.trouble, extra={"event": "spool-in-trouble"})
        self.folder, self.max_bytes = folder, max_bytes
        #: None while no file can be opened.
        self._lock: OwnerLock | None = None
        self._folder_lock = FolderLock(folder)
        with suppress(OSError):
            self._lock = OwnerLock(folder)
        self._reserve = Reserve()
        self._reader: SegmentReader | None = None
        #: The portion that is on its way to Redis.
        self._given: Portion | None = None
        #: Bytes of segments that other processes look after.
        self._others_bytes = 0
        #: Whether nothing was in the folder but what is ours, when `peek` saw it last.
        self._is_alone = False
        #: Files in the folder that hold what could not be read.
        self.bad = 0
        #: From when to when calls were kept (µs since 1970) that were lost here, for whoever takes it from here.
        self.damages: list[tuple[int, int]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._keeping: asyncio.Future[None] | None = None
        #: Called in the event loop when a write of `keep` has ended, however it did.
        self.on_kept: Callable[[], object] = lambda: None

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop: what waits is there at the next start."""
        await self._in_thread(self._seal)
        self._thread.shutdown(wait=False)
        self._reserve.release()
        if self._lock:
            self._lock.release()
        self._folder_lock.release()

    async def _in_thread(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    # --- how it is ---

    @property
    def is_full(self) -> bool:
        """Whether the folder holds as much as it may."""
        return self.size + self._others_bytes >= self.max_bytes

    @property
    def takes(self) -> bool:
        """Whether it can be expected to keep something."""
        return self.trouble is None and not self.is_full

    # --- keeping ---

    async def keep(self, batches: Sequence[Batch]) -> None:
        """Put batches on disk, all with one fsync.

        Raises:
            SpoolFailed: the spool is full, or the disk failed or took too long; nothing may be acknowledged.
        """
        if self._keeping is not None and not self._keeping.done():
            raise SpoolFailed(f"The spool's disk has not answered for {KEEP_TIMEOUT:.0f} s.")
        self._keeping = asyncio.get_running_loop().run_in_executor(self._thread, self._keep, batches)
        self._keeping.add_done_callback(lambda _: self.on_kept())
        done, _ = await asyncio.wait({self._keeping}, timeout=KEEP_TIMEOUT)
        if not done:
            self._keeping.add_done_callback(lambda late: late.exception())  # no one else will ask for it
            raise self._in_trouble(f"The spool's disk did not answer within {KEEP_TIMEOUT:.0f} s.")
        self._keeping.result()

    def _keep(self, batches: Sequence[Batch]) -> None:
        size = sum(len(batch.packed) for batch in batches)
        if self.size + self._others_bytes + size > self.max_bytes:
            raise SpoolFailed(f"The spool holds as much as it may ({self.max_bytes} bytes, INGEST_SPOOL_MAX).")
        writer, safe = self._writer, self._writer.size if self._writer else 0
        try:
            if writer is None:
                writer = self._writer = self._reserve.begin(self.folder, self._owner())
                safe = writer.size
            if failpoints.armed:
                failpoints.reach("spool-write")
            writer.put(batches)
            if failpoints.armed:
                failpoints.reach("spool-written")
            writer.sync()
        except OSError as error:
            self._abandon(safe)
            raise self._in_trouble(f"The spool could not be written ({error.strerror}).") from None
        self._works()
        if failpoints.armed:
            failpoints.reach("spool-synced")
        writer.events += sum(batch.events for batch in batches)
        if writer.size >= SEGMENT_SIZE:
            self._seal()

    def _owner(self) -> str:
        """The name to write a segment in, by which others see that we are alive; an OSError if there is none."""
        self._lock = self._lock or OwnerLock(self.folder)
        self._lock.ensure()
        return self._lock.owner

    def _in_trouble(self, text: str) -> SpoolFailed:
        """Note that the disk does not work, and say so once; returns the error."""
        if self.trouble is None:
            log.warning("%s", text, extra={"event": "spool-in-trouble"})
        self.trouble = SpoolFailed(text)
        return self.trouble

    def _works(self) -> None:
        """Note that the disk works."""
        if self.trouble is not None:
            log.info("the spool takes calls again")
        self.trouble = None

    def _abandon(self, safe: int) -> None:
        """Write no more to a segment whose disk failed; what was confirmed stays, what was not goes."""
        if (writer := self._writer) is None:
            return
        with suppress(OSError):
            writer.truncate(safe)
        writer.size = safe
        self._seal()

    def _seal(self) -> None:
        """Write no more to the segment; what it holds waits."""
        if (writer := self._writer) is None:
            return
        if writer.events:  # counted as one or the other at each moment: who looks meanwhile finds no empty spool
            self._waiting.append(WaitingSegment(writer.path, writer.name, writer.size, writer.events))
        self._writer = None
        with suppress(OSError):
            writer.close()
        if not writer.events:
            with suppress(OSError):
                writer.path.unlink(missing_ok=True)

    # --- replaying ---

    async def next(self, max_bytes: int, max_batches: int) -> Portion | None:
        """The oldest batches that are not in Redis yet; None if there are none, or none that may be tried now.

        A portion that was not confirmed comes again, whatever the reason.
        """
        return await self._in_thread(self._next_portion, max_bytes, max_batches)

    async def confirm(self, portion: Portion) -> None:
        """A portion is in Redis: do not give it again. A segment that has been replayed wholly is deleted."""
        await self._in_thread(self._confirm, portion)

    async def set_aside(self, portion: Portion) -> None:
        """Redis rejects a portion: move it to a segment of its own, so that it holds up no other.

        Raises:
            OSError: the disk failed; it stays where it is.
        """
        await self._in_thread(self._set_aside, portion)

    def _next_portion(self, max_bytes: int, max_batches: int) -> Portion | None:
        if self._given is not None:
            self._given = self._reader = None  # read again from where it was confirmed
        while reader := self._open_reader():
            portion = reader.portion(max_bytes, max_batches)
            if portion.batches:
                self._given = portion
                return portion
            self._finish(reader)
        return None

    def _open_reader(self) -> SegmentReader | None:
        if self._reader is not None:
            return self._reader
        now = time.monotonic()
        for waiting in sorted(self._waiting, key=lambda one: one.name):
            if waiting.not_before > now:
                continue
            try:
                self._reader = SegmentReader(waiting)
            except OSError as error:
                log.error("the segment %s cannot be read: %s", waiting.path, error)
                self._postpone(waiting)
                continue
            return self._reader
        if self._writer is None or not self._writer.events:
            return None
        self._seal()
        return self._open_reader()

    def _confirm(self, portion: Portion) -> None:
        self._given = None
        waiting = portion.segment
        waiting.events = max(0, waiting.events - portion.events)
        waiting.replayed_to = portion.end
        try:
            segment.confirm(waiting.path, waiting.name.sync, portion.end)
        except FileNotFoundError:  # the process that took it over replays it as well
            log.debug("%s was taken over meanwhile", waiting.path.name)
        except OSError as error:
            self._in_trouble(f"How far the spool was replayed could not be noted ({error.strerror}).")
        if self._reader is not None and self._reader.is_finished:
            self._finish(self._reader)

    def _set_aside(self, portion: Portion) -> None:
        self._reader = None
        writer = SegmentWriter.written(self.folder, self._owner(), portion.batches)
        not_before = time.monotonic() + POSTPONE
        self._waiting.append(WaitingSegment(writer.path, writer.name, writer.size, portion.events, not_before))
        self._confirm(portion)

    def _postpone(self, waiting: WaitingSegment) -> None:
        self._reader = None
        if not waiting.path.exists():
            level = logging.INFO if waiting.is_borrowed else logging.ERROR
            log.log(level, "the segment %s has disappeared, with some %d events", waiting.path, waiting.events)
            self._waiting.remove(waiting)
            if not waiting.is_borrowed:
                self.damages.append((waiting.name.created_ns // 1000, time.time_ns() // 1000))
        waiting.not_before = time.monotonic() + POSTPONE

    def _finish(self, reader: SegmentReader) -> None:
        """Everything that could be read of a segment is in Redis: put the rest aside, and delete it."""
        self._reader = None
        waiting = reader.segment
        try:
            if damaged := reader.put_damage_aside():
                self.bad += damaged
                self.damages.append(reader.written)
            if failpoints.armed:
                failpoints.reach("segment-delete")
            waiting.path.unlink(missing_ok=True)
            segment.sync_folder(self.folder)
            if failpoints.armed:
                failpoints.reach("segment-deleted")
        except OSError as error:
            self._in_trouble(f"{waiting.path}, replayed wholly, cannot be deleted ({error.strerror}).")
            self._postpone(waiting)
            return
        self._waiting.remove(waiting)
        log.info("replayed %s", waiting.path.name)

    # --- looking after the folder ---

    def peek(self) -> None:
        """See whether there is anything in the folder for `tidy`; from any thread, as the disk may be slow."""
        owner = self._lock.owner if self._lock else None
        self._is_alone = owner is not None and holds_only(self.folder, owner)

    @property
    def is_untidy(self) -> bool:
        """Whether `tidy` may find something to do, by what was seen last."""
        return not self._is_alone or self.trouble is not None or bool(self._others_bytes or self.bad)

    async def tidy(self) -> None:
        """Take over what dead processes left, and see how full the folder is; to be called now and then."""
        if self.trouble is not None:
            await self._in_thread(self._try_again)
        for waiting in await self._in_thread(self._adopt):
            # One by one: in between, calls are kept.
            await self._in_thread(self._count, waiting)

    def _try_again(self) -> None:
        """After a failure: while Redis serves, nothing is kept here that would show whether the disk works."""
        try:
            prepare(self.folder)
            self._owner()
        except OSError as error:
            log.debug("the spool still takes nothing: %s", error)
        else:
            self._folder_lock.release()
            self._works()

    def _adopt(self) -> list[WaitingSegment]:
        with suppress(OSError):  # then what can be renamed is, and the rest is borrowed
            self._owner()
        owner = self._lock.owner if self._lock else None
        borrowed = {waiting.path for waiting in self._waiting if waiting.is_borrowed}
        try:
            adoption = adopt(self.folder, owner, borrowed, self._folder_lock.take)
        except OSError as error:
            self._in_trouble(f"The spool folder {self.folder} cannot be read ({error.strerror}).")
            return []
        self._waiting += adoption.segments
        self._others_bytes, self.bad = adoption.others_bytes, adoption.bad_files
        return adoption.segments

    def _count(self, waiting: WaitingSegment) -> None:
        if waiting not in self._waiting:
            return
        try:
            waiting.events = events_in(waiting.path.read_bytes(), waiting.name)
        except OSError as error:
            log.warning("cannot count what is in %s: %s", waiting.path, error)
