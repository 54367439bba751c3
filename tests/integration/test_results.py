"""Readers of results find each result exactly once, in a bounded number of requests, whatever the list is like."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.copernica.api import connection, paging
from ingest.copernica.api import results as results_module
from ingest.copernica.api.results import MAX_START, PER_HALVING, PER_PAGE, Product, Result, results
from ingest.copernica.event_types import EventType
from ingest.errors import RequestRejected, Unreachable
from tests.support.fake_copernica import client
from tests.support.result_lists import BEGIN, Lists, ListServer, list_server, row

#: Seconds of the period of most tests.
SECONDS = 30


@pytest.fixture(scope="module")
def server() -> Iterator[ListServer]:
    with list_server() as server:
        yield server


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and lists a hundredth as long, so that few results make many of them."""
    monkeypatch.setattr(results_module, "PAGE_SIZE", 10)
    monkeypatch.setattr(results_module, "MAX_START", 40)
    monkeypatch.setattr(paging, "OVERLAP", 3)


async def pages(server: ListServer, lists: Lists, seconds: int, **options: Any) -> list[list[Result]]:
    """The results of the first `seconds` seconds."""
    server.lists = lists
    product = options.pop("product", Product.MARKETING_SUITE)
    end = BEGIN + timedelta(seconds=seconds)
    async with client(server.environ) as api:
        return [page async for page in results(api, product, EventType.OPEN, BEGIN, end, **options)]


async def ids(server: ListServer, lists: Lists, seconds: int = SECONDS, **options: Any) -> list[int]:
    """The IDs of the results of the first `seconds` seconds, in order."""
    return sorted(one.id for page in await pages(server, lists, seconds, **options) for one in page)


def allowed(seconds: int, pages: int) -> int:
    """Requests that may be made for a period with so many pages of new results."""
    return (pages + 1) * (PER_HALVING * (seconds + 1).bit_length() + PER_PAGE)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("product", Product)
async def test_a_long_list_is_read_in_parts_and_each_result_comes_once(
    server: ListServer, product: Product, inclusive: bool
) -> None:
    lists = Lists([row(number, number % 4) for number in range(1, 151)], inclusive)
    assert await ids(server, lists, 3, product=product) == list(range(1, 151))
    assert lists.deepest < 130, "no second has more, even with those before and after"


async def test_a_shorter_list_takes_one_request_for_950_results_and_three_more(server: ListServer) -> None:
    lists = Lists([row(number, number % 300) for number in range(1, MAX_START)])
    assert await ids(server, lists, 300) == list(range(1, MAX_START))
    assert lists.requests == -(-MAX_START // 950) + 3


async def test_a_period_without_results_takes_two_requests(server: ListServer) -> None:
    lists = Lists([])
    assert await ids(server, lists, 86_400) == []
    assert lists.requests == 2


#: The second of each result: many in one second among them.
SOME_SECONDS = st.lists(st.integers(0, SECONDS) | st.integers(10, 11), max_size=150)
#: Answers that are shorter than they should be, but not two in a row.
SHORT = st.builds(
    lambda first, short: {2 * number + first: rows for number, rows in short.items()},
    st.integers(1, 2),
    st.dictionaries(st.integers(0, 15), st.integers(0, 9), max_size=6),
)
Rows = list[dict[str, Any]]
ORDERS: dict[str, Callable[[Rows, random.Random], None]] = {
    "oldest first": lambda rows, _: rows.sort(key=lambda row: row["timestamp"]),
    "newest first": lambda rows, _: rows.sort(key=lambda row: row["timestamp"], reverse=True),
    "any": lambda rows, chance: chance.shuffle(rows),
}


@pytest.mark.usefixtures("small")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(SOME_SECONDS, st.sampled_from(sorted(ORDERS)), st.booleans(), st.booleans(), SHORT, st.randoms())
def test_every_result_comes_once_whatever_the_order_the_bounds_and_the_length_of_pages(
    server: ListServer,
    seconds: list[int],
    order: str,
    inclusive: bool,
    as_text: bool,
    short: dict[int, int],
    chance: random.Random,
) -> None:
    rows = [row(str(number) if as_text else number, second) for number, second in enumerate(seconds, 1)]
    ORDERS[order](rows, chance)
    lists = Lists(rows, inclusive, short=short)
    got = asyncio.run(pages(server, lists, SECONDS))
    assert sorted(one.id for page in got for one in page) == list(range(1, len(rows) + 1))
    assert lists.requests <= allowed(SECONDS, len(got))


@pytest.mark.usefixtures("small")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    SOME_SECONDS,
    st.sampled_from(sorted(ORDERS)),
    st.dictionaries(st.integers(2, 40), st.tuples(st.integers(-4, 4), st.booleans()), max_size=8),
    st.randoms(),
)
def test_what_stays_comes_once_while_others_come_and_go(
    server: ListServer,
    seconds: list[int],
    order: str,
    changes: dict[int, tuple[int, bool]],
    chance: random.Random,
) -> None:
    rows = [row(number, second) for number, second in enumerate(seconds, 1)]
    passing = [row(number, 10) for number in range(1001, 1030)]
    stay = [one["ID"] for one in rows]

    def change(lists: Lists, number: int) -> None:
        """Add or remove some of those that do not stay, at the beginning or anywhere."""
        many, in_front = changes.get(number, (0, False))
        there = [one for one in lists.rows if one["ID"] > 1000]
        if many < 0:
            for one in there[:-many]:
                lists.rows.remove(one)
        for one in passing[:many] if many > 0 else ():
            passing.remove(one)
            lists.rows.insert(0 if in_front else chance.randrange(len(lists.rows) + 1), one)

    rows += [passing.pop() for _ in range(10)]
    ORDERS[order](rows, chance)
    lists = Lists(rows, change=change)
    got = [one.id for page in asyncio.run(pages(server, lists, SECONDS)) for one in page]
    assert len(got) == len(set(got))
    assert set(stay) <= set(got)


