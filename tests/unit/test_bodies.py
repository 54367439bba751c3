"""Bodies as they come in: forms and JSON, whole and broken."""

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import Any
from unittest.mock import patch
from urllib.parse import quote_plus, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.copernica import bodies
from ingest.copernica.bodies import MAX_DEPTH, MAX_FIELDS, Fields, parse, parse_form, parse_json
from ingest.errors import Undecodable

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

#: What forms are made of; with these alone they are ASCII and their escapes are whole …
plain = st.sampled_from(
    [*"ab===&&+_ .?~", "&tags[=", "%41", "%e2%82%AC", "%C3", "%ff", "%00", "%1e", "%1F", "%1E", "%1f", "%1"]
    + [f"%{ord(sign):02X}" for sign in "=&%+\n "]
)
#: … and what else is seen in them.
odd = st.sampled_from([*"%é😀\udcff\udcc3", "%%", "%4", "%4g"])
odd |= st.characters(min_codepoint=32, exclude_characters="\x7f]", codec="utf-8")
encoded = (st.lists(plain) | st.lists(plain | odd)).map("".join)
#: Names and values before they are encoded: anything at all, also bytes that are not UTF-8 …
texts = st.text(max_size=12) | st.binary(max_size=8).map(lambda noise: noise.decode("utf-8", "surrogateescape"))
texts |= st.sampled_from(["a", "a=b==", "100%", "%41", "%4", "\x1e", "\x1f", "\x1e\x1f=", "&", "+"])
#: … but brackets, of which there is more in `test_brackets`.
names = texts.map(lambda text: text.replace("]", ")"))


def is_clean(text: str) -> bool:
    """Whether every database holds it."""
    return not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text)


def gathered(pairs: list[tuple[str, str]]) -> Fields:
    """One value per name, or the list of its values."""
    lists: dict[str, list[str]] = {}
    for name, value in pairs:
        lists.setdefault(name, []).append(value)
    exact = len(lists) == len(pairs) and all(is_clean(text) for pair in pairs for text in pair)
    return Fields({name: values if len(values) > 1 else values[0] for name, values in lists.items()}, exact)


def simply_parsed(body: bytes) -> Fields:
    """What `parse_form` should find, read the plain way."""

    def unquoted(text: bytes) -> str:
        return unquote_to_bytes(text.replace(b"+", b" ")).decode("utf-8", "surrogateescape")

    parts = (pair.partition(b"=") for pair in body.split(b"&") if pair)
    return gathered([(unquoted(name), unquoted(value)) for name, _, value in parts])


@given(encoded.map(lambda text: f"x=1&{text}".encode("utf-8", "surrogateescape")))
@example(b"a=100%%25&b=%&c=%4")
@example(b"a=b=c%3Dd=%41&d==")
@example(b"a=b=c&d")
@example(b"a==&b=%1E%1f&c%1F=%1e")
@example(b"a=%C3%A9&b=%E9&c=\xc3\xa9&d=\xe9")
@example(b"a=1&&b&=c&a=2&a=3")
def test_a_form_is_read_as_the_standard_library_would_read_it(body: bytes) -> None:
    assert parse_form(body) == simply_parsed(body)


@given(st.lists(st.tuples(names, texts), min_size=1, max_size=12), st.sampled_from(["", "="]))
def test_what_was_encoded_is_read_back(pairs: list[tuple[str, str]], bare: str) -> None:
    def quoted(text: str, safe: str = "") -> str:
        return quote_plus(text, safe, errors="surrogateescape")

    body = "&".join(f"{quoted(name)}={quoted(value, bare)}" for name, value in pairs)
    assert parse(body.encode(), FORM) == gathered(pairs)


def test_an_empty_pair_adds_no_value_to_an_empty_name() -> None:
    assert parse_form(b"=a&&b=c&") == ({"": "a", "b": "c"}, True)


def test_a_repeated_plain_name_has_all_its_values_in_order() -> None:
    assert parse_form(b"a=c&x=1&a=a&a=c") == ({"a": ["c", "a", "c"], "x": "1"}, False)


def test_a_name_without_a_value_has_an_empty_one() -> None:
    assert parse_form(b"a&b=") == ({"a": "", "b": ""}, True)


def test_raw_utf8_is_read_and_other_bytes_can_be_recovered() -> None:
    assert parse_form("naam=Zoë 😀".encode()) == ({"naam": "Zoë 😀"}, True)
    fields, exact = parse_form(b"latin=caf\xe9%E9")
    assert (fields, exact) == ({"latin": "caf\udce9\udce9"}, False)
    assert fields["latin"].encode("utf-8", "surrogateescape") == b"caf\xe9\xe9"


