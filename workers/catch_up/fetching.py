"""The results of a period, of both products and all kinds, put on a shelf."""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from http import HTTPStatus
from typing import NamedTuple

from ingest.copernica.api.client import Copernica
from ingest.copernica.api.request import shifted
from ingest.copernica.api.results import LISTS, Product, results
from ingest.copernica.events import EventType
from ingest.errors import Forbidden, NotFound, RequestRejected, RestError
from workers.catch_up.shelf import Shelf
from workers.reconcile.logfile import Watch

#: What products are called in sentences.
NAMES: Mapping[Product, str] = {Product.MARKETING_SUITE: "Marketing Suite", Product.PUBLISHER: "Publisher"}
#: An hour is added on both sides where clocks change: then the same time can be shown twice, or none.
CHANGE = timedelta(hours=1)
#: By how much a result's time may lie outside of the period that it was requested for: more than any two zones
#: differ by, as its time may be written in another than the one by which periods are read.
ASTRAY = timedelta(days=1)


class Period(NamedTuple):
    """A period in Unix seconds by the clock of the webhooks; both ends belong to it."""

    since: int
    until: int


@dataclass(slots=True)
class Fetched:
    """What came of fetching: how many results, products that the account does not have, and entries without ID."""

    results: int = 0
    absent: list[Product] = field(default_factory=list)
    unreadable: int = 0
    #: Results of quite another time than was asked for, which are left out: they would be compared with all events
    #: from there on.
    astray: int = 0


async def fetch(api: Copernica, shelf: Shelf, period: Period, zone: tzinfo, watch: Watch) -> Fetched:
    """Put all results of a period on the shelf; they are requested by their own clock, which is that of a `zone`.

    Raises:
        RestError: some could not be fetched; those on the shelf are not all.
    """
    begin, end = shown(period, zone)
    fetched = Fetched()
    refused: dict[Product, list[RestError]] = {product: [] for product in Product}

    def count(unreadable: int) -> None:
        fetched.unreadable += unreadable

    async def one(product: Product, kind: EventType) -> None:
        try:
            async for page in results(api, product, kind, begin, end, count):
                near = [one for one in page if _is_near(one.timestamp, begin, end)]
                fetched.astray += len(page) - len(near)
                fetched.results += shelf.put(near)
                watch("fetching results", fetched.results, None)
        except RestError as error:
            if not is_refusal(error):
                raise
            refused[product].append(error)

    await together(one(product, kind) for product in Product for kind in LISTS)
    watch("fetching results", fetched.results, fetched.results)
    fetched.absent = _absent(refused)
    return fetched


def _is_near(timestamp: str | None, begin: datetime, end: datetime) -> bool:
    """Whether a result may be of a period; one without a time may be."""
    try:
        moment = datetime.fromisoformat(timestamp or "").replace(tzinfo=None)
    except ValueError:
        return True
    return shifted(begin, -ASTRAY) <= moment <= shifted(end, ASTRAY)


def _absent(refused: Mapping[Product, list[RestError]]) -> list[Product]:
    """Products of which every list is refused: the account does not have them.

    Raises:
        RestError: some lists of a product are refused and others are not, or there is no product at all.
    """
    absent = [product for product, errors in refused.items() if len(errors) == len(LISTS)]
    for product, errors in refused.items():
        if errors and (product not in absent or len(absent) == len(refused)):
            raise errors[0]
    return absent


def is_refusal(error: RestError) -> bool:
    """Whether it says that there is no such thing for this account, rather than that something went wrong."""
    return (
        isinstance(error, RequestRejected | NotFound | Forbidden)
        and error.status is not None
        and HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR
    )


def shown(period: Period, zone: tzinfo) -> tuple[datetime, datetime]:
    """The first and the last second of a period as the results' clock shows them."""
    first, last = period
    begin, end = (datetime.fromtimestamp(second, zone).replace(tzinfo=None) for second in (first, last))
    hour = int(CHANGE.total_seconds())
    around = (datetime.fromtimestamp(second, zone) for second in (first - hour, first, last, last + hour))
    if len({moment.utcoffset() for moment in around}) > 1:
        return min(begin, end) - CHANGE, max(begin, end) + CHANGE
    return begin, end


async def together(calls: Iterable[Coroutine[None, None, None]]) -> None:
    """All of these at once; the first failure ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(call)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