@pytest.mark.usefixtures("small")
async def test_where_a_whole_page_is_removed_reading_goes_back(server: ListServer) -> None:
    def change(lists: Lists, number: int) -> None:
        if number == 4:  # after the first page, the look at whether the list is long, and the second page
            del lists.rows[:9]

    lists = Lists([row(number, 0) for number in range(1, 31)], change=change)
    assert await ids(server, lists, 0) == list(range(1, 31))


@pytest.mark.usefixtures("small")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(SOME_SECONDS, st.randoms())
def test_a_list_in_no_order_at_all_is_read_whole_or_an_error_says_so(
    server: ListServer, seconds: list[int], chance: random.Random
) -> None:
    rows = [row(number, second) for number, second in enumerate(seconds, 1)]
    lists = Lists(rows, change=lambda lists, _: chance.shuffle(lists.rows))
    with suppress(Unreachable):
        assert asyncio.run(ids(server, lists)) == list(range(1, len(rows) + 1))
    assert lists.requests <= allowed(SECONDS, 150)


async def test_numbers_as_text_null_and_what_is_no_object_are_taken_as_they_come(server: ListServer) -> None:
    whole = row("12", 3, mailing="7", profile=5, subprofile="0", ip="192.0.2.1", link=None)
    null: dict[str, Any] = dict.fromkeys(["timestamp", "mailing", "destination", "profile", "fields"])
    odd: list[Any] = [
        whole,
        {"ID": 13, **null},
        {"ID": 12},
        None,
        [],
        "14",
        {"ID": None},
        {"ID": 0},
        {"ID": True},
        {"ID": -1},
    ]
    reported: list[int] = []
    lists = Lists([], disguise=lambda _, number: odd if number < 3 else [])
    ((first, second),) = await pages(server, lists, SECONDS, unreadable=reported.append)
    assert first == Result(
        Product.MARKETING_SUITE,
        EventType.OPEN,
        12,
        "2026-11-20 09:00:03",
        destination=12,
        mailing=7,
        profile=5,
        subprofile=None,
        fields={"ip": "192.0.2.1", "link": None},
    )
    assert second == Result(
        Product.MARKETING_SUITE, EventType.OPEN, 13, None, None, None, None, None, {"fields": None}
    )
    assert reported == [7]


@pytest.mark.parametrize("answer", [None, {"1": row(1, 0), "5": row(2, 0)}, [row(1, 0), row(2, 0), row(2, 0)]])
async def test_null_is_no_list_and_a_list_may_be_an_object(server: ListServer, answer: Any) -> None:
    """PHP writes a list with gaps as an object."""
    lists = Lists(
        [], disguise=lambda _, number: [] if number > 3 else answer if number == 1 else [row(2, 0), row(1, 0)]
    )
    assert await ids(server, lists) == [1, 2]


@pytest.mark.parametrize("answer", ["text", 5, {"data": []}, {"a": row(1, 0)}])
async def test_what_is_no_list_is_an_error(server: ListServer, answer: Any) -> None:
    with pytest.raises(RequestRejected, match="unexpected answer when asked to list impressions"):
        await ids(server, Lists([], disguise=lambda *_: answer))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "disguise",
    [
        lambda _, number: [row(1 + at % 10, 0) for at in range(10)],  # the same page for ever
        lambda _, number: [row(number * 10 + at % 5, 0) for at in range(10)],  # new ones for ever
        lambda page, number: page if number % 3 else [row(999, 0)],
    ],
)
async def test_a_list_without_end_is_not_read_for_ever(
    server: ListServer, disguise: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_module, "MAX_IN_A_SECOND", 100)
    lists = Lists([row(number, 0) for number in range(1000, 1050)], disguise=disguise)
    with pytest.raises(Unreachable, match="without coming to an end: try again later") as raised:
        await ids(server, lists, 86_400)
    assert str(lists.requests) in str(raised.value)
    assert lists.requests < 500


async def test_fewer_results_are_requested_at_once_where_their_page_would_be_too_large(
    server: ListServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports of abuse hold whole messages."""
    monkeypatch.setattr(connection, "MAX_ANSWER", 16 * 1024)
    rows = [row(number, 0, report="x" * 100) for number in range(1, 301)]
    assert await ids(server, Lists(rows), 0) == list(range(1, 301))


async def test_a_period_is_of_whole_seconds_and_may_end_before_it_begins(server: ListServer) -> None:
    server.lists = lists = Lists([row(1, 0), row(2, 1)])
    async with client(server.environ) as api:
        for begin, end, found in ((0.5, 0.7, [1, 2]), (2.5, 1.0, []), (0.5, 0.0, [1])):
            period = BEGIN + timedelta(seconds=begin), (BEGIN + timedelta(seconds=end)).replace(tzinfo=UTC)
            got = results(api, Product.PUBLISHER, EventType.CLICK, *period)
            assert [one.id async for page in got for one in page] == found
    assert lists.requests > 0
