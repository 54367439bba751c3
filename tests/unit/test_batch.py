"""The packed format: what goes in comes out, and whatever else comes in is refused cheaply."""

import struct
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ingest import batch
from ingest.batch import Record, pack, unpack
from ingest.endpoint.heads import HEAD_MAX, TARGET_MAX
from ingest.errors import BatchError
from ingest.settings import Settings

MIB = 1024 * 1024

records = st.builds(
    Record,
    delivery_id=st.binary(min_size=12, max_size=12),
    received_at=st.integers(0, 2**63),
    target=st.binary(max_size=300),
    content_type=st.binary(max_size=80),
    body=st.binary(max_size=2000),
    headers=st.binary(max_size=500),
    flags=st.integers(0, 255),
)
#: Bytes of a record without anything in it.
EMPTY = Record(b"", 0, b"", b"", b"").size

batches = st.lists(records, max_size=8)

SMALL = [
    Record(b"\x6a\xff\x2c\x2ctwelve!!", 1_795_165_964_123_456, b"/copernica", b"text/plain", b"id=1&type=open"),
    Record(b"\0" * 12, 0, b"", b"", b""),
    Record(b"\xff" * 12, 2**63, b"/copernica?a=%20b", b"", b"id=1&type=open" * 9, b"Date: now\r\n"),
]


def sealed(count: int, size: int, frame: bytes) -> bytes:
    """A batch with a right checksum, whatever is in it."""
    checked = struct.pack(">II", count, size) + frame
    return struct.pack(">BI", batch.VERSION, zlib.crc32(checked)) + checked


