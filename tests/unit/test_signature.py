"""Copernica's signature: what is theirs is taken, and nothing else, whatever it looks like."""

import base64
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ingest.copernica import dkim, signature
from ingest.copernica.signature import Claim, Policy, check, examine
from ingest.errors import CallRejected, Reason
from tests.support import signing
from tests.support.signing import (
    BODY,
    COVERED,
    DOCUMENTED,
    KEY_ID,
    REQUIRED,
    Call,
    Form,
    Signer,
    digest,
    private_key,
)

#: Fri, 20 Nov 2026 10:20:00 GMT
NOW = 1795170000
POLICY = Policy.from_settings(["account-1234"])
SIGNED = json.loads((Path(__file__).parents[1] / "support" / "signed_calls.json").read_text())

SIGNER = Signer()
CALL = SIGNER.call(date=NOW)
#: The same call as the signer's documentation would have it, and with nothing covered that need not be.
BARE = replace(SIGNER, covered=REQUIRED)


def checked(
    call: Call, policy: Policy = POLICY, received: float = NOW, key: RSAPublicKey = SIGNER.public
) -> Claim:
    return check(*call, received, policy, key)


def refused(
    call: Call, policy: Policy = POLICY, received: float = NOW, key: RSAPublicKey = SIGNER.public
) -> Reason:
    with pytest.raises(CallRejected) as caught:
        checked(call, policy, received, key)
    return caught.value.reason


def theirs(number: int) -> tuple[Call, float]:
    """A call that Copernica's own code has signed, and when it came in."""
    call: dict[str, Any] = SIGNED["calls"][number]
    headers = [(name.encode(), value.encode()) for name, value in call["headers"].items()]
    body = base64.b64decode(call["body_base64"])
    return Call(call["method"].encode(), call["target"].encode(), headers, body), call["received_at"]


def restated(call: Call, old: str, new: str) -> Call:
    """With something else in its Signature header."""
    value = call.value("Signature")
    assert old.encode() in value
    return call.changed("Signature", value.replace(old.encode(), new.encode("latin-1")))


# ---- what is theirs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(SIGNED["calls"])))
def test_a_call_signed_by_copernicas_own_code_is_verified(number: int) -> None:
    call, received = theirs(number)
    claim = checked(call, POLICY, received, dkim.parse(SIGNED["keys"][KEY_ID].encode()).public)
    assert (claim.account, claim.key_id) == ("account-1234", KEY_ID)


def test_a_delivery_id_is_the_second_of_the_call_and_its_own() -> None:
    ids = set()
    for number in range(len(SIGNED["calls"])):
        call, received = theirs(number)
        claim = examine(*call, received, POLICY)
        assert len(claim.delivery_id) == 12
        assert claim.delivery_id[:4] == int(received - 2).to_bytes(4, "big")
        assert examine(*call, received + 60, POLICY).delivery_id == claim.delivery_id
        ids.add(claim.delivery_id)
    assert len(ids) == len(SIGNED["calls"]) == 6


@pytest.mark.parametrize("shape", [lambda call: call.headers[::-1], lambda call: sorted(call.headers)])
@pytest.mark.parametrize("case", [bytes.lower, bytes.upper, bytes.title])
def test_the_order_and_the_letter_case_of_headers_do_not_matter(
    case: Callable[[bytes], bytes], shape: Callable[[Call], list[tuple[bytes, bytes]]]
) -> None:
    headers = [(case(name), value) for name, value in shape(CALL)]
    assert checked(CALL._replace(headers=headers)).account == "account-1234"


