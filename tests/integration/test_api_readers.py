"""Readers of what Copernica tells about mail, against the fake: both products, every form, every passing fault."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from ingest.copernica.api.client import Copernica
from ingest.copernica.api.destinations import (
    Destination,
    destination,
    destinations,
    mailing_destinations,
    read_destination,
)
from ingest.copernica.api.paging import row
from ingest.copernica.api.profiles import profile
from ingest.copernica.api.results import LISTS, Product, Result, result, results
from ingest.copernica.api.statistics import Totals, emailings, statistics
from ingest.copernica.event_types import EventType
from ingest.errors import RequestRejected, RestError
from ingest.simulation.api_faults import Fault, Faults
from ingest.simulation.fake_api import FakeCopernica
from ingest.simulation.results_clock import Edges, Manner
from ingest.simulation.truth import Truth
from tests.support.fake_copernica import TOKEN, client, fake_copernica

#: When everything happened.
AT = datetime(2026, 11, 20, 9, tzinfo=UTC)
SECOND = int(AT.timestamp())
DAY = AT.date()


def truth(count: int) -> Truth:
    """So many messages of mailing 7 in each product, each with one result of each kind in its own second."""
    truth = Truth()
    for product in Product:
        for number in range(count):
            about: dict[str, Any] = {
                "product": product,
                "destination": 100 + number,
                "id": f"{product}{number:028x}",
                "sent": SECOND - 60,
                "mailing": 7,
                "profile": 1000 + number,
            }
            for kind in LISTS:
                truth.event(kind, about | {"time": SECOND + number % 60, "ip": "192.0.2.1"})
    truth.flush()
    return truth


async def listed(pages: AsyncIterator[list[Any]]) -> list[Any]:
    return [one async for page in pages for one in page]


async def everything(api: Copernica, product: Product) -> dict[str, Any]:
    """All that the readers read of a product."""
    end = AT + timedelta(seconds=60)
    told: dict[str, Any] = {
        kind: await listed(results(api, product, kind, AT, end)) for kind in (EventType.OPEN, EventType.FAILURE)
    }
    told["destinations"] = await listed(destinations(api, product, DAY, DAY))
    told["of one mailing"] = await listed(mailing_destinations(api, product, 7))
    told["one"] = await destination(api, product, 100)
    told["the same"] = await destination(api, product, f"{product}{0:028x}")
    told["none"] = await destination(api, product, 99)
    told["statistics"] = await statistics(api, product, 7)
    told["emailings"] = await listed(emailings(api, product, DAY, DAY))
    return told


@pytest.mark.parametrize("product", Product)
@pytest.mark.parametrize("strings", [False, True])
async def test_everything_is_read_in_both_products_and_forms(product: Product, strings: bool) -> None:
    fake = FakeCopernica(None, TOKEN, truth=truth(3), results=Manner(strings=strings))
    with fake_copernica(fake) as environ:
        async with client(environ) as api:
            told = await everything(api, product)
    opened, *_ = told[EventType.OPEN]
    assert isinstance(opened, Result)
    assert (opened.product, opened.kind) == (product, EventType.OPEN)
    assert opened.timestamp == "2026-11-20 09:00:00"
    assert (opened.destination, opened.mailing) == (100, 7)
    assert opened.profile == (1000 if product is Product.PUBLISHER else None)
    assert opened.fields["ip"] == "192.0.2.1"
    assert {one.destination for one in told[EventType.FAILURE]} == {100, 101, 102}
    first = Destination(100, f"{product}{0:028x}", 7, 1000, None, "2026-11-20 08:59:00", {})
    assert told["one"] == told["the same"] == first
    assert told["none"] is None
    (listed_first, *_) = told["destinations"]
    assert listed_first._replace(fields={}) == first
    assert list(listed_first.fields) == ["unsubscribed"]
    assert {one.id for one in told["of one mailing"]} == {100, 101, 102}
    assert {one.mailing for one in told["of one mailing"]} == {7}
    assert told["statistics"][EventType.CLICK] == Totals(3, 3)
    assert told["statistics"][EventType.RETRY] == Totals(0, 0)
    (mailing,) = told["emailings"]
    assert (mailing.id, mailing.destinations, mailing.timestamp) == (7, 3, "2026-11-20 08:59:00")


#: Faults after which another attempt, or another look, has the same answer.
GOT_OVER = [
    *(
        Fault.EXPIRED,
        Fault.UNAUTHORIZED,
        Fault.TOO_MANY,
        Fault.BROKEN,
        Fault.UNAVAILABLE,
        Fault.GATEWAY,
        Fault.HTML,
    ),
    *(Fault.EMPTY, Fault.CUT, Fault.SHORT, Fault.MOVED, Fault.NO_ROWS, Fault.REMOVED, Fault.INSERTED, Fault.LIES),
]


@pytest.fixture(scope="module")
def pages_of_it() -> Truth:
    """What takes several pages to tell, made once: nothing in these tests changes it."""
    return truth(130)


@pytest.mark.parametrize(
    "fault", [GOT_OVER[0], *(pytest.param(fault, marks=pytest.mark.slow) for fault in GOT_OVER[1:])]
)
async def test_every_passing_fault_is_got_over(fault: Fault, pages_of_it: Truth) -> None:
    fake = FakeCopernica(None, TOKEN, truth=pages_of_it)
    with fake_copernica(fake) as environ:
        async with client(environ) as api:
            expected = await everything(api, Product.MARKETING_SUITE)
            for place in (1, 3):
                lists = "results", "destinations", "emailings"
                fake.faults = Faults(",".join(f"ok*{place}@{kind},{fault}@{kind}" for kind in lists))
                assert await everything(api, Product.MARKETING_SUITE) == expected


@pytest.mark.parametrize("edges", ["()", "[)", "(]", "[]"])
@pytest.mark.parametrize("newest_first", [False, True])
async def test_results_at_the_edges_of_a_period_are_found_whatever_the_edges_mean(
    edges: Edges, newest_first: bool
) -> None:
    fake = FakeCopernica(None, TOKEN, truth=truth(4), results=Manner(edges=edges, newest_first=newest_first))
    with fake_copernica(fake) as environ:
        async with client(environ) as api:
            for product in Product:
                period = AT + timedelta(seconds=1), AT + timedelta(seconds=2)
                found = await listed(results(api, product, EventType.CLICK, *period))
                assert {101, 102} <= {one.destination for one in found} <= {100, 101, 102, 103}


async def test_where_all_is_null_it_is_reported_and_no_error() -> None:
    fake = FakeCopernica(None, TOKEN, Faults("null*100"), truth=truth(3))
    reported: list[int] = []
    with fake_copernica(fake) as environ:
        async with client(environ) as api:
            pages = results(api, Product.PUBLISHER, EventType.OPEN, AT, AT, reported.append)
            assert await listed(pages) == []
            assert sum(reported) > 0
            assert await listed(destinations(api, Product.PUBLISHER, DAY, DAY)) == []
            assert await listed(emailings(api, Product.PUBLISHER, DAY, DAY)) == []
            assert {one.unique for one in (await statistics(api, Product.PUBLISHER, 7)).values()} == {None}


async def test_a_profile_is_read_and_one_that_is_gone_is_none() -> None:
    fake = FakeCopernica(None, TOKEN, truth=Truth.of([]), results=Manner(strings=True))
    with fake_copernica(fake) as environ:
        async with client(environ) as api:
            number = int(await api.post("/database/3/profiles", {"fields": {"Email": "jan@example.nl"}}))
            found = await profile(api, number)
            assert found is not None
            assert (found.id, found.database, found.fields) == (number, 3, {"Email": "jan@example.nl"})
            assert "interests" in found.others
            await api.delete(f"/profile/{number}")
            assert await profile(api, number) is None
            assert await profile(api, number + 1) is None


async def test_what_is_refused_for_another_reason_is_an_error() -> None:
    fake = FakeCopernica(None, TOKEN, Faults("403*9@destination"), truth=truth(1))
    with fake_copernica(fake) as environ:
        async with client(environ) as api:
            with pytest.raises(RestError) as raised:
                await destination(api, Product.PUBLISHER, 100)
            assert raised.value.status == 403
            fake.faults = Faults("elsewhere*9")
            with pytest.raises(RequestRejected, match="another server"):
                await profile(api, 1000)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"id": "abc", "internal": "5"}, (5, "abc")),
        ({"id": 5, "internal": None}, (5, None)),
        ({"ID": "5", "messageID": "abc"}, (5, "abc")),
        ({"id": "123", "internal": 5}, (5, "123")),
        ({"id": "abc"}, None),
        ({"id": None, "internal": 0}, None),
        ([], None),
    ],
)
def test_a_destination_has_its_number_and_its_messages_id(values: Any, expected: tuple[int, str] | None) -> None:
    read = read_destination(values)
    assert (read and (read.id, read.message)) == expected


async def test_days_beyond_the_calendar_are_no_crash() -> None:
    fake = FakeCopernica(None, TOKEN, truth=truth(1))
    with fake_copernica(fake) as environ:
        async with client(environ) as api:
            assert await listed(emailings(api, Product.PUBLISHER, date.min, date.max))
            assert await listed(results(api, Product.PUBLISHER, EventType.OPEN, datetime.min, datetime.max))


def test_what_is_nested_too_deeply_to_be_kept_does_not_count() -> None:
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    read = result(Product.PUBLISHER, EventType.OPEN, {"ID": 1, "device": deep, "ip": ["192.0.2.1"]})
    assert read is not None
    assert read.fields == {"device": None, "ip": ["192.0.2.1"]}
    assert not row({"device": deep}).has_id