def frame_of_zeros(size: int, announced: bool = True) -> bytes:
    """A frame that expands to `size` zeros, made without ever holding them."""
    compressor = zstandard.ZstdCompressor(write_content_size=announced).compressobj(size if announced else -1)
    parts = [compressor.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join([*parts, compressor.compress(bytes(size % MIB)), compressor.flush()])


def assert_refused_within(limit: int, packed: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BatchError):
            unpack(packed)
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@given(batches)
def test_every_batch_comes_out_as_it_went_in(sent: list[Record]) -> None:
    assert unpack(pack(sent)) == sent


def test_a_full_batch_and_a_largest_body_come_out_as_they_went_in() -> None:
    full = [Record(n.to_bytes(12, "big"), n, b"/", b"", b"id=%d" % n) for n in range(batch.MAX_RECORDS)]
    large = [SMALL[0]._replace(body=b"\xfe\x01" * (5 * MIB), target=b"/" * 65_535)]
    assert unpack(pack(full)) == full
    assert unpack(pack(large)) == large


def filled(field: str, length: int) -> Record:
    return Record(**{**SMALL[0]._asdict(), field: b"x" * length})


@pytest.mark.parametrize(
    ("field", "most"), [("target", batch.MAX_TARGET), ("content_type", batch.MAX_CONTENT_TYPE)]
)
def test_a_field_may_be_as_long_as_its_length_can_say(field: str, most: int) -> None:
    assert unpack(pack([filled(field, most)])) == [filled(field, most)]
    with pytest.raises(BatchError):
        pack([filled(field, most + 1)])


@pytest.mark.parametrize("field", ["body", "headers"])
def test_what_could_not_be_unpacked_is_not_packed(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MAX_UNPACKED", filled(field, 1000).size)
    assert unpack(pack([filled(field, 1000)])) == [filled(field, 1000)]
    with pytest.raises(BatchError):
        pack([filled(field, 1001)])
    with pytest.raises(BatchError):
        pack(SMALL[:1] * (batch.MAX_RECORDS + 1))


def test_whatever_the_endpoint_takes_can_be_packed_and_unpacked() -> None:
    most_body = next(rule.le for rule in Settings.model_fields["max_body"].metadata if hasattr(rule, "le"))
    largest = Record(bytes(12), 0, b"/" * TARGET_MAX, b"x" * HEAD_MAX, b"", b"x" * HEAD_MAX)
    assert TARGET_MAX <= batch.MAX_TARGET
    assert min(batch.MAX_CONTENT_TYPE, batch.MAX_HEADERS) >= HEAD_MAX
    assert most_body <= batch.MAX_BODY
    assert largest.size + most_body <= batch.MAX_UNPACKED


@pytest.mark.parametrize("record", SMALL)
def test_a_record_knows_how_much_room_it_takes(record: Record) -> None:
    size = struct.unpack_from(">I", pack([record]), 9)[0]
    assert record.size == size


def test_every_truncation_of_a_batch_is_noticed() -> None:
    packed = pack(SMALL)
    for end in range(len(packed)):
        with pytest.raises(BatchError):
            unpack(packed[:end])


def test_every_flipped_bit_of_a_batch_is_noticed() -> None:
    packed = pack(SMALL)
    for bit in range(len(packed) * 8):
        flipped = bytearray(packed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BatchError):
            unpack(bytes(flipped))


@given(batches, st.data())
def test_damage_to_any_batch_is_noticed(sent: list[Record], data: st.DataObject) -> None:
    packed = pack(sent)
    bit = data.draw(st.integers(0, len(packed) * 8 - 1))
    flipped = bytearray(packed)
    flipped[bit // 8] ^= 1 << bit % 8
    cut = packed[: data.draw(st.integers(0, len(packed) - 1))]
    for damaged in (bytes(flipped), cut, packed + data.draw(st.binary(min_size=1, max_size=40))):
        with pytest.raises(BatchError):
            unpack(damaged)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_batch(noise: bytes) -> None:
    with pytest.raises(BatchError):
        unpack(noise)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(min_size=1, max_size=100))
def test_behind_a_right_checksum_a_broken_frame_is_refused(count: int, size: int, frame: bytes) -> None:
    with pytest.raises(BatchError):
        unpack(sealed(count, size, b"\0" + frame))  # no zstd frame begins with a zero


@given(st.integers(0, 2**32 - 1), st.binary(max_size=200))
def test_behind_a_right_checksum_records_that_do_not_add_up_are_refused(count: int, plain: bytes) -> None:
    packed = sealed(count, len(plain), zstandard.compress(plain, 1))
    try:
        found = unpack(packed)
    except BatchError:
        return
    assert len(found) == count
    assert sum(record.size for record in found) == len(plain)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_count_that_is_not_that_of_the_records_is_refused(count: int) -> None:
    two = zstandard.compress(bytes(2 * EMPTY), 1)
    assert len(unpack(sealed(2, 2 * EMPTY, two))) == 2
    with pytest.raises(BatchError):
        unpack(sealed(count, 2 * EMPTY, two))


def test_another_version_is_named() -> None:
    with pytest.raises(BatchError, match="version 7"):
        unpack(b"\x07" + pack(SMALL)[1:])


def test_bytes_behind_the_frame_are_refused() -> None:
    frame = zstandard.compress(bytes(EMPTY), 1)
    assert unpack(sealed(1, EMPTY, frame)) == [Record(b"\0" * 12, 0, b"", b"", b"")]
    with pytest.raises(BatchError):
        unpack(sealed(1, EMPTY, frame + frame))


def test_a_frame_that_announces_more_than_the_limit_is_never_expanded() -> None:
    size = batch.MAX_UNPACKED + 1
    assert_refused_within(MIB, sealed(1, size, frame_of_zeros(size)))


def test_a_frame_that_announces_more_than_the_header_is_never_expanded() -> None:
    assert_refused_within(MIB, sealed(1, 32, frame_of_zeros(64 * MIB)))


def test_a_frame_that_announces_nothing_is_never_expanded() -> None:
    assert_refused_within(MIB, sealed(1, 32, frame_of_zeros(64 * MIB, announced=False)))


def test_a_frame_that_expands_to_more_than_it_announces_is_stopped() -> None:
    frame = frame_of_zeros(64 * MIB)
    announced = struct.pack("<I", 64 * MIB)
    assert frame.count(announced) == 1
    lying = frame.replace(announced, struct.pack("<I", 32))
    assert zstandard.frame_content_size(lying) == 32
    assert_refused_within(MIB, sealed(1, 32, lying))


def test_a_frame_of_countless_empty_records_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each takes some thirty bytes when packed and ten times that as an object: the limit is of what is allocated.
    monkeypatch.setattr(batch, "MAX_UNPACKED", MIB)
    assert_refused_within(
        2 * MIB, sealed(MIB // EMPTY, MIB // EMPTY * EMPTY, frame_of_zeros(MIB // EMPTY * EMPTY))
    )