@pytest.mark.parametrize(
    "covered",
    [COVERED, COVERED[::-1], DOCUMENTED, REQUIRED, sorted(REQUIRED), [name.upper() for name in COVERED]],
)
@pytest.mark.parametrize(
    "form", [signing.plain, signing.documented, signing.blanks, signing.unknown_parameters, signing.other_order]
)
def test_every_way_to_write_the_signature_header_is_read(form: Form, covered: Sequence[str]) -> None:
    signer = replace(SIGNER, form=form, covered=covered)
    assert checked(signer.call(date=NOW, target=b"/copernica?a=%20b&C=d")).key_id == KEY_ID


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("account-1234", "account-1234"),
        ("account_1234", "account-1234"),
        ("account-1234", "account_1234"),
        ("ACCOUNT_1234", "Account-1234"),
        ("environment_1234", "environment-1234"),
        ("account_1234", "1234"),
    ],
)
def test_an_account_is_the_same_in_every_spelling(said: str, wanted: str) -> None:
    policy = Policy.from_settings(["account-99", wanted])
    assert checked(SIGNER.call(date=NOW, account=said), policy).account == said.lower().replace("_", "-")


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("account-1234", "environment-1234"),
        ("environment-1234", "account-1234"),
        ("environment-1234", "1234"),
        ("1234", "1234"),
        ("account-12345", "account-1234"),
        ("account-12345", "1234"),
        ("account-91234", "1234"),
        ("account-1234-", "1234"),
        ("1234", "account-1234"),
        ("", "1234"),
    ],
)
def test_another_account_is_refused(said: str, wanted: str) -> None:
    assert refused(SIGNER.call(date=NOW, account=said), Policy.from_settings([wanted])) == Reason.WRONG_ACCOUNT


@pytest.mark.parametrize(
    "digests",
    [
        ["SHA-512"],
        ["sha-512", "SHA-256"],
        ["md5", "sha-256"],
        ["SHA-256", "sha-1", "MD5"],
    ],
)
def test_strong_digests_count_in_every_spelling(digests: list[str]) -> None:
    assert checked(replace(SIGNER, digests=digests).call(date=NOW))


def test_digests_that_do_not_count_may_be_anything() -> None:
    call = CALL.changed("Digest", f"unixsum=30637, {digest('sha-256', BODY)} , MD5=nonsense")
    assert checked(SIGNER.sign(call))


def test_a_digest_is_made_once_per_algorithm_however_often_it_is_named() -> None:
    """A body of 10 MB hashed 82 times held up everybody for more than a second."""
    for digests in (["sha-256", "sha-256"], ["sha-512", "SHA-256", "Sha-512"], ["sha-256"] * 82):
        assert refused(replace(SIGNER, digests=digests).call(date=NOW)) == Reason.REPEATED
    assert refused(replace(SIGNER, digests=["md5"] * 82).call(date=NOW)) == Reason.BAD_DIGEST


@pytest.mark.parametrize("fold", ["\r\n ", "\r\n\t", " ", "\n ", "\r\n \r\n\t "])
def test_a_signature_folded_inside_its_base64_is_read(fold: str) -> None:
    value = CALL.value("Signature").decode()
    at = value.index('signature="') + len('signature="')
    folded = CALL.changed("Signature", value[:at] + fold + value[at : at + 70] + fold + value[at + 70 :])
    assert checked(folded).delivery_id == checked(CALL).delivery_id


@pytest.mark.parametrize("inside", ["\v", "\0", "\xa0", "=", "-", '"', ","])
def test_nothing_but_folds_is_dropped_from_a_signature(inside: str) -> None:
    value = CALL.value("Signature").decode()
    at = value.index('signature="') + 80
    assert refused(CALL.changed("Signature", (value[:at] + inside + value[at:]).encode("latin-1"))) in (
        Reason.BAD_SIGNATURE_HEADER,
        Reason.REPEATED,
    )


@pytest.mark.parametrize("order", [1, -1])
def test_one_strong_digest_that_matches_does_not_excuse_another(order: int) -> None:
    both = [digest("sha-256", BODY), digest("sha-512", b"another")][::order]
    assert refused(SIGNER.sign(CALL.changed("Digest", ",".join(both)))) == Reason.WRONG_DIGEST


