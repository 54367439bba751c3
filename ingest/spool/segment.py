"""One file of the spool: packed batches, each on disk before anyone is told that it is kept.

A segment is named `<ns since 1970>-<sync>-<owner>.spool`; names sort by age, and the owner is the process that
looks after it. Its bytes are

    title      16 bytes  b"ingest spool 1\\n\\n", so that `head` says what it is
    confirmed   8 bytes  everything before this offset is in Redis; updated as the segment is replayed …
    check       8 bytes  … and believed only if this matches
    records     the rest

and a record is

    sync        8 bytes  drawn at random for each segment; a record begins here, whatever became of the last
    events      4 bytes  how many the batch holds
    length      4 bytes  of the batch
    check       8 bytes  over events, length and batch
    batch       the rest, packed, opaque

All integers are big endian. A check is BLAKE2b with the sync mark as its key: stronger than a CRC32C, and in
Python's own library, where it costs a tenth of the fsync that follows. The key matters: without it a sender could
put what looks like a record into a body, and have it read as one where the disk has damaged what surrounds it. The
name holds the sync mark, so no damage to its bytes makes a whole segment unreadable. A later format gets another
suffix, so that this release leaves its files alone.
"""

import errno
import fcntl
import os
import re
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from ingest.batch import Batch

TITLE = b"ingest spool 1\n\n"
SUFFIX = ".spool"
#: Permissions of every file: personal data, for this user only.
MODE = 0o600

_CONFIRMED = struct.Struct(">Q8s")
_RECORD = struct.Struct(">8sII8s")
_COUNTED = struct.Struct(">II")
_NAME = re.compile(r"(\d{19})-([0-9a-f]{16})-([0-9a-z-]+)\.spool")
#: Bytes before the first record.
HEAD = len(TITLE) + _CONFIRMED.size


class Stretch(NamedTuple):
    """A stretch of a segment: an undamaged record, or (without a batch) bytes that are none."""

    start: int
    end: int
    batch: Batch | None
    #: Whether these bytes are the beginning of a record whose end was never written.
    is_torn: bool = False


class SegmentName(NamedTuple):
    """What a segment's name says."""

    created_ns: int
    sync: bytes
    owner: str

    @classmethod
    def new(cls, owner: str) -> "SegmentName":
        """The name of a segment that begins now."""
        return cls(time.time_ns(), os.urandom(8), owner)

    @classmethod
    def parse(cls, name: str) -> "SegmentName | None":
        """Read a file's name; None if it is not a segment's."""
        if (match := _NAME.fullmatch(name)) is None:
            return None
        return cls(int(match[1]), bytes.fromhex(match[2]), match[3])

    def __str__(self) -> str:
        return f"{self.created_ns:019d}-{self.sync.hex()}-{self.owner}{SUFFIX}"


# --- reading ---


def confirmed(data: bytes, sync: bytes) -> int:
    """The offset before which everything is in Redis."""
    if len(data) >= HEAD:
        offset, _ = _CONFIRMED.unpack_from(data, len(TITLE))
        if data[len(TITLE) : HEAD] == _confirmation(sync, offset) and HEAD <= offset <= len(data):
            return int(offset)
    return HEAD


def scan(data: bytes, sync: bytes, start: int = HEAD) -> Iterator[Stretch]:
    """Everything from `start` on, in order and without gaps: each undamaged record, and what lies between them."""
    while start < len(data):
        stretch = _record_at(data, sync, start) or _damage_at(data, sync, start)
        yield stretch
        start = stretch.end


def _record_at(data: bytes, sync: bytes, start: int) -> Stretch | None:
    if not data.startswith(sync, start) or start + _RECORD.size > len(data):
        return None
    _, events, length, check = _RECORD.unpack_from(data, start)
    begin = start + _RECORD.size
    packed = data[begin : begin + length]
    if len(packed) < length or check != _check(sync, _COUNTED.pack(events, length), packed):
        return None
    return Stretch(start, begin + length, Batch(packed, events))


def _damage_at(data: bytes, sync: bytes, start: int) -> Stretch:
    """The bytes up to the next undamaged record: the length of a damaged one may be what is wrong with it."""
    end = start
    while (end := data.find(sync, end + 1)) >= 0:
        if _record_at(data, sync, end):
            return Stretch(start, end, None)
    return Stretch(start, len(data), None, _is_torn(data, sync, start))


def _is_torn(data: bytes, sync: bytes, start: int) -> bool:
    rest = data[start:]
    if len(rest) < _RECORD.size:
        return sync.startswith(rest[: len(sync)])
    return rest.startswith(sync) and start + _RECORD.size + _RECORD.unpack_from(rest)[2] > len(data)


