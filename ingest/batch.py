"""The packed format of one stream entry: many calls, one compressed block.

A packed batch is

    version   1 byte    1
    crc32     4 bytes   over everything that follows
    count     4 bytes   number of records
    size      4 bytes   of the records before compression
    frame     the rest  one zstd frame (level 1) holding the records

and a record, inside the frame, is a fixed head followed by its variable parts:

    delivery id   12 bytes
    received      8 bytes   µs since 1970, UTC
    flags         1 byte    see `UNVERIFIED`
    lengths       2, 2, 4 and 4 bytes: of target, content type, headers, body
    target, content type, headers, body

All integers are big endian. Nothing in here knows what the bytes mean.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import zstandard

from ingest.errors import BatchError

VERSION = 1
#: Flag of a record whose sender is not known to be Copernica yet; its headers are there to find out.
UNVERIFIED = 1
#: Flag of a record that no call brought: it was made from a line of a log file.
FROM_LOGFILE = 2
#: Bytes of a delivery id: 4 of time, 8 that tell equal seconds apart.
DELIVERY_ID_SIZE = 12
#: Records in one batch, at most. More than 512 hardly compress better, and a batch is the unit of redoing.
MAX_RECORDS = 512
#: Bytes of records in one batch, before compression; a single larger record is a batch of its own.
MAX_SIZE = 1024 * 1024
#: What `unpack` will ever allocate for one batch, in bytes: a largest body with everything around it, and room.
MAX_UNPACKED = 128 * 1024 * 1024
#: Bytes of the longest target and content type, and of headers and body, that a record's lengths can say.
MAX_TARGET = MAX_CONTENT_TYPE = 2**16 - 1
MAX_HEADERS = MAX_BODY = 2**32 - 1
#: zstd's fastest regular level: level 3 saves a further 4 % here and costs half the speed.
LEVEL = 1

_HEAD = struct.Struct(">BIII")
_RECORD = struct.Struct(">12sQBHHII")
_CHECKED_FROM = 5  # the checksum covers all but the version and itself

_new_compressor = partial(zstandard.ZstdCompressor, level=LEVEL, write_content_size=True)
_compressor = _new_compressor()
_decompressor = zstandard.ZstdDecompressor()


class Record(NamedTuple):
    """One call as it came in, in bytes; nothing is interpreted.

    `received_at` is µs since 1970 (UTC), `target` the path and query exactly as on the request line, and
    `headers` whatever of the header block is still needed later (empty: nothing).
    """

    delivery_id: bytes
    received_at: int
    target: bytes
    content_type: bytes
    body: bytes
    headers: bytes = b""
    flags: int = 0

    @property
    def size(self) -> int:
        """Bytes that this record takes in a batch before compression."""
        return _RECORD.size + len(self.target) + len(self.content_type) + len(self.headers) + len(self.body)


class Batch(NamedTuple):
    """Records as `pack` makes them, and how many there are."""

    packed: bytes
    events: int


def chunks(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Records in portions that make one batch each."""
    chunk: list[Record] = []
    size = 0
    for record in records:
        if chunk and (len(chunk) == MAX_RECORDS or size + record.size > MAX_SIZE):
            yield chunk
            chunk, size = [], 0
        chunk.append(record)
        size += record.size
    if chunk:
        yield chunk


def pack(records: Sequence[Record]) -> bytes:
    """Turn records into the bytes of one stream entry.

    Raises:
        BatchError: a field is longer than the format can say, or `unpack` would refuse what comes of it.
    """
    parts: list[bytes] = []
    try:
        for delivery_id, received_at, target, content_type, body, headers, flags in records:
            lengths = len(target), len(content_type), len(headers), len(body)
            parts += (_RECORD.pack(delivery_id, received_at, flags, *lengths), target, content_type, headers, body)
    except struct.error as error:
        raise BatchError(f"A record does not fit into the format ({error}).") from None
    plain = b"".join(parts)
    if len(plain) > MAX_UNPACKED or len(records) > MAX_RECORDS:
        raise BatchError(f"{len(records)} records of {len(plain)} bytes are more than one batch may hold.")
    # A large record may be packed in a thread, and a compressor is for one at a time.
    compressor = _compressor if len(plain) <= MAX_SIZE else _new_compressor()
    frame = compressor.compress(plain)
    checked = _HEAD.pack(VERSION, 0, len(records), len(plain))[_CHECKED_FROM:] + frame
    return struct.pack(">BI", VERSION, zlib.crc32(checked)) + checked


def unpack(packed: bytes) -> list[Record]:
    """Turn the bytes of one stream entry back into its records.

    Raises:
        BatchError: the bytes are not what `pack` makes. At most `MAX_UNPACKED` bytes are allocated to find out.
    """
    if len(packed) < _HEAD.size:
        raise BatchError("The batch is cut off before its end.")
    version, crc, count, size = _HEAD.unpack_from(packed)
    if version != VERSION:
        raise BatchError(f"The batch has format version {version}; this program knows version {VERSION}.")
    if count > MAX_RECORDS:  # records may be tiny: their number bounds the memory that their size does not
        raise BatchError(f"The batch announces {count} records; no batch has more than {MAX_RECORDS}.")
    if zlib.crc32(memoryview(packed)[_CHECKED_FROM:]) != crc:
        raise BatchError("The batch is damaged: its checksum does not match.")
    return _records(_decompress(packed[_HEAD.size :], size), count)


def _decompress(frame: bytes, size: int) -> bytes:
    try:
        # zstd allocates what the frame itself announces, so that is what must be judged.
        announced = zstandard.frame_content_size(frame)
        if announced != size or size > MAX_UNPACKED:
            raise BatchError(f"The batch announces {announced} bytes where {size} were packed.")
        plain = _decompressor.decompress(frame, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BatchError("The batch does not decompress.") from error
    if len(plain) != size:
        raise BatchError("The batch decompresses to another size than was packed.")
    return plain


def _records(plain: bytes, count: int) -> list[Record]:
    records = []
    at, end = 0, len(plain)
    for _ in range(count):
        if at + _RECORD.size > end:
            raise BatchError("The batch holds fewer records than it says.")
        delivery_id, received_at, flags, *lengths = _RECORD.unpack_from(plain, at)
        a = at + _RECORD.size
        b = a + lengths[0]
        c = b + lengths[1]
        d = c + lengths[2]
        at = d + lengths[3]
        records.append(Record(delivery_id, received_at, plain[a:b], plain[b:c], plain[d:at], plain[c:d], flags))
    if at != end:
        raise BatchError("The batch's records do not add up to its size.")
    return records