@pytest.mark.parametrize("bits", [1024, 4096])
@pytest.mark.parametrize("algorithm", ["rsa-sha256", "rsa-sha512", "RSA-SHA256"])
def test_keys_of_every_size_and_both_algorithms_verify(algorithm: str, bits: int) -> None:
    signer = Signer(private_key(bits), algorithm=algorithm)
    claim = checked(signer.call(date=NOW), key=signer.public)
    assert (claim.algorithm, len(claim.signature)) == (algorithm.lower(), bits // 8)


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("hooks.example.nl", "hooks.example.nl"),
        ("Hooks.Example.NL", "hooks.example.nl"),
        ("hooks.example.nl", "HOOKS.example.nl"),
        ("hooks.example.nl:443", "hooks.example.nl"),
        ("hooks.example.nl:8443", "hooks.example.nl:8443"),
        ("[2001:db8::7]:443", "[2001:db8::7]"),
        ("[2001:db8::7]", "[2001:db8::7]"),
    ],
)
def test_our_host_is_ours_with_and_without_a_port(host: str, wanted: str) -> None:
    policy = Policy.from_settings(["1234"], ["elsewhere.example", wanted])
    assert checked(SIGNER.call(date=NOW, host=host), policy)


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("hooks.example.com", "hooks.example.nl"),
        ("hooks.example.nl.evil.example", "hooks.example.nl"),
        ("evil-hooks.example.nl", "hooks.example.nl"),
        ("hooks.example.nl:8444", "hooks.example.nl:8443"),
        ("hooks.example.nl:x", "hooks.example.nl"),
        ("2001:db8::7", "[2001:db8::7]"),
        ("", "hooks.example.nl"),
    ],
)
def test_another_host_is_refused(host: str, wanted: str) -> None:
    assert refused(SIGNER.call(date=NOW, host=host), Policy.from_settings(["1234"], [wanted])) == Reason.WRONG_HOST


@pytest.mark.parametrize("age", [-300, -299.5, 0, 299.9, 300])
def test_a_date_may_be_off_by_as_much_as_the_policy_says(age: float) -> None:
    assert checked(CALL, received=NOW + age).date == NOW


@pytest.mark.parametrize(
    ("age", "reason"),
    [(300.5, Reason.TOO_OLD), (86_400, Reason.TOO_OLD), (-300.5, Reason.TOO_NEW), (-86_400, Reason.TOO_NEW)],
)
def test_a_date_that_is_off_by_more_is_refused(age: float, reason: Reason) -> None:
    assert refused(CALL, received=NOW + age) == reason


def test_blanks_around_a_value_are_not_part_of_it() -> None:
    headers = [(name, b" \t" + value + b"  ") for name, value in CALL.headers]
    assert checked(CALL._replace(headers=headers)) == checked(CALL)


def test_a_header_that_is_not_covered_may_stand_there_twice() -> None:
    assert checked(CALL.also("X-Forwarded-For", "192.0.2.1").also("x-forwarded-for", "192.0.2.2"))


# ---- what is not ------------------------------------------------------------------------------------------------


def with_parameter(text: str) -> Call:
    return CALL.changed("Signature", CALL.value("Signature") + text.encode())


def with_key_id(key_id: str) -> Call:
    return replace(SIGNER, key_id=key_id).call(date=NOW)


def with_date(date: str | bytes) -> Call:
    return SIGNER.sign(CALL.changed("Date", date))


def with_digest(value: str) -> Call:
    return SIGNER.sign(CALL.changed("Digest", value))


def with_covered(*names: str) -> Call:
    return replace(SIGNER, covered=names).call(date=NOW)


def with_algorithm(algorithm: str, forge: Callable[[bytes], bytes] | None = None) -> Call:
    return replace(SIGNER, algorithm=algorithm, forge=forge).call(date=NOW)


def adler32(body: bytes) -> str:
    return f"adler32={zlib.adler32(body):08x}"


