"""Heads that arrive in pieces, down to single bytes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.endpoint import heads
from ingest.endpoint.heads import HEAD_END, may_become_head

#: What heads are made of, well-formed and not.
PARTS = st.lists(
    st.sampled_from([b"POST", b" ", b"/c", b"\r\n", b"\r", b"\n", b"A: b", b"1", b"\x00"]), max_size=12
)


@given(PARTS, st.integers(0, 40))
def test_a_head_in_pieces_is_judged_as_it_is_in_one(parts: list[bytes], begin: int) -> None:
    data = b"".join(parts).partition(HEAD_END)[0]
    judged = 0
    for end in range(min(begin, len(data)), len(data) + 1):
        verdict = may_become_head(data[:end], judged)
        assert verdict == may_become_head(data[:end])
        if not verdict:
            return
        judged = end


class Read:
    """A pattern that counts the bytes which it is given."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.pattern = pattern
        self.count = 0

    def fullmatch(self, data: bytes, at: int = 0) -> re.Match[bytes] | None:
        self.count += len(data) - at
        return self.pattern.fullmatch(data, at)


def test_what_a_head_had_before_is_not_read_again_for_each_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("_BEGINNING", "_GOES_ON")
    patterns = [Read(getattr(heads, name)) for name in names]
    for name, pattern in zip(names, patterns, strict=True):
        monkeypatch.setattr(heads, name, pattern)
    data = b"POST /copernica HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 14_000
    assert may_become_head(data)
    for _ in range(1_000):
        data += b"x"
        assert may_become_head(data, len(data) - 1)
    assert sum(pattern.count for pattern in patterns) < len(data) + 3_000