# --- writing ---


def record(sync: bytes, batch: Batch) -> bytes:
    """The bytes of one record."""
    counted = _COUNTED.pack(batch.events, len(batch.packed))
    return b"".join((sync, counted, _check(sync, counted, batch.packed), batch.packed))


def head(sync: bytes, confirmed: int = HEAD) -> bytes:
    """The bytes before the first record."""
    return TITLE + _confirmation(sync, confirmed)


def _check(sync: bytes, counted: bytes, packed: bytes) -> bytes:
    hashed = blake2b(counted, digest_size=8, key=sync)
    hashed.update(packed)
    return hashed.digest()


def _confirmation(sync: bytes, offset: int) -> bytes:
    return _CONFIRMED.pack(offset, blake2b(b"confirmed %d" % offset, digest_size=8, key=sync).digest())


class SegmentWriter:
    """The segment that a process is writing to."""

    def __init__(self, folder: Path, owner: str) -> None:
        """Begin a new one, on disk with its name.

        Raises:
            OSError: the folder does not accept it.
        """
        self.name = SegmentName.new(owner)
        self.path = folder / str(self.name)
        self.size = 0
        self.events = 0
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
        try:
            self._write(head(self.name.sync))
            os.fsync(self._file)
            sync_folder(folder)
        except OSError:
            os.close(self._file)
            self.path.unlink(missing_ok=True)
            raise

    @classmethod
    def written(cls, folder: Path, owner: str, batches: Sequence[Batch]) -> "SegmentWriter":
        """A segment of these batches alone, on disk and closed; nothing is left of one that cannot be written.

        Raises:
            OSError: the folder does not accept it.
        """
        writer = cls(folder, owner)
        try:
            writer.put(batches)
            writer.sync()
        except OSError:
            writer.path.unlink(missing_ok=True)
            raise
        finally:
            writer.close()
        return writer

    def put(self, batches: Sequence[Batch]) -> None:
        """Write batches behind the others; they are safe once `sync` has returned."""
        self._write(b"".join(record(self.name.sync, batch) for batch in batches))

    def sync(self) -> None:
        """Wait until everything that was put is on disk.

        Raises:
            OSError: it is not known what is on disk. Nothing more may be written to this segment, because the
                system may have dropped what it could not write, and not report it the next time. Or the file is
                no longer at its place: somebody has deleted it, or has taken us for dead.
        """
        _to_disk(self._file)
        # After the fsync: whoever takes the file over from now on reads all that is in it.
        if not os.path.samestat(self.path.stat(), os.fstat(self._file)):
            raise FileNotFoundError(errno.ENOENT, "another file is in its place", str(self.path))

    def truncate(self, size: int) -> None:
        """Take back what was written beyond `size`."""
        os.ftruncate(self._file, size)
        self.size = size

    def close(self) -> None:
        """Write no more to it."""
        os.close(self._file)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self.size += len(data)


class Reserve:
    """File descriptors that are kept back, so that a segment can be begun when all others are taken."""

    #: For the segment, and for its folder while its name is brought to disk.
    SIZE = 2

    def __init__(self) -> None:
        self._files: list[int] = []
        self._fill()

    def begin(self, folder: Path, owner: str) -> SegmentWriter:
        """Begin a segment, with what was kept back if need be.

        Raises:
            OSError: the folder does not accept it.
        """
        self._fill()
        try:
            return SegmentWriter(folder, owner)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        self.release()
        return SegmentWriter(folder, owner)

    def release(self) -> None:
        """Keep nothing back any more."""
        while self._files:
            os.close(self._files.pop())

    def _fill(self) -> None:
        with suppress(OSError):
            while len(self._files) < self.SIZE:
                self._files.append(os.open(os.devnull, os.O_RDONLY))


def _to_disk(file: int) -> None:
    if sys.platform == "darwin":  # where an fsync stops at the disk's own memory
        fcntl.fcntl(file, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(file)


def confirm(path: Path, sync: bytes, offset: int) -> None:
    """Note in a segment that everything before `offset` is in Redis.

    Without an fsync: if the machine crashes and this is lost, some batches reach Redis once more, and the delivery
    id keeps their events single.
    """
    with _opened(path, os.O_WRONLY) as file:
        os.pwrite(file, _confirmation(sync, offset), len(TITLE))


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk: a file without its name is lost in a crash."""
    with _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as file:
        os.fsync(file)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags)
    try:
        yield file
    finally:
        os.close(file)