#: Every call here is signed correctly with the right key wherever that can be, so that one thing alone is wrong.
BROKEN: list[tuple[Reason, str, Call]] = [
    (Reason.NO_SIGNATURE, "no signature", CALL.without("Signature")),
    (Reason.BAD_SIGNATURE_HEADER, "an empty one", CALL.changed("Signature", "")),
    (Reason.BAD_SIGNATURE_HEADER, "something else", CALL.changed("Signature", "Basic dXNlcjpwYXNz")),
    (Reason.BAD_SIGNATURE_HEADER, "no key id", restated(CALL, "keyId", "keyIdentity")),
    (Reason.BAD_SIGNATURE_HEADER, "no algorithm", restated(CALL, "algorithm", "x-algorithm")),
    (Reason.BAD_SIGNATURE_HEADER, "no list of headers", restated(CALL, ",headers", ",headings")),
    (Reason.BAD_SIGNATURE_HEADER, "no value", restated(CALL, ",signature", ",signed")),
    (Reason.BAD_SIGNATURE_HEADER, "more than parameters", with_parameter(", and more")),
    (Reason.BAD_SIGNATURE_HEADER, "an open quotation", with_parameter(',x="y')),
    (Reason.BAD_SIGNATURE_HEADER, "too much", with_parameter(f',x="{"y" * 4096}"')),
    (Reason.BAD_SIGNATURE_HEADER, "not base64", restated(CALL, 'signature="', 'signature="*')),
    (Reason.BAD_SIGNATURE_HEADER, "not base64 after all", restated(CALL, '=="', '==!"')),
    (Reason.BAD_SIGNATURE_HEADER, "base64 twice", restated(CALL, '=="', '==QUJD"')),
    (Reason.BAD_SIGNATURE_HEADER, "base64 cut short", restated(CALL, '=="', '="')),
    (Reason.BAD_SIGNATURE_HEADER, "base64 of URLs", restated(CALL, 'signature="', 'signature="_-')),
    (Reason.WRONG_SIGNATURE, "an empty value", replace(SIGNER, forge=lambda _: b"").call(date=NOW)),
    (Reason.WRONG_SIGNATURE, "a value of zeros", replace(SIGNER, forge=lambda _: bytes(256)).call(date=NOW)),
    (Reason.WRONG_SIGNATURE, "another key", Signer(private_key(2048, "another")).call(date=NOW)),
    (Reason.WRONG_SIGNATURE, "a key of another size", Signer(private_key(1024)).call(date=NOW)),
    (Reason.WRONG_SIGNATURE, "the other algorithm", restated(CALL, "rsa-sha256", "rsa-sha512")),
    (Reason.WRONG_SIGNATURE, "another order of the list", restated(CALL, "host date", "date host")),
    (Reason.WRONG_SIGNATURE, "fewer covered than were", restated(CALL, " x-nonce", "")),
    (Reason.WRONG_SIGNATURE, "another method", CALL._replace(method=b"PUT")),
    (Reason.WRONG_SIGNATURE, "another path", CALL._replace(target=b"/Copernica")),
    (Reason.WRONG_SIGNATURE, "a query", CALL._replace(target=b"/copernica?")),
    (Reason.REPEATED, "two signatures", CALL.also("signature", CALL.value("Signature"))),
    (Reason.REPEATED, "two dates", CALL.also("date", CALL.value("Date"))),
    (Reason.REPEATED, "two digests", CALL.also("DIGEST", CALL.value("Digest"))),
    (Reason.REPEATED, "two hosts", CALL.also("host", "evil.example")),
    (Reason.REPEATED, "two accounts", CALL.also("X-COPERNICA-ID", "account_1")),
    (Reason.REPEATED, "another covered header twice", CALL.also("x-nonce", "0")),
    (Reason.REPEATED, "two key ids", with_parameter(f',keyId="{KEY_ID}"')),
    (Reason.REPEATED, "a key id before", restated(CALL, "keyId", 'KEYID="x.copernica.com",keyId')),
    (Reason.REPEATED, "two algorithms", with_parameter(',Algorithm="rsa-sha512"')),
    (Reason.REPEATED, "two lists", with_parameter(',headers="host"')),
    (Reason.REPEATED, "two values", with_parameter(',signature="QUJD"')),
    (Reason.REPEATED, "two values, one bare", with_parameter(",Signature=QUJD")),
    (Reason.REPEATED, "a name covered twice", with_covered(*COVERED, "host")),
    (Reason.REPEATED, "a name covered twice in two cases", with_covered(*COVERED, "X-NONCE")),
    (Reason.BAD_DATE, "no date", SIGNER.sign(CALL.without("Date"))),
    (Reason.BAD_DATE, "an empty date", with_date("")),
    (Reason.BAD_DATE, "no date at all", with_date("yesterday")),
    (Reason.BAD_DATE, "a month that is none", with_date("Fri, 20 Brumaire 2026 10:20:00 GMT")),
    (Reason.BAD_DATE, "an hour that is none", with_date("Fri, 20 Nov 2026 ten:20:00 GMT")),
    (Reason.BAD_DATE, "a date before all dates", with_date("Fri, 20 Nov 1926 10:20:00 GMT")),
    (Reason.BAD_DATE, "a date after all dates", with_date("Fri, 20 Nov 2126 10:20:00 GMT")),
    (Reason.BAD_DATE, "a year of many digits", with_date("Fri, 20 Nov 20260000000 10:20:00 GMT")),
    (Reason.BAD_DATE, "a date with a long tail", with_date(CALL.value("Date") + b" ." * 40)),
    (Reason.BAD_DATE, "a date of blanks that Latin-1 has", with_date(b"\xa0\x85\xa0")),
    (Reason.TOO_OLD, "an old date", SIGNER.call(date=NOW - 301)),
    (Reason.TOO_OLD, "the same in another zone", with_date("Fri, 20 Nov 2026 10:20:00 +0100")),
    (Reason.TOO_NEW, "a date to come", SIGNER.call(date=NOW + 301)),
    (Reason.WRONG_HOST, "no host", SIGNER.sign(CALL.without("Host"))),
    (Reason.WRONG_ACCOUNT, "no account", SIGNER.sign(CALL.without("X-Copernica-ID"))),
    (Reason.WRONG_ACCOUNT, "another account", SIGNER.call(date=NOW, account="account_4321")),
    (Reason.BAD_DIGEST, "no digest", SIGNER.sign(CALL.without("Digest"))),
    (Reason.BAD_DIGEST, "an empty digest", with_digest("")),
    (Reason.BAD_DIGEST, "a weak digest alone", with_digest(digest("md5", BODY))),
    (Reason.BAD_DIGEST, "two weak digests", with_digest(f"{adler32(BODY)},{digest('SHA-1', BODY)}")),
    (Reason.BAD_DIGEST, "a checksum", with_digest(adler32(BODY))),
    (Reason.BAD_DIGEST, "a digest without a name", with_digest(digest("sha-256", BODY).partition("=")[2])),
    (Reason.BAD_DIGEST, "a digest of bad base64", with_digest(digest("sha-256", BODY) + "=")),
    (Reason.BAD_DIGEST, "a digest and junk", with_digest(digest("sha-256", BODY) + ";x")),
    (Reason.BAD_DIGEST, "a digest and nothing", with_digest(digest("sha-256", BODY) + ",")),
    (Reason.WRONG_DIGEST, "another body", CALL._replace(body=BODY + b"&")),
    (Reason.WRONG_DIGEST, "a digest cut short", with_digest("sha-256=QUJD")),
    (Reason.WRONG_DIGEST, "a digest misnamed", with_digest(digest("sha-256", BODY).replace("256", "512"))),
    *[
        (Reason.NOT_COVERED, f"{name} is not covered", with_covered(*(each for each in COVERED if each != name)))
        for name in REQUIRED
    ],
    (Reason.NOT_COVERED, "nothing covered", with_covered()),
    (Reason.NOT_COVERED, "the date alone, as the draft has it by default", with_covered("date")),
    (Reason.NOT_COVERED, "names run together", restated(CALL, "host date", "host,date")),
    (Reason.ABSENT_HEADER, "a covered header that is not there", SIGNER.sign(CALL.without("X-Nonce"))),
    (Reason.ABSENT_HEADER, "a covered header that is none", with_covered(*COVERED, "(created)")),
    *[
        (Reason.BAD_KEY_ID, f"the key id {key_id[:60]!r}", with_key_id(key_id))
        for key_id in (
            "",
            "copernica.com",
            ".copernica.com",
            "evilcopernica.com",
            "one._domainkey.evilcopernica.com",
            "one._domainkey.copernica.com.evil.example",
            "one._domainkey.copernica.com.",
            "one._domainkey.copernica.co",
            "one._domainkey.copernica\tcom",
            "one..copernica.com",
            "one._domainkey..copernica.com",
            " one._domainkey.copernica.com",
            "one._domainkey.copernica.com ",
            "one._domainkey.copernica.com\n",
            "one _domainkey.copernica.com",
            "one\0.copernica.com",
            "one._domainkey.copernica.com\0.evil.example",
            "evil.example\0.copernica.com",
            "evil.example/.copernica.com",
            "evil.example#.copernica.com",
            "evil\\.example.copernica.com",
            "-one.copernica.com",
            "one-.copernica.com",
            "*.copernica.com",
            "x" * 64 + ".copernica.com",
            "x." * 120 + ".copernica.com",
            "x." * 121 + "copernica.com",
        )
    ],
    (Reason.BAD_KEY_ID, "a key id beyond ASCII", restated(CALL, KEY_ID, "\xf6ne.copernica.com")),
    *[
        (Reason.BAD_ALGORITHM, f"the algorithm {algorithm!r}", with_algorithm(algorithm))
        for algorithm in ("", "hs2019", "rsa-sha1", "rsa-md5", "ecdsa-sha256", "none", "rsa-sha256 ", "sha256")
    ],
    (
        Reason.BAD_ALGORITHM,
        "an HMAC keyed with the public key",
        with_algorithm("hmac-sha256", signing.hmac_with(SIGNER.public)),
    ),
    (
        Reason.WRONG_SIGNATURE,
        "an HMAC keyed with the public key that goes by RSA's name",
        with_algorithm("rsa-sha256", signing.hmac_with(SIGNER.public)),
    ),
]


