"""What is counted as the same in figures of mailings, and that nothing personal is in it."""

import time

import pytest

from workers.mailings import grouping
from workers.mailings.figures import Figures, Numbers
from workers.mailings.names import Name


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((550, "5.1.1", "<jan@example.nl>: User unknown", None), "550 5.1.1 …: User unknown"),
        ((550, None, "  a\n\tb  ", None), "550 a b"),
        ((421, "4.7.0", "id 4XyZ0K3dQ99 from 192.0.2.25 [2001:db8::7:1a2b]", None), "421 4.7.0 id … from … […]"),
        ((None, None, None, "bounce"), "bounce"),
        ((None, None, None, None), ""),
    ],
)
def test_reasons_lose_addresses_and_numbers(given: tuple[int, str, str, str], expected: str) -> None:
    assert grouping.reason(*given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("https://Shop.example/a/b?u=1&to=jan@example.nl#x", "https://shop.example/a/b?…"),
        ("https://jan:secret@shop.example/", "https://shop.example/"),
        ("https://shop.example/for/jan%40example.nl/x", "https://shop.example/for/…/x"),
        ("https://shop.example/u/9f8e7d6c5b4a39281706/off", "https://shop.example/u/…/off"),
        ("mailto:jan@example.nl", "mailto:…"),
        ("http://[", "…"),
        ("", ""),
        (None, ""),
    ],
)
def test_links_lose_what_belongs_to_one_recipient(given: str | None, expected: str) -> None:
    assert grouping.link(given) == expected


def test_clients_are_told_by_what_they_say() -> None:
    proxy = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
    names = [grouping.client(one) for one in (proxy, "Mozilla/5.0", "x (iPhone; y)", "Googlebot/2.1", "?", None)]
    assert names == ["Gmail", "Apple Mail", "iPhone", "Robots", "", ""]


def test_tags_are_counted_once_each_and_not_without_bounds() -> None:
    assert grouping.tags('["a", "a", "b\\u0000", "\\ud800", 1, ""]') == ("a", "b\N{REPLACEMENT CHARACTER}", "?")
    assert len(grouping.tags("[" + ",".join(f'"{n}"' for n in range(10_000)) + "]")) == grouping.MOST_TAGS
    assert (
        grouping.tags("no json") == grouping.tags('{"a": 1}') == grouping.tags("[]") == grouping.tags(None) == ()
    )


@pytest.mark.parametrize("text", ["a@" * 50_000, "1" * 100_000, "a1" * 50_000, "<" * 100_000, "::" * 50_000])
def test_whatever_a_server_says_is_read_at_once_and_cut(text: str) -> None:
    began = time.process_time()
    found = [
        grouping.reason(550, None, text, None),
        grouping.link(f"https://a.example/{text}"),
        grouping.link(text),
    ]
    assert time.process_time() - began < 1
    assert all(len(one) <= grouping.LONGEST for one in found)


def test_rates_are_of_what_is_known_best() -> None:
    seen = {"open": Numbers(30, 20), "delivery": Numbers(50, 50)}
    assert Figures(1, seen).rate("open") == 0.4
    assert Figures(1, seen, theirs=100).rate("open") == 0.2
    few = seen | {"delivery": Numbers(5, 5)}
    assert Figures(1, few).rate("open") is None
    assert Figures(1, few, names=[Name("ms", None, None, None, 80)]).rate("open") == 0.25
    assert Figures(1, {"open": Numbers(1, None)}).rate("open") is None
