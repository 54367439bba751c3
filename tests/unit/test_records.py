"""Bodies of events that are handed on again: written at once, they are as those that are read back to be sure."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from workers.records import FORM, plain_form, unusual_body

names = st.sampled_from(("id", "tags", "header", "a_1", "a[b]", "a[", "", "é", "A", "0", "_x", "x-y")) | st.text(
    max_size=3
)
texts = st.text(max_size=8) | st.sampled_from(
    ("", "\0", "\ud800", "jan@example.nl", "a b+c&d=e%2F~;\r\n", "é" * 1100)
)
values = (
    texts | st.lists(texts, max_size=3) | st.dictionaries(texts, texts, max_size=1) | st.integers() | st.none()
)


@given(st.dictionaries(names, values, max_size=5))
def test_a_plain_form_is_the_one_that_would_have_been_read_back(fields: dict[str, Any]) -> None:
    if plain := plain_form(fields):
        assert unusual_body(fields) == (plain, FORM)


def test_what_log_files_say_makes_a_plain_form() -> None:
    block = "User-Agent: Mozilla/5.0 (X11; é)\r\nReferer: https://example.nl/?a=b&c"
    fields = {
        "id": "5fd2",
        "recipient": "jan@example.nl",
        "tags": ["a", "b"],
        "header": block,
        "time": "1795165200",
    }
    assert unusual_body(fields) == (plain_form(fields), FORM)