@pytest.mark.parametrize(
    ("reason", "call"), [(reason, call) for reason, _, call in BROKEN], ids=[what for _, what, _ in BROKEN]
)
def test_a_call_is_refused_that_has(reason: Reason, call: Call) -> None:
    assert refused(call) == reason


def test_every_reason_is_tested_here_or_with_the_keys() -> None:
    of_keys = {Reason.UNKNOWN_KEY, Reason.REVOKED_KEY, Reason.BAD_KEY}
    assert {reason for reason, _, _ in BROKEN} == set(Reason) - of_keys


def test_what_is_refused_says_why_in_its_sentence() -> None:
    assert str(CallRejected(Reason.TOO_OLD)) == "The call was rejected: too-old."


def test_what_a_rejected_call_named_is_shown_short_and_harmless() -> None:
    with pytest.raises(CallRejected) as caught:
        checked(SIGNER.sign(CALL.changed("X-Copernica-ID", b"account\n\x1b\xff" * 20)))
    assert caught.value.excerpt.isascii()
    assert caught.value.excerpt.isprintable()
    assert len(caught.value.excerpt) <= 2 + 4 * CallRejected.MAX_EXCERPT


def test_the_longest_key_id_that_dns_allows_is_read() -> None:
    key_id = "x" * 59 + "." + "x." * 90 + "copernica.com"
    assert len(key_id) == signature.MAX_KEY_ID
    assert checked(with_key_id(key_id)).key_id == key_id


