"""Names with PHP's brackets: what PHP writes is read back, and what it would not read is lost to nobody."""

import time
import tracemalloc
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.copernica.bodies import MAX_FIELDS, Fields, parse
from ingest.copernica.php_brackets import MAX_LEVELS
from tests.support.php import Pairs, counts, leaves, php, written

FORM = "application/x-www-form-urlencoded"


def read(pairs: Pairs, safe: str = "") -> Fields:
    return parse(urlencode(pairs, safe=safe).encode(), FORM)


keys = st.text(st.characters(exclude_characters="[]\0", codec="utf-8"), min_size=1, max_size=6)
keys |= st.sampled_from(["0", "1", "2", "-1", "00", "a b", "a.b", "%5B", "é"])
texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=6) | st.just("[]")
trees: st.SearchStrategy[Any] = st.recursive(
    texts,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=4)
        | st.dictionaries(keys, inner, min_size=1, max_size=4).filter(lambda tree: not counts(tree))
    ),
    max_leaves=12,
)


@given(st.dictionaries(keys, trees, max_size=5), st.sampled_from(["", "[]"]))
@example({"fields": {"address": {"city": "x"}}, "orders": [{"tags": ["a", "b"]}, {"tags": ["c"]}]}, "")
def test_what_php_writes_is_read_back(tree: dict[str, Any], safe: str) -> None:
    pairs = written(tree)
    assert read(pairs, safe) == (tree, True)
    assert php(pairs) == tree


@pytest.mark.parametrize(
    "body",
    [
        "tags[]=a&tags[]=b+c",
        "tags[0]=a&tags[1]=b+c",
        "tags%5B%5D=a&tags%5b%5d=b+c",
        "tags%5B0%5D=a&tags%5B1%5D=b%20c",
    ],
)
def test_a_list_is_the_same_in_every_spelling(body: str) -> None:
    assert parse(body.encode(), FORM) == ({"tags": ["a", "b c"]}, True)
    assert parse(body.replace("tags", "x[tags]").encode(), FORM) == ({"x": {"tags": ["a", "b c"]}}, True)


@pytest.mark.parametrize("name", ["tags[]", "tags[0]"])
def test_one_value_with_brackets_is_a_list(name: str) -> None:
    assert read([(name, "")]) == ({"tags": [""]}, True)


def test_fields_between_those_of_a_list_do_not_break_it() -> None:
    assert parse(b"a[]=1&m[x]=2&a[]=3&b=4&m[y]=5", FORM) == (
        {"a": ["1", "3"], "m": {"x": "2", "y": "5"}, "b": "4"},
        True,
    )


@pytest.mark.parametrize("places", [("1", "0"), ("0", "2"), ("1", "2"), ("0", "01")])
def test_places_that_do_not_count_from_zero_are_the_keys_of_a_map(places: tuple[str, str]) -> None:
    one, other = places
    assert read([(f"a[{one}]", "x"), (f"a[{other}]", "y")]) == ({"a": {one: "x", other: "y"}}, True)


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("a=1&a[b]=2", {"a": "1", "a[b]": "2"}),
        ("a[b]=2&a=1", {"a": "1", "a[b]": "2"}),
        ("a=1&a=2&a[]=3", {"a": ["1", "2"], "a[]": "3"}),
        ("a[0]=1&a[0]=2", {"a[0]": ["1", "2"]}),
        ("a[x][y]=1&a[x][y]=2&a[z]=3", {"a[x][y]": ["1", "2"], "a[z]": "3"}),
        ("a[]=1&a[x]=2&a[]=3", {"a[]": ["1", "3"], "a[x]": "2"}),
        ("a[]=1&a[0]=2", {"a[]": "1", "a[0]": "2"}),
        ("a[b]=1&a[b][c]=2", {"a[b]": "1", "a[b][c]": "2"}),
        ("a[b][]=1&a[b]=2", {"a[b][]": "1", "a[b]": "2"}),
        ("x[][a]=1&x[][b]=2", {"x[][a]": "1", "x[][b]": "2"}),
        ("x[][]=1&x[][]=2", {"x[][]": ["1", "2"]}),
        ("x=1&x[][a]=2", {"x": "1", "x[][a]": "2"}),
    ],
)
def test_names_that_contradict_each_other_are_kept_with_all_their_values(body: str, kept: dict[str, Any]) -> None:
    assert parse(body.encode(), FORM) == (kept, False)
    beside = parse(f"m[k]=v&{body}&l[]=1&l[]=2".encode(), FORM)
    assert beside == (kept | {"m": {"k": "v"}, "l": ["1", "2"]}, False)


