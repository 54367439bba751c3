"""What one process of the endpoint holds in memory, and how what it has used is given back.

One budget for everything that senders can make us hold: what has arrived of a request, calls on their way to Redis
or the spool, and answers that are not fetched. It is counted as the bytes arrive, not as they are announced.
"""

import ctypes
import sys

from ingest.endpoint.limits import BODIES_HELD, MAX_HELD, MEMORY_PARTS

#: What a call counts beside its body: the most that its head and all objects made of it take, in bytes.
CALL_COST = 32 * 1024
#: Bytes that a process takes when it holds nothing, and the one that starts them all; and how often a largest body
#: is in memory while it is written.
OWN, PARENT = 90 * 1024 * 1024, 65 * 1024 * 1024
WRITING = 5
#: Bytes that have to be used and free again before memory is given back to the system.
TRIM_AFTER = 32 * 1024 * 1024

# glibc's malloc.h. Whatever is larger than a usual batch has pages of its own, which go back when it is freed;
# otherwise the threshold grows with the largest body, and one small object keeps all below it.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MMAP_THRESHOLD = 1024 * 1024
_TRIM_THRESHOLD = 16 * 1024 * 1024
_ARENAS = 2


class Memory:
    """Bytes that are held right now; one per process."""

    __slots__ = ("_peak", "most", "partial", "used", "waiting")

    def __init__(self, most: int = MAX_HELD) -> None:
        """`most` may be held, in bytes; see `most_held`."""
        self.most = most
        self.used = 0
        #: Of these, what belongs to requests that have not arrived wholly, and to answers that are not fetched.
        self.partial = 0
        #: Of these, the calls that wait for a key to be looked up.
        self.waiting = 0
        #: The most that was used since memory was given back.
        self._peak = 0

    @property
    def has_room(self) -> bool:
        """Whether another call may be taken."""
        return self.used < self.most

    @property
    def is_crowded(self) -> bool:
        """Whether more than its share is held for requests that have not arrived wholly."""
        return self.partial > self.most // 2

    @property
    def is_settled(self) -> bool:
        """Whether nothing is held, and nothing is left of what was that is worth giving back."""
        return not self.used and self._peak < TRIM_AFTER

    def may_wait(self, size: int) -> bool:
        """Whether another call of so many bytes may wait for a key to be looked up."""
        return self.waiting + size <= self.most // 4

    def hold(self, size: int) -> None:
        """Count bytes of what has not arrived wholly; negative when they are not held any more."""
        self.used += size
        self.partial += size

    def is_to_be_trimmed(self) -> bool:
        """Whether much was used that is free again since it was last asked; to be called now and then."""
        self._peak = max(self._peak, self.used)
        if self._peak - self.used < TRIM_AFTER or self.used > self._peak // 2:
            return False
        self._peak = self.used
        return True


def most_held(processes: int, max_body: int, memory: int | None) -> int:
    """Bytes that each of so many processes may hold, where there is so much memory for all that runs there.

    `max_body` is INGEST_MAX_BODY. In a container of 512 MiB, two processes hold 64 MiB each.
    """
    share = MAX_HELD if memory is None else memory // MEMORY_PARTS // processes
    return max(min(MAX_HELD, share), BODIES_HELD * (max_body + CALL_COST))


def most_taken(processes: int, max_body: int, memory: int | None) -> int:
    """Bytes that the endpoint takes at most, its parent included, with so many processes."""
    each = OWN + most_held(processes, max_body, memory) + WRITING * max_body
    return PARENT + processes * each


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def tune_allocator() -> None:
    """Have what is freed go back to the system soon; to be called before anything large is allocated."""
    if library := _glibc():
        library.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
        library.mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)
        library.mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Give all pages that are free back to the system: some milliseconds, for a thread."""
    if library := _glibc():
        library.malloc_trim(0)
