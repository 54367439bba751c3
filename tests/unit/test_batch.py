"""The packed format: what goes in comes out, and whatever else comes in is refused cheaply."""

import struct
import tracemalloc
import zlib
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote_plus

import pytest
import zstandard
from hypothesis import assume, given
from hypothesis import strategies as st

from ingest import batch
from ingest.batch import Record, pack, unpack
from ingest.endpoint.heads import HEAD_MAX, TARGET_MAX
from ingest.errors import BatchError
from ingest.settings import Settings
from ingest.simulation import calls

MIB = 1024 * 1024
DICTIONARIES = Path(batch.__file__).with_name("dictionaries")

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


#: Without and with the dictionary.
WAYS = pytest.mark.parametrize("with_dictionary", [False, True])

#: What earlier releases packed of the first two of SMALL, and of the first with dictionary 1: to be read for ever.
PACKED_BEFORE = {
    "version 1": (
        SMALL[:2],
        "01e84ad2ae000000020000006428b52ffd20643d0200e4036aff2c2c7477656c76652121000660b1a59abd4000000a000a00"
        "0e2f636f7065726e696361746578742f706c61696e69643d3126747970653d6f70656e00020004f8898131",
    ),
    "dictionary 1": (
        SMALL[:1],
        "02c92b433c000000010000004328b52ffd210143c5010074026aff2c2c7477656c76652121000660b1a59abd4000000a000a"
        "000e746578742f69643d6f70656e04fcb70260da80e85cf5ca0b910e02",
    ),
}


def sealed(count: int, size: int, frame: bytes, version: int = batch.VERSION) -> bytes:
    """A batch with a right checksum, whatever is in it."""
    checked = struct.pack(">II", count, size) + frame
    return struct.pack(">BI", version, zlib.crc32(checked)) + checked


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


@given(batches, st.booleans())
def test_every_batch_comes_out_as_it_went_in(sent: list[Record], with_dictionary: bool) -> None:
    assert unpack(pack(sent, with_dictionary)) == sent


@WAYS
def test_a_full_batch_and_a_largest_body_come_out_as_they_went_in(with_dictionary: bool) -> None:
    full = [Record(n.to_bytes(12, "big"), n, b"/", b"", b"id=%d" % n) for n in range(batch.MAX_RECORDS)]
    large = [SMALL[0]._replace(body=b"\xfe\x01" * (5 * MIB), target=b"/" * 65_535)]
    assert unpack(pack(full, with_dictionary)) == full
    assert unpack(pack(large, with_dictionary)) == large


@pytest.mark.parametrize("which", PACKED_BEFORE)
def test_what_earlier_releases_packed_is_read(which: str) -> None:
    sent, packed = PACKED_BEFORE[which]
    assert unpack(bytes.fromhex(packed)) == sent


def test_a_dictionary_that_was_released_stays_as_it_is() -> None:
    found = {path.name: sha256(path.read_bytes()).hexdigest() for path in DICTIONARIES.iterdir()}
    assert found == {"1.zstd": "c0fa66655434a1b68a239116d725b42b19a2c8a325be5ec2234babd49bc53480"}


def test_a_dictionary_holds_nobody() -> None:
    known = [*calls._FIRST, *calls._LAST, *calls._DOMAINS, *calls._CAMPAIGNS, "copernica.net", "nieuws", "example"]
    names = [name for name in known if len(name) > 4]  # three letters are somewhere by chance
    assert len(names) > 20
    for path in DICTIONARIES.iterdir():
        held = path.read_bytes().lower()
        assert [name for name in names if quote_plus(name).lower().encode() in held] == []


@given(st.integers(0, 2**32 - 1), st.binary(max_size=300))
def test_a_batch_with_a_dictionary_that_is_not_ours_is_refused(number: int, body: bytes) -> None:
    assume(number not in (0, *batch.DICTIONARIES))
    theirs = zstandard.ZstdCompressionDict(DICTIONARIES.joinpath("1.zstd").read_bytes()[8:])
    frame = bytearray(zstandard.ZstdCompressor(dict_data=theirs).compress(body))
    with pytest.raises(BatchError):
        unpack(sealed(1, len(body), bytes(frame), batch.VERSION_WITH_DICTIONARY))
    numbered = (DICTIONARIES / "1.zstd").read_bytes()
    theirs = zstandard.ZstdCompressionDict(numbered[:4] + struct.pack("<I", number) + numbered[8:])
    frame = bytearray(zstandard.ZstdCompressor(dict_data=theirs).compress(body))
    with pytest.raises(BatchError, match=f"dictionary {number}"):
        unpack(sealed(1, len(body), bytes(frame), batch.VERSION_WITH_DICTIONARY))


def test_the_two_versions_are_not_confused() -> None:
    for with_dictionary, other in ((False, batch.VERSION_WITH_DICTIONARY), (True, batch.VERSION)):
        with pytest.raises(BatchError):
            unpack(bytes([other]) + pack(SMALL, with_dictionary)[1:])


def test_only_a_small_batch_uses_the_dictionary() -> None:
    one = SMALL[0]._replace(body=b"x" * (batch.DICTIONARY_MAX // 2))
    assert [pack([one] * count, with_dictionary=True)[0] for count in (1, 2)] == [2, 1]
    assert pack([one])[0] == 1


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


@WAYS
def test_every_truncation_of_a_batch_is_noticed(with_dictionary: bool) -> None:
    packed = pack(SMALL, with_dictionary)
    for end in range(len(packed)):
        with pytest.raises(BatchError):
            unpack(packed[:end])


@WAYS
def test_every_flipped_bit_of_a_batch_is_noticed(with_dictionary: bool) -> None:
    packed = pack(SMALL, with_dictionary)
    for bit in range(len(packed) * 8):
        flipped = bytearray(packed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BatchError):
            unpack(bytes(flipped))


@given(batches, st.booleans(), st.data())
def test_damage_to_any_batch_is_noticed(sent: list[Record], with_dictionary: bool, data: st.DataObject) -> None:
    packed = pack(sent, with_dictionary)
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


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=1, max_size=100),
    st.sampled_from([batch.VERSION, batch.VERSION_WITH_DICTIONARY]),
)
def test_behind_a_right_checksum_a_broken_frame_is_refused(
    count: int, size: int, frame: bytes, version: int
) -> None:
    with pytest.raises(BatchError):
        unpack(sealed(count, size, b"\0" + frame, version))  # no zstd frame begins with a zero


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