@pytest.mark.parametrize("body", [b"a=%00", b"a%00=1", b"a=1&b=x%00y", b"m[%00]=1", b"a=%ED%A0%80", b"%ff=1"])
def test_what_databases_cannot_hold_is_not_exact(body: bytes) -> None:
    assert not parse_form(body).exact


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("iso-8859-1", "Zoë\x80"),
        ('"ISO-8859-1"', "Zoë\x80"),
        ("latin1", "Zoë\x80"),
        ("windows-1252", "Zoë€"),
        ("CP1252; boundary=x", "Zoë€"),
        (" 'Windows-1252'", "Zoë€"),
    ],
)
def test_the_charset_in_the_content_type_is_honoured(charset: str, text: str) -> None:
    form = f"{FORM}; Charset={charset}"
    assert parse(b"naam=Zo%EB%80", form) == parse(b"naam=Zo\xeb\x80", form) == ({"naam": text}, True)
    assert parse(b"a=%1E&b==&na%EBm=%EB", form) == ({"a": "\x1e", "b": "=", "naëm": "ë"}, True)
    assert parse(b'{"naam": "Zo\xeb\x80"}', f"{JSON};charset={charset}") == ({"naam": text}, True)


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", "klingon", "utf-16", "utf-7", "idna", "hex", "", '"'])
def test_any_other_charset_is_read_as_utf8(charset: str) -> None:
    form = f"{FORM}; charset={charset}"
    assert parse(b"naam=Zo%C3%AB+%2BAC0-", form) == ({"naam": "Zoë +AC0-"}, True)
    assert parse(b"naam=Zo%EB", form) == ({"naam": "Zo\udceb"}, False)


def test_bytes_that_a_charset_lacks_can_be_recovered() -> None:
    assert parse(b"a=%81%EB", f"{FORM}; charset=windows-1252") == ({"a": "\udc81ë"}, False)
    assert parse(b'{"a": "\x81\xeb"}', f"{JSON}; charset=windows-1252") == ({"a": "\udc81ë"}, False)


@pytest.mark.parametrize("content_type", [FORM, JSON, "", "Application/JSON; charset=utf-8"])
def test_a_form_is_read_as_a_form_whatever_it_is_sent_as(content_type: str) -> None:
    assert parse(b"id=1&type=open&tags[]=a", content_type) == ({"id": "1", "type": "open", "tags": ["a"]}, True)


