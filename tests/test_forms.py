"""Bodies as they come in: forms and JSON, whole and broken."""

import json
import tracemalloc
from contextlib import suppress
from typing import Any
from urllib.parse import unquote_to_bytes, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.copernica.forms import MAX_FIELDS, parse, parse_form, parse_json
from ingest.errors import Undecodable

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

#: What forms are made of; with these alone they are ASCII and their escapes are whole …
plain = st.sampled_from(
    [*"ab===&&+_ .?~", "tags[]", "tags%5B0%5D", "%41", "%e2%82%AC", "%C3", "%ff", "%00"]
    + [f"%{ord(sign):02X}" for sign in "=&%+\n "]
)
#: … and what else is seen in them.
odd = st.sampled_from([*"%é😀\udcff\udcc3", "%%", "%4", "%4g"])
odd |= st.characters(min_codepoint=32, exclude_characters="\x7f", codec="utf-8")
encoded = (st.lists(plain) | st.lists(plain | odd)).map("".join)
#: Names and values before they are encoded: anything at all, also bytes that are not UTF-8.
texts = st.text(max_size=12) | st.binary(max_size=8).map(lambda noise: noise.decode("utf-8", "surrogateescape"))


def unquoted(text: bytes) -> str:
    return unquote_to_bytes(text.replace(b"+", b" ")).decode("utf-8", "surrogateescape")


def gathered(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """One value per name, or the list of its values."""
    lists: dict[str, list[str]] = {}
    for name, value in pairs:
        lists.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in lists.items()}


def simply_parsed(body: bytes) -> dict[str, Any]:
    """What `parse_form` should find, read the plain way."""
    parts = (pair.partition(b"=") for pair in body.split(b"&") if pair)
    return gathered([(unquoted(name), unquoted(value)) for name, _, value in parts])


@given(encoded.map(lambda text: f"x=1&{text}".encode("utf-8", "surrogateescape")))
@example(b"a=100%%25&b=%&c=%4")
@example(b"a=b=c%3Dd=%41&d==")
@example(b"a=%C3%A9&b=%E9&c=\xc3\xa9&d=\xe9")
@example(b"a=1&&b&=c&a=2&a=3")
def test_a_form_is_read_as_the_standard_library_would_read_it(body: bytes) -> None:
    assert parse_form(body) == simply_parsed(body)


def test_an_empty_pair_adds_no_value_to_an_empty_name() -> None:
    assert parse_form(b"=a&&b=c&") == {"": "a", "b": "c"}


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=12))
def test_what_was_encoded_is_read_back(pairs: list[tuple[str, str]]) -> None:
    body = urlencode(pairs, errors="surrogateescape").encode()
    assert parse(body, FORM) == gathered(pairs)


def test_a_repeated_name_has_all_its_values_in_order() -> None:
    assert parse_form(b"tags[]=c&x=1&tags%5B%5D=a&tags[]=b") == {"tags[]": ["c", "a", "b"], "x": "1"}


def test_raw_utf8_is_read_and_other_bytes_can_be_had_back() -> None:
    fields = parse_form("naam=Zoë 😀".encode() + b"&latin=caf\xe9%E9")
    assert fields == {"naam": "Zoë 😀", "latin": "caf\udce9\udce9"}
    assert fields["latin"].encode("utf-8", "surrogateescape") == b"caf\xe9\xe9"


@pytest.mark.parametrize("content_type", [FORM, JSON, "", "Application/JSON; charset=utf-8"])
def test_a_form_is_read_as_a_form_whatever_it_is_sent_as(content_type: str) -> None:
    assert parse(b"id=1&type=open&tags[]=a", content_type) == {"id": "1", "type": "open", "tags[]": "a"}


@pytest.mark.parametrize("content_type", [FORM, JSON, "", f"{FORM}; charset=utf-8"])
def test_json_is_read_as_json_whatever_it_is_sent_as(content_type: str) -> None:
    body = b' {"id": "1", "time": 1795165964, "tags": ["a", "b=c&d"]}\n'
    assert parse(body, content_type) == {"id": "1", "time": 1795165964, "tags": ["a", "b=c&d"]}