def test_a_key_id_is_the_same_in_every_letter_case() -> None:
    assert checked(with_key_id("One._DomainKey.COPERNICA.com")).key_id == KEY_ID


def test_a_policy_without_accounts_takes_nothing() -> None:
    assert refused(CALL, Policy.from_settings([])) == Reason.WRONG_ACCOUNT


def test_a_call_read_before_is_judged_afresh() -> None:
    """What is remembered between calls is their form alone."""
    assert checked(CALL)
    assert refused(CALL, received=NOW + 1000) == Reason.TOO_OLD
    assert refused(CALL, Policy.from_settings(["1"])) == Reason.WRONG_ACCOUNT
    assert refused(with_parameter(",keyId=x")) == refused(with_parameter(",keyId=x")) == Reason.REPEATED
    assert checked(CALL)


def test_an_account_that_is_no_text_is_refused_like_any_other() -> None:
    call = BARE.sign(CALL.changed("X-Copernica-ID", b"\xff-1234"))
    assert refused(call, Policy.from_settings(["1234"])) == Reason.WRONG_ACCOUNT


# ---- anything at all --------------------------------------------------------------------------------------------

COVERED_PLACES = [at for at, (name, _) in enumerate(CALL.headers) if name.lower().decode() in COVERED]


def with_byte(value: bytes, at: int, byte: int) -> bytes:
    at %= len(value)
    return value[:at] + bytes([byte]) + value[at + 1 :]


@given(
    place=st.sampled_from(["target", "body", "signature", *COVERED_PLACES]),
    at=st.integers(0, 1000),
    byte=st.integers(0, 255) | st.sampled_from([*b" \t\n:,_-AZaz09"]),
)
def test_no_byte_can_be_changed(place: str | int, at: int, byte: int) -> None:
    if isinstance(place, int):
        name, value = CALL.headers[place]
        new = with_byte(value, at, byte)
        assume(new.strip(b" \t") != value)
        call = CALL.changed(name.decode(), new)
    elif place == "signature":
        was = CALL.value("Signature").rpartition(b'signature="')[2].rstrip(b'"')
        now = base64.b64encode(with_byte(base64.b64decode(was), at, byte))
        assume(now != was)
        call = CALL.changed("Signature", CALL.value("Signature").replace(was, now))
    else:
        value = CALL.target if place == "target" else CALL.body
        new = with_byte(value, at, byte)
        assume(new != value)
        call = CALL._replace(target=new) if place == "target" else CALL._replace(body=new)
    assert refused(call) in set(Reason)


