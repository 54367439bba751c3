"""What is read from an answer of Copernica's REST API."""

from typing import Any

import pytest

from ingest.copernica.api.answers import NotJson, json_of


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb'"cut off \ud83d"', "cut off \ufffd"),
        (rb'"whole \ud83d\ude00"', "whole \U0001f600"),
        (b'"caf\xe9"', "caf\ufffd"),
        (b"1e400", "1e400"),
        (b"-1e400", "-1e400"),
    ],
)
def test_a_value_that_cannot_be_stored_spoils_no_others(written: bytes, read: Any) -> None:
    others = b'"a": 1.5, "b": "\xc3\xab", "c": 12345678901234567890'
    assert json_of(b'[{%s, "odd": %s}]' % (others, written)) == [
        {"a": 1.5, "b": "\u00eb", "c": 12345678901234567890, "odd": read}
    ]


@pytest.mark.parametrize("text", [b"[1, 2", b"{}{}", b"[NaN]", b"[" * 100_000, b'["a\nb"]', b"\xff\xfe"])
def test_what_is_no_json_is_an_error(text: bytes) -> None:
    with pytest.raises(NotJson):
        json_of(text)
