"""What one process of the endpoint holds in memory, and how what it has used is given back.

One budget for everything that senders can make us hold: what has arrived of a request, calls on their way to Redis
or the spool, and answers that are not fetched. It is counted as the bytes arrive, not as they are announced.
"""

import ctypes
import sys

from ingest.endpoint.limits import MAX_HELD, MAX_PARTIAL

#: What a call counts beside its body: the most that its head and all objects made of it take, in bytes.
CALL_COST = 32 * 1024
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

    __slots__ = ("_most", "partial", "used")

    def __init__(self) -> None:
        self.used = 0
        #: Of these, what belongs to requests that have not arrived wholly, and to answers that are not fetched.
        self.partial = 0
        self._most = 0

    @property
    def has_room(self) -> bool:
        """Whether another call may be taken."""
        return self.used < MAX_HELD

    @property
    def is_crowded(self) -> bool:
        """Whether more than its share is held for requests that have not arrived wholly."""
        return self.partial > MAX_PARTIAL

    def hold(self, size: int) -> None:
        """Count bytes of what has not arrived wholly; negative when they are not held any more."""
        self.used += size
        self.partial += size

    def is_to_be_trimmed(self) -> bool:
        """Whether much was used that is free again since it was last asked; to be called now and then."""
        self._most = max(self._most, self.used)
        if self._most - self.used < TRIM_AFTER or self.used > self._most // 2:
            return False
        self._most = self.used
        return True


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