def test_a_form_that_begins_like_json_is_still_a_form() -> None:
    assert parse(b"{name}=x&[]=y", FORM) == {"{name}": "x", "[]": "y"}


def test_an_empty_body_has_no_fields() -> None:
    assert parse(b"", FORM) == parse(b"\r\n", FORM) == {}


@pytest.mark.parametrize(
    "body", [b"hello", b"\x89PNG\r\n=", b"a=\0", b"a=1\nb=2", b"a=\x7f", b"a\t=1", b"\xff\xfe"]
)
def test_what_is_no_form_is_not_read_as_one(body: bytes) -> None:
    with pytest.raises(Undecodable):
        parse(body, FORM)


def test_a_form_has_a_limit_of_fields() -> None:
    most = "&".join(f"f{n}=" for n in range(MAX_FIELDS)).encode()
    assert len(parse_form(most)) == MAX_FIELDS
    with pytest.raises(Undecodable, match=str(MAX_FIELDS)):
        parse_form(most + b"&one=more")


@given(st.dictionaries(st.text(), st.text() | st.integers(-(10**16), 10**17) | st.booleans() | st.none()))
def test_a_json_object_is_read_back(fields: dict[str, Any]) -> None:
    assert parse(json.dumps(fields).encode(), JSON) == fields
    assert parse(json.dumps(fields, ensure_ascii=False).encode(), JSON) == fields


@pytest.mark.parametrize(
    "body",
    [
        b"[1]",
        b'["a=b"]',
        b"{",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1} x',
        b"{'a': 1}",
        b'{"a": "\xff"}',
        b'{"a": "\n"}',
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000,
    ],
    ids=range(11),
)
def test_what_is_no_json_object_is_not_read_as_one(body: bytes) -> None:
    with pytest.raises(Undecodable):
        parse(body, JSON)


@pytest.mark.parametrize("body", [b"null", b"1", b'"id"', b"true", b"\xff"])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(Undecodable):
        parse_json(body)


@pytest.mark.parametrize("digits", ["9223372036854775808", "-9223372036854775809", "9" * 5000])
def test_a_number_that_does_not_fit_is_kept_as_text(digits: str) -> None:
    assert parse(f'{{"id": {digits}, "n": [{digits}]}}'.encode(), JSON) == {"id": digits, "n": [digits]}


def test_a_number_too_large_for_a_float_is_not_turned_into_infinity() -> None:
    # JSON has no infinity, so the payload column would hold null and the number would be lost.
    assert parse(b'{"n": 1e999}', JSON) == {"n": "1e999"}


def test_names_that_json_repeats_have_all_their_values() -> None:
    body = b'{"a": 1, "b": {"c": [], "c": 2, "c": 3}, "a": [2]}'
    assert parse(body, JSON) == {"a": [1, [2]], "b": {"c": [[], 2, 3]}}


def test_a_json_object_has_a_limit_of_fields() -> None:
    most = {f"f{n}": 0 for n in range(MAX_FIELDS)}
    assert len(parse(json.dumps(most).encode(), JSON)) == MAX_FIELDS
    with pytest.raises(Undecodable):
        parse(json.dumps(most | {"one": "more"}).encode(), JSON)


@given(st.binary(max_size=60), st.sampled_from([FORM, JSON, ""]))
def test_any_bytes_are_read_or_refused(body: bytes, content_type: str) -> None:
    for variant in (body, b"{" + body, b"a=" + body):
        with suppress(Undecodable):
            assert all(type(name) is str for name in parse(variant, content_type))


def test_absurdly_long_names_are_not_remembered() -> None:
    tracemalloc.start()
    try:
        for n in range(50):
            parse_form(b"%d" % n + b"x" * 100_000 + b"=1")
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
