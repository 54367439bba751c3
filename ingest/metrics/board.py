"""Memory in which processes of one machine leave their figures for the exporter.

A file without a name, which the parent makes and its children inherit: it needs no folder, and is gone with the
last of them. Each process has a slot of its own, in two halves that it writes in turns, so that one that is killed
while it writes leaves what it had written before. Whoever comes after it finds its figures there, and counts on.
"""

import os
import tempfile
import zlib
from contextlib import suppress
from struct import Struct
from typing import NamedTuple

from ingest.errors import Unavailable

#: Bytes of a half: enough for the figures of hundreds of handlers. Only what is written takes memory.
HALF = 256 * 1024
#: Of each half: a number that grows with each write, the length of what follows, and a checksum of both and it.
_HEAD = Struct("<QII")


class _Half(NamedTuple):
    number: int
    content: bytes


class Board:
    """Some slots."""

    def __init__(self, fd: int) -> None:
        """`fd` is that of `create`, perhaps inherited."""
        self.fd = fd
        self.slots = os.fstat(fd).st_size // (2 * HALF)

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

    def write(self, slot: int, content: bytes) -> bool:
        """Leave this in a slot, which one process writes at a time; False if it does not fit."""
        if len(content) > HALF - _HEAD.size:
            return False
        newest = self._newest(slot)
        number = newest.number + 1 if newest else 1
        os.pwrite(
            self.fd, _HEAD.pack(number, len(content), _checksum(number, content)) + content, _at(slot, number)
        )
        return True

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
