"""Readers of results find each result exactly once, in a bounded number of requests, whatever the list is like."""

from datetime import timedelta

import pytest

from ingest.copernica.api.results import MAX_START, Product, Result, results
from ingest.copernica.event_types import EventType
from tests.support.fake_copernica import TOKEN, client, serving
from tests.support.result_lists import BEGIN, Lists, row


async def read(
    lists: Lists, seconds: int, product: Product = Product.MARKETING_SUITE, kind: EventType = EventType.OPEN
) -> list[Result]:
    """All results of the first `seconds` seconds."""
    with serving(lists.app()) as url:
        access = {"COPERNICA_API_URL": f"{url}/v4", "COPERNICA_AUTH_URL": url, "COPERNICA_TOKEN": TOKEN}
        async with client(access) as api:
            pages = results(api, product, kind, BEGIN, BEGIN + timedelta(seconds=seconds))
            return [one async for page in pages for one in page]


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("product", Product)
async def test_a_long_list_is_read_in_parts_and_each_result_comes_once(product: Product, inclusive: bool) -> None:
    rows = [row(number, number % 4) for number in range(1, MAX_START + 1500)]
    lists = Lists(rows, inclusive)
    got = await read(lists, 3, product)
    assert sorted(one.id for one in got) == list(range(1, MAX_START + 1500))
    assert lists.deepest == MAX_START
    assert lists.requests < 35


async def test_a_period_without_results_takes_two_requests() -> None:
    lists = Lists([])
    assert await read(lists, 86_400) == []
    assert lists.requests == 2
