"""The packed format of one stream entry: many calls, one compressed block.

A packed batch is

    version   1 byte    1, or 2 if its frame needs a dictionary
    crc32     4 bytes   over everything that follows
    count     4 bytes   number of records
    size      4 bytes   of the records before compression
    frame     the rest  one zstd frame (level 1) holding the records; it names its dictionary by number

and a record, inside the frame, is a fixed head followed by its variable parts:

    delivery id   12 bytes
    received      8 bytes   µs since 1970, UTC
    flags         1 byte    see `UNVERIFIED`
    lengths       2, 2, 4 and 4 bytes: of target, content type, headers, body
    target, content type, headers, body

All integers are big endian. Nothing in here knows what the bytes mean.

A dictionary, a file in `ingest/dictionaries`, holds what calls have in common: with it, a batch of one takes less
than half the bytes and a third of the time. Once released it never changes and never goes, for whatever was packed
with it is to be read for ever; a better one gets the next number. A program reads all that it has.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import zstandard

from ingest.errors import BatchError

VERSION, VERSION_WITH_DICTIONARY = 1, 2
#: The number of the dictionary that batches are packed with, and of all that they may have been packed with.
DICTIONARY = 1
DICTIONARIES = (1,)
#: Bytes of records, before compression, up to which the dictionary is used: some eighty calls. More of them are
#: each other's dictionary, and zstd is slower with two.
DICTIONARY_MAX = 32 * 1024
#: Flag of a record whose sender is not known to be Copernica yet; its headers are there to find out.
UNVERIFIED = 1
#: Flag of a record that no call brought: it was made from a line of a log file.
FROM_LOGFILE = 2
#: The same of one that was made from a result over REST.
FROM_REST = 4
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
#: The same in two parts: what is before the checked bytes, and the first of these.
_SEAL, _CHECKED = struct.Struct(">BI"), struct.Struct(">II")
_RECORD = struct.Struct(">12sQBHHII")
_CHECKED_FROM = _SEAL.size  # the checksum covers all but the version and itself


def _dictionary(number: int) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(
        Path(__file__).with_name("dictionaries").joinpath(f"{number}.zstd").read_bytes(),
        dict_type=zstandard.DICT_TYPE_FULLDICT,
    )


_new_compressor = partial(zstandard.ZstdCompressor, level=LEVEL, write_content_size=True)
_compressor = _new_compressor()
_compressor_with_dictionary = _new_compressor(dict_data=_dictionary(DICTIONARY))
_decompressor = zstandard.ZstdDecompressor()
_decompressors = {number: zstandard.ZstdDecompressor(_dictionary(number)) for number in DICTIONARIES}


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


def plain(records: Sequence[Record]) -> bytes:
    """Records one behind the other, as a batch holds them before compression.

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
    joined = b"".join(parts)
    if len(joined) > MAX_UNPACKED or len(records) > MAX_RECORDS:
        raise BatchError(f"{len(records)} records of {len(joined)} bytes are more than one batch may hold.")
    return joined


def pack(records: Sequence[Record], with_dictionary: bool = False) -> bytes:
    """Turn records into the bytes of one stream entry.

    `with_dictionary` is for what no release before 0.3.0 will read; a batch that is large does without one.

    Raises:
        BatchError: a field is longer than the format can say, or `unpack` would refuse what comes of it.
    """
    joined = plain(records)
    if with_dictionary and len(joined) <= DICTIONARY_MAX:
        version, compressor = VERSION_WITH_DICTIONARY, _compressor_with_dictionary
    else:
        # A large record may be packed in a thread, and a compressor is for one at a time.
        version, compressor = VERSION, _compressor if len(joined) <= MAX_SIZE else _new_compressor()
    checked = _CHECKED.pack(len(records), len(joined)) + compressor.compress(joined)
    return _SEAL.pack(version, zlib.crc32(checked)) + checked


def unpack(packed: bytes) -> list[Record]:
    """Turn the bytes of one stream entry back into its records.

    Raises:
        BatchError: the bytes are not what `pack` makes. At most `MAX_UNPACKED` bytes are allocated to find out.
    """
    if len(packed) < _HEAD.size:
        raise BatchError("The batch is cut off before its end.")
    version, crc, count, size = _HEAD.unpack_from(packed)
    if version not in (VERSION, VERSION_WITH_DICTIONARY):
        raise BatchError(
            f"The batch has format version {version}; this program knows versions {VERSION} and "
            f"{VERSION_WITH_DICTIONARY}. Upgrade workers before endpoints."
        )
    if count > MAX_RECORDS:  # records may be tiny: their number bounds the memory that their size does not
        raise BatchError(f"The batch announces {count} records; no batch has more than {MAX_RECORDS}.")
    if zlib.crc32(memoryview(packed)[_CHECKED_FROM:]) != crc:
        raise BatchError("The batch is damaged: its checksum does not match.")
    return _records(_decompress(packed[_HEAD.size :], size, version == VERSION_WITH_DICTIONARY), count)


def _decompress(frame: bytes, size: int, with_dictionary: bool) -> bytes:
    try:
        decompressor = _decompressor
        if with_dictionary:
            number = zstandard.get_frame_parameters(frame).dict_id
            if number not in _decompressors:
                raise BatchError(f"The batch needs dictionary {number}, which this program does not have.")
            decompressor = _decompressors[number]
        # zstd allocates what the frame itself announces, so that is what must be judged.
        announced = zstandard.frame_content_size(frame)
        if announced != size or size > MAX_UNPACKED:
            raise BatchError(f"The batch announces {announced} bytes where {size} were packed.")
        joined = decompressor.decompress(frame, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BatchError("The batch does not decompress.") from error
    if len(joined) != size:
        raise BatchError("The batch decompresses to another size than was packed.")
    return joined


def _records(data: bytes, count: int) -> list[Record]:
    records = []
    at, end = 0, len(data)
    for _ in range(count):
        if at + _RECORD.size > end:
            raise BatchError("The batch holds fewer records than it says.")
        delivery_id, received_at, flags, target, content_type, headers, body = _RECORD.unpack_from(data, at)
        a = at + _RECORD.size
        b = a + target
        c = b + content_type
        d = c + headers
        at = d + body
        records.append(Record(delivery_id, received_at, data[a:b], data[b:c], data[d:at], data[c:d], flags))
    if at != end:
        raise BatchError("The batch's records do not add up to its size.")
    return records
