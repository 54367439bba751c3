"""Memory in which processes of one machine leave their figures for the exporter.

A file without a name, which the parent makes and its children inherit: it needs no folder, and is gone with the
last of them. Each process has a slot of its own, in two halves that it writes in turns, so that one that is killed
while it writes leaves what it had written before. Whoever comes after it finds its figures there, and counts on.
"""

import logging
import os
import tempfile
import time
import zlib
from contextlib import suppress
from struct import Struct
from typing import NamedTuple

from ingest.errors import Unavailable

log = logging.getLogger(__name__)

#: Bytes of a half: enough for the figures of hundreds of handlers. Only what is written takes memory.
HALF = 256 * 1024
#: Of each half: a number that grows with each write, the length of what follows, and a checksum of both and it.
_HEAD = Struct("<QII")
#: Seconds between two warnings that nothing can be left.
SAY_EVERY = 600.0


class _Half(NamedTuple):
    number: int
    content: bytes


class Board:
    """Some slots."""

    def __init__(self, fd: int) -> None:
        """`fd` is that of `create`, perhaps inherited."""
        self.fd = fd
        self.slots = os.fstat(fd).st_size // (2 * HALF)
        self._said_at = float("-inf")

    @classmethod
    def create(cls, slots: int) -> "Board":
        """A board with empty slots; there for as long as a process has it open.

        Raises:
            Unavailable: the system gives neither such memory nor a temporary file.
        """
        try:
            fd = _nameless()
            os.ftruncate(fd, slots * 2 * HALF)
        except OSError as error:
            raise Unavailable(
                f"There is no memory and no temporary file for metrics ({error.strerror}): set TMPDIR to a folder "
                "that can be written, or INGEST_METRICS_PORT=off."
            ) from None
        return cls(fd)

    def close(self) -> None:
        """Have it open here no longer."""
        os.close(self.fd)

    def write(self, slot: int, content: bytes) -> None:
        """Leave this in a slot, which one process writes at a time.

        What cannot be left is no trouble for who counts: what was left before stays, and the log says why.
        """
        if len(content) > HALF - _HEAD.size:
            self._say(f"they take {len(content):,} bytes, and there is room for {HALF - _HEAD.size:,}")
            return
        try:
            newest = self._newest(slot)
            number = newest.number + 1 if newest else 1
            os.pwrite(
                self.fd, _HEAD.pack(number, len(content), _checksum(number, content)) + content, _at(slot, number)
            )
        except OSError as error:  # there may be a file behind it, and no room on its disk
            self._say(error.strerror or type(error).__name__)

    def _say(self, why: str) -> None:
        if time.monotonic() - self._said_at >= SAY_EVERY:
            self._said_at = time.monotonic()
            log.warning("the metrics port shows old figures of this process: new ones cannot be left (%s)", why)

    def read(self, slot: int) -> bytes | None:
        """What was last left there whole; None if nothing was."""
        newest = self._newest(slot)
        return newest.content if newest else None

    def _newest(self, slot: int) -> _Half | None:
        return max(filter(None, (self._half(slot, number) for number in (0, 1))), default=None)

    def _half(self, slot: int, number: int) -> _Half | None:
        begin = _at(slot, number)
        head = os.pread(self.fd, _HEAD.size, begin)
        if len(head) < _HEAD.size:
            return None
        written, length, checksum = _HEAD.unpack(head)
        if not written or length > HALF - _HEAD.size:
            return None
        content = os.pread(self.fd, length, begin + _HEAD.size)
        return _Half(written, content) if checksum == _checksum(written, content) else None


def _nameless() -> int:
    """The descriptor of a file without a name: in memory, where the system has that and allows it."""
    with suppress(AttributeError, OSError):
        return os.memfd_create("ingest-metrics")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _at(slot: int, number: int) -> int:
    return (2 * slot + number % 2) * HALF


def _checksum(number: int, content: bytes) -> int:
    return zlib.crc32(content, number & 0xFFFFFFFF)
