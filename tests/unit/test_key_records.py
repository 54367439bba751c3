"""What a record in DNS says of a key, and which records hold none for us."""

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from ingest.copernica.dkim import parse, usable
from ingest.errors import CallRejected, Reason
from tests.support.signing import der, dkim_record, private_key, same

pytestmark = pytest.mark.slow

KEY = private_key().public_key()
OTHER = private_key(2048, "another").public_key()
RECORD = dkim_record(KEY)
P = RECORD.partition("p=")[2]


@pytest.mark.parametrize(
    "text",
    [
        RECORD,
        f"p={P}",
        f"k=rsa;p={P}",
        f"v=DKIM1;p={P}",
        f"v=DKIM1;k=rsa;p={P};",
        f"  v = DKIM1 ;\tk = rsa ; p = {P} ; ; ",
        f"v=DKIM1; k=rsa; t=s; n=a note; h=sha256; s=email; p={P[:100]} {P[100:200]}\r\n\t{P[200:]}",
        f"p={P}; k=rsa; v=DKIM1",
        f"h=sha1:sha256; s=*; t=y:s; p={P}",
    ],
)
def test_a_record_is_read_in_every_shape(text: str) -> None:
    assert same(parse(text.encode()).public, KEY)


def test_a_key_in_the_form_that_the_dkim_standard_itself_shows_is_read() -> None:
    raw = KEY.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    assert same(parse(b"p=" + b64encode(raw)).public, KEY)


ED25519 = Ed25519PrivateKey.generate().public_key()
ED25519_RAW = ED25519.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
ED25519_DER = ED25519.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
SHORT = RSAPublicNumbers(65537, (1 << 511) + 111).public_key()
ALMOST = RSAPublicNumbers(65537, (1 << 1022) + 111).public_key()
EVEN = RSAPublicNumbers(65537, (1 << 2047) + 110).public_key()
LONG = RSAPublicNumbers(65537, (1 << 8192) + 111).public_key()
ENDLESS = RSAPublicNumbers(65537, (1 << 65535) + 111).public_key()
N = KEY.public_numbers().n
HUGE_EXPONENT = RSAPublicNumbers((1 << 2000) + 1, N).public_key()
LARGE_EXPONENT = RSAPublicNumbers((1 << 32) + 1, N).public_key()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b";;;",
        b"v=spf1 include:_spf.copernica.com -all",
        b"v=DKIM1; k=rsa",
        b"v=DKIM1; k=rsa; P=" + P.encode(),
        b"v=DKIM2; p=" + P.encode(),
        b"v=DKIM1; k=ed25519; p=" + b64encode(ED25519_RAW),
        b"v=DKIM1; k=ed25519; p=" + P.encode(),
        b"v=DKIM1; p=" + b64encode(ED25519_RAW),
        b"v=DKIM1; p=" + b64encode(ED25519_DER),
        b"p=" + b64encode(der(SHORT)),
        b"p=" + b64encode(der(ALMOST)),
        b"p=" + P[:-4].encode(),
        b"p=" + P[:-1].encode(),
        b"p=" + P.encode() + b"AAAA",
        b"p=*" + P.encode(),
        b"p=AAAA",
        b"p=====",
        b"p=\xff\xfe\x00",
        b"\xc3\xa9=1; p=\xc3\xa9",
        b"p=" + b"A" * 60_000,
        *(b"p=" + b64encode(der(key)) for key in (EVEN, LONG, ENDLESS, HUGE_EXPONENT, LARGE_EXPONENT)),
        b"h=sha1; p=" + P.encode(),
        b"h=; p=" + P.encode(),
        b"s=tlsrpt; p=" + P.encode(),
        b"p=" + P.encode() + b"; p=" + P.encode(),
        b"p=; p=" + P.encode(),
        b"k=rsa; k=rsa; p=" + P.encode(),
        b"n=" + b"x" * 4096 + b"; p=" + P.encode(),
    ],
    ids=[str(number) for number in range(33)],  # the keys are new each time, and names of tests must not be
)
def test_a_record_that_holds_no_key_for_us_is_a_bad_key(text: bytes) -> None:
    with pytest.raises(CallRejected) as caught:
        parse(text)
    assert caught.value.reason == Reason.BAD_KEY


@pytest.mark.parametrize("text", [b"p=", b"v=DKIM1; k=rsa; p=", b"v=DKIM1; p= ; k=rsa"])
def test_an_empty_key_is_a_revoked_one(text: bytes) -> None:
    with pytest.raises(CallRejected) as caught:
        parse(text)
    assert caught.value.reason == Reason.REVOKED_KEY


@pytest.mark.parametrize(("text", "testing"), [("t=y; ", True), ("t=s:Y; ", True), ("t=s; ", False), ("", False)])
def test_a_record_says_whether_its_owner_is_only_testing(text: str, testing: bool) -> None:
    assert parse(f"{text}p={P}".encode()).testing is testing


@pytest.mark.parametrize("exponent", [3, 17, 2**32 - 1])
def test_every_sensible_exponent_is_read(exponent: int) -> None:
    key = RSAPublicNumbers(exponent, N).public_key()
    assert same(parse(dkim_record(key).encode()).public, key)


@pytest.mark.parametrize("bits", [1024, 4096])
def test_keys_of_every_size_are_read(bits: int) -> None:
    key = private_key(bits).public_key()
    assert same(parse(dkim_record(key).encode()).public, key)


def test_of_several_records_the_first_usable_one_counts() -> None:
    texts = [b"v=spf1 -all", b"p=", RECORD.encode(), dkim_record(OTHER).encode()]
    assert same(usable(texts).public, KEY)


@pytest.mark.parametrize(
    ("texts", "reason"), [([], Reason.UNKNOWN_KEY), ([b"p="], Reason.REVOKED_KEY), ([b"x"], Reason.BAD_KEY)]
)
def test_records_without_a_key_say_why(texts: list[bytes], reason: Reason) -> None:
    with pytest.raises(CallRejected) as caught:
        usable(texts)
    assert caught.value.reason == reason