@pytest.mark.parametrize("content_type", [FORM, JSON, "", f"{FORM}; charset=utf-8"])
@pytest.mark.parametrize("before", [b"", b" ", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
def test_json_is_read_as_json_whatever_it_is_sent_as(before: bytes, content_type: str) -> None:
    body = before + b'{"id": "1", "time": 1795165964, "tags": ["a", "b=c&d"]}\n'
    assert parse(body, content_type) == ({"id": "1", "time": 1795165964, "tags": ["a", "b=c&d"]}, True)


@pytest.mark.parametrize("body", [b"{name}=x&[]=y", b'{"a"=1', b"[=1", b"\xef\xbb\xbfa=1"])
def test_a_form_that_begins_like_json_is_still_a_form(body: bytes) -> None:
    assert parse(body, f"{FORM}; charset=utf-8") == simply_parsed(body)


def test_the_charset_counts_also_in_a_form_that_begins_like_json() -> None:
    assert parse(b"{naam}=Zo%EB", f"{FORM}; charset=latin1") == ({"{naam}": "Zoë"}, True)


@pytest.mark.parametrize("content_type", [FORM, JSON, ""])
def test_an_empty_body_has_no_fields(content_type: str) -> None:
    assert parse(b"", content_type) == parse(b"\r\n", content_type) == ({}, True)


@pytest.mark.parametrize(
    "body",
    [b"hello", b"\x89PNG\r\n=", b"a=\0", b"a=1\nb=2", b"a=\x7f", b"a\t=1", b"\xff\xfe", b"a=\x1e", b"a=\x1f"],
)
def test_what_is_no_form_is_not_read_as_one(body: bytes) -> None:
    with pytest.raises(Undecodable):
        parse(body, FORM)


def test_a_form_has_a_limit_of_fields() -> None:
    most = "&".join(f"f{n}=" for n in range(MAX_FIELDS)).encode()
    assert len(parse_form(most).values) == MAX_FIELDS
    with pytest.raises(Undecodable, match=str(MAX_FIELDS)):
        parse_form(most + b"&one=more")


json_values = st.recursive(
    st.text(max_size=6) | st.integers(-(10**17), 10**18 - 1) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=10,
)


def texts_in(value: Any) -> Iterator[str]:
    """Every name and every text of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts_in(inner)


@given(st.dictionaries(st.text(max_size=6), json_values, max_size=6), st.booleans())
# A backslash before u0000 is text like any other, which JSON writes with two of them; a NUL is not.
@example({"\\u0000": "\\u0000"}, True)
@example({"\0": ""}, True)
@example({"a": ["\\\0"]}, False)
def test_a_json_object_is_read_back(fields: dict[str, Any], ascii_only: bool) -> None:
    text = json.dumps(fields, ensure_ascii=ascii_only)
    assert parse(text.encode(), JSON) == (fields, all(map(is_clean, texts_in(fields))))


@pytest.mark.parametrize("escape", ["\\u0000", "\\ud83d", "\\udfff\\ud83d", "é\\ud83d", "\udcff"])
@pytest.mark.parametrize("pattern", ['{"a": "%s"}', '{"%s": 1}', '{"a": [1, {"b": "%s"}]}', '{"a": {"x%sx": []}}'])
def test_json_strings_that_databases_cannot_hold_are_not_exact(pattern: str, escape: str) -> None:
    text = pattern % escape
    fields, exact = parse(text.encode("utf-8", "surrogateescape"), JSON)
    assert (fields, exact) == (json.loads(text), False)


def test_a_json_string_of_two_halves_is_one_character() -> None:
    assert parse(b'{"a": "\\ud83d\\ude00 caf\\u00e9"}', JSON) == ({"a": "😀 café"}, True)


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
        b'{"a": "\n"}',
        b'\xef\xbb\xbf\xef\xbb\xbf{"a": 1}',
        b"\xef\xbb\xbf",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000,
        b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}",
    ],
    ids=range(13),
)
def test_what_is_no_json_object_is_not_read_as_one(body: bytes) -> None:
    with pytest.raises(Undecodable):
        parse(body, JSON)


def test_json_nests_up_to_a_limit() -> None:
    levels = MAX_DEPTH - 1
    assert parse(b'{"a": ' + b"[" * levels + b"]" * levels + b"}", JSON).exact


@pytest.mark.parametrize("body", [b"null", b"1", b'"id"', b"true", b"\xff"])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(Undecodable):
        parse_json(body)


def read_number(text: str) -> tuple[Any, bool]:
    """What becomes of a number, the same on every level."""
    fields, exact = parse(f'{{"n": {text}, "in": [{{"n": {text}}}]}}'.encode(), JSON)
    assert repr(fields) == repr({"n": fields["n"], "in": [{"n": fields["n"]}]})
    return fields["n"], exact


@pytest.mark.parametrize("number", [42, -42, 0, 1.5, -0.25, 1.0, 1795165964, 10**18 - 1, 1 - 10**18])
def test_a_number_that_can_be_written_back_is_a_number(number: float) -> None:
    found, exact = read_number(str(number))
    assert (found, type(found), exact) == (number, type(number), True)


BIG = ["1000000000000000000", "9223372036854775808", "-9223372036854775809", "9" * 5000]
OTHERWISE = [
    "1.50",
    "1e5",
    "1E5",
    "1e999",
    "-0",
    "0.0",
    "-0.0",
    "1e-07",
    "5e-324",
    "1e+16",
    "0.10000000000000000555",
]


@pytest.mark.parametrize("text", [*BIG, *OTHERWISE])
def test_a_number_that_would_be_written_otherwise_is_kept_as_text(text: str) -> None:
    assert read_number(text) == (text, False)


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,3})?", fullmatch=True))
def test_no_number_is_ever_changed(text: str) -> None:
    number, exact = read_number(text)
    assert (str(number), exact) == (text, type(number) is not str)


def test_names_that_json_repeats_have_all_their_values() -> None:
    body = b'{"a": 1, "b": {"c": [], "c": 2, "c": 3}, "a": [2]}'
    assert parse(body, JSON) == ({"a": [1, [2]], "b": {"c": [[], 2, 3]}}, False)
    assert parse(b'{"b": [{"c": 1, "c": 1}]}', JSON) == ({"b": [{"c": [1, 1]}]}, False)


def test_a_json_object_has_a_limit_of_fields() -> None:
    most = {f"f{n}": 0 for n in range(MAX_FIELDS)}
    assert len(parse(json.dumps(most).encode(), JSON).values) == MAX_FIELDS
    for more in (most | {"one": "more"}, {"in": most | {"one": "more"}}):
        with pytest.raises(Undecodable):
            parse(json.dumps(more).encode(), JSON)


@given(st.binary(max_size=60), st.sampled_from([FORM, JSON, "", f"{FORM}; charset=cp1252"]))
def test_any_bytes_are_read_or_refused(body: bytes, content_type: str) -> None:
    for variant in (body, b"{" + body, b"a=" + body, b'{"a": "' + body + b'"}'):
        with suppress(Undecodable):
            assert all(type(name) is str for name in parse(variant, content_type).values)


# --- bodies that are made to be dear ---

SIZE = 1_000_000


def filled(unit: bytes, head: bytes = b"", tail: bytes = b"") -> bytes:
    return head + (unit * (SIZE // len(unit) + 1))[:SIZE] + tail


def joined(unit: bytes, between: bytes = b"&", count: int = MAX_FIELDS - 1) -> bytes:
    return between.join(unit % number for number in range(count))


DEAR = {
    "percent signs": filled(b"%", b"a="),
    "no escapes": filled(b"%zz", b"a="),
    "odd escapes": filled(b"%zz%", b"a="),
    "escapes": filled(b"%41", b"a=", b"%"),
    "bad bytes": filled(b"%ff", b"a="),
    "ampersands": filled(b"&", b"a="),
    "equals signs": filled(b"="),
    "brackets": filled(b"[", b"a", b"=1"),
    "levels": filled(b"[a]", b"a", b"=1"),
    "fields": filled(b"a=&"),
    "long fields": joined(b"k%d=" + b"x" * 90),
    "long names": joined(b"k[%d" + b"x" * 490 + b"]=", count=SIZE // 500),
    "longer names": joined(b"k[%d" + b"x" * 49_990 + b"]=", count=SIZE // 50_000),
    "deep names": joined(b"k%d" + b"[a]" * 16 + b"=" + b"x" * 50),
    "repeated names": joined(b"k=%d" + b"x" * 90),
    "JSON, deep": filled(b'{"a":'),
    "JSON, lists in lists": filled(b"[", b'{"a":'),
    "JSON, a long number": filled(b"9", b'{"a":', b"}"),
    "JSON, a long fraction": filled(b"9", b'{"a":0.', b"}"),
    "JSON, many numbers": b'{"a":[%b]}' % joined(b"%d", b",", SIZE // 6),
    "JSON, many texts": b'{"a":[%b]}' % joined(b'"%d"', b",", SIZE // 8),
    "JSON, many lists": b'{"a":[%b]}' % b",".join([b"[]"] * (SIZE // 3)),
    "JSON, many names": b"{%b}" % joined(b'"%d":1', b",", SIZE // 10),
    "JSON, one name": b"{%b}" % b",".join([b'"a":1'] * (SIZE // 6)),
    "JSON, backslashes": filled(b"\\\\", b'{"a":"', b'"}'),
}


@pytest.mark.parametrize("dear", DEAR)
def test_a_body_that_is_made_to_be_dear_takes_no_more_than_four_times_its_size(dear: str) -> None:
    body = DEAR[dear]
    tracemalloc.start()
    try:
        with suppress(Undecodable):
            parse(body, "application/json" if dear.startswith("JSON") else FORM)
        assert tracemalloc.get_traced_memory()[1] <= 4 * len(body)
    finally:
        tracemalloc.stop()


def test_what_is_inside_json_texts_does_not_count_as_values() -> None:
    text = ',[{]}\\"' * 2 * MAX_FIELDS
    assert parse(json.dumps({"mime": text, "a": [1, 2]}).encode(), "application/json").values == {
        "mime": text,
        "a": [1, 2],
    }


@pytest.mark.parametrize(("values", "refused"), [(MAX_FIELDS - 5, False), (MAX_FIELDS + 5, True)])
def test_json_of_too_many_values_is_refused(values: int, refused: bool) -> None:
    body = json.dumps({"a": [[0] * (values // 2), [""] * (values // 2)]}).encode()
    expected = pytest.raises(Undecodable, match="more than") if refused else nullcontext()
    with expected:
        parse(body, "application/json")


@given(encoded, st.sampled_from(["utf-8", "latin1"]))
@example("a=%%41%4&b=%C3%A9+%1f=&%zz%", "utf-8")
def test_a_large_form_is_read_like_a_small_one(text: str, charset: str) -> None:
    body = text.encode("utf-8", "surrogateescape")
    with suppress(Undecodable):
        whole = parse_form(body, charset)
        with patch.object(bodies, "LARGE", 0), patch.object(bodies, "PIECE", 3):
            assert parse_form(body, charset) == whole