names = st.sampled_from(
    [
        "x",
        "x[]",
        "x[0]",
        "x[1]",
        "x[a]",
        "x[a][]",
        "x[a][b]",
        "x[][]",
        "x[][a]",
        "x[][b]",
        "y",
        "y[]",
        "[]",
        "z[",
        "z]",
    ]
)
values = st.sampled_from(["", "1", "2", "3"])


@given(st.lists(st.tuples(names, values), min_size=1, max_size=8))
def test_no_value_is_ever_lost(pairs: Pairs) -> None:
    assert sorted(leaves(read(pairs).values)) == sorted(value for _, value in pairs)


@given(st.lists(st.tuples(names.filter(lambda name: name[0] in "xy"), values), min_size=2, max_size=5), st.data())
def test_bodies_that_mean_different_things_to_php_are_told_apart(pairs: Pairs, data: st.DataObject) -> None:
    others = data.draw(st.permutations(pairs))
    one, other = read(pairs), read(others)
    if one.exact and one == other:
        assert php(pairs) == php(others)


@pytest.mark.parametrize(
    "name",
    [
        "a[b",
        "a]",
        "a[b]c",
        "a[b][c",
        "a[[b]]",
        "a[b]]",
        "a[b]c[d]",
        "[a]",
        "[]",
        "a[",
        "]",
        "a[b[]",
        "tagsx",
        "xtags",
    ],
)
def test_brackets_that_do_not_match_are_part_of_a_plain_name(name: str) -> None:
    assert read([(name, "1")]).values == {name: "1"}
    assert read([("x", "1"), (name, "1"), ("m[k]", "v")]).values == {"x": "1", name: "1", "m": {"k": "v"}}


def test_brackets_nest_up_to_a_limit_of_levels() -> None:
    name = "a" + "[b]" * MAX_LEVELS
    assert read([(name, "1")]).values == php([(name, "1")])
    name += "[b]"
    assert read([(name, "1")]).values == {name: "1"}


LONG = 100_000
HOSTILE = {
    "roots": "&".join(f"r{n}[a]=" for n in range(MAX_FIELDS)),
    "keys": "&".join(f"r[k{n}]=" for n in range(MAX_FIELDS)),
    "places": "&".join(f"r[{n}][0]=" for n in range(MAX_FIELDS)),
    "one list": "&".join("r[]=" for _ in range(MAX_FIELDS)),
    "levels": "&".join(f"r[{n}]{'[b]' * (MAX_LEVELS - 1)}=" for n in range(MAX_FIELDS)),
    "contradictions": "&".join(f"r[{n // 2}]{'[a]' * (n % 2)}=" for n in range(MAX_FIELDS)),
    "too deep": f"a{'[b]' * LONG}=",
    "empty brackets": f"a{'[]' * LONG}=",
    "opening brackets": f"a{'[' * LONG}]=",
    "closing brackets": f"a[{']' * LONG}=",
    "long root": f"{'a' * LONG}[b]=",
    "long key": f"a[{'b' * LONG}]=",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_absurd_names_take_no_time(body: str) -> None:
    began = time.process_time()
    parse(body.encode(), FORM)
    assert time.process_time() - began < 5  # a fifth of a second, unless it grows with the square


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bodies", "pattern", "most"),
    [
        (20, f"{{n}}{'x' * LONG}[a]=1", 1_000_000),
        (1, "&".join(f"{{n}}r{place}[a]=" for place in range(MAX_FIELDS)), 1_000_000),
        (20, "&".join(f"{{n}}r{place}{'[b]' * MAX_LEVELS}=" for place in range(36)), 1_000_000),
        (1500, f"{{n}}{'x' * 1980}[a]=1", 5_000_000),
    ],
    ids=["long", "many", "deep", "just short enough"],
)
def test_absurd_names_are_not_remembered(bodies: int, pattern: str, most: int) -> None:
    # What would remember them would hold twice as many bytes, or more.
    tracemalloc.start()
    try:
        for n in range(bodies):
            parse(pattern.replace("{n}", str(n)).encode(), FORM)
        assert tracemalloc.get_traced_memory()[0] < most
    finally:
        tracemalloc.stop()