names = st.sampled_from([name for name, _ in CALL.headers] + [b"date", b"SIGNATURE", b""]) | st.binary(max_size=8)
#: Values that look like what they should be.
dates = st.lists(
    st.sampled_from(
        ["Fri,", "20", "Nov", "2026", "10:20:00", "GMT", "+9999", "-0000", ":", "-", "99999999999", "10.20", ",",
         "Nov-2026", "\xa0", "\xb2", "am", "0", "(", "1:2:3:4", "2147483647", "-1", "EST", "69", "9999"]
    ), max_size=8,
).map(lambda words: " ".join(words).encode("latin-1"))  # fmt: skip  # words, not a column of them
accounts = st.binary(max_size=6).map(lambda noise: noise + b"-1234")
digests = st.lists(st.sampled_from([b"sha-256=", b"SHA-512=", b"QUJD", b"=", b",", b" ", b"\xff"])).map(b"".join)
parameters = st.lists(
    st.sampled_from(
        [b"keyId=", b"algorithm=", b"headers=", b"signature=", b'"', b'""', b",", b"\\", b" ", b"\n", b"\xff",
         b"x=1", b'"QUJD"', b'"rsa-sha256"', f'"{KEY_ID}"'.encode(), f'"{" ".join(COVERED)}"'.encode()]
    ), max_size=20,
).map(b"".join)  # fmt: skip  # words, not a column of them
values = st.binary(max_size=40) | dates | accounts | digests | parameters


@given(st.lists(st.tuples(names, values), max_size=12), st.binary(max_size=8), st.binary(max_size=8))
def test_nothing_in_the_headers_raises_anything_else(
    headers: list[tuple[bytes, bytes]], method: bytes, body: bytes
) -> None:
    with pytest.raises(CallRejected):
        examine(method, b"/", headers, body, NOW, POLICY)


@given(st.sampled_from([name for name, _ in CALL.headers]), values, st.booleans())
@example(b"X-Copernica-ID", b"\xff-1234", True)
@example(b"Date", formatdate(NOW).encode(), True)
def test_nothing_in_one_header_of_a_good_call_raises_anything_else(name: bytes, value: bytes, twice: bool) -> None:
    call = CALL.changed(name.decode(), value)
    call = call.also(name.decode(), value) if twice and name == b"Signature" else call
    try:
        claim = examine(*call, NOW, Policy.from_settings(["1234"]))
    except CallRejected:
        return
    with pytest.raises(CallRejected):
        claim.verify(SIGNER.public)


@given(dates)
def test_no_date_raises_anything_else(date: bytes) -> None:
    assert isinstance(refused(CALL.changed("Date", date)), Reason)


def outcome(call: Call) -> object:
    try:
        return examine(*call, NOW, POLICY)
    except CallRejected as rejected:
        return rejected.reason


genuine_parts = st.sampled_from(
    [CALL.value("Signature"), b'x=",signature="', b',signature="', b',signature="QUJD"', b',signature=""', b'"']
)


@given(st.lists(genuine_parts | parameters, max_size=3).map(b"".join))
@example(CALL.value("Signature"))
@example(CALL.value("Signature") + b',signature="QUJD"')
def test_a_signature_header_that_ends_as_usual_is_read_like_any_other(value: bytes) -> None:
    assert outcome(CALL.changed("Signature", value)) == outcome(CALL.changed("Signature", value + b" ,"))


@given(
    st.sampled_from([b"SHA-256=", b"sha-256=", b"sha-512=", b"sha-256"]),
    st.just(digest("sha-256", BODY)[8:].encode()) | st.binary(max_size=3),
    st.binary(max_size=2),
)
@example(b"SHA-256=", digest("sha-256", BODY)[8:].encode(), b"")
def test_a_digest_that_stands_alone_is_judged_like_one_beside_others(
    name: bytes, made: bytes, more: bytes
) -> None:
    value = (name + made + more).strip()
    alone, beside = (outcome(CALL.changed("Digest", one)) for one in (value, value + b",md5=QUJD"))
    assert isinstance(alone, Reason) == isinstance(beside, Reason)
