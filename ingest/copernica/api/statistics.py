"""Mailings of a period and their totals, as Copernica counts them.

The facts come from the articles of REST v4 on `/ms/emailings`, `/ms/emailing/$id/statistics` and their twins in
Publisher.
"""

from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from ingest.copernica.api.calls import Calls, unexpected_answer
from ingest.copernica.api.request import shifted
from ingest.copernica.api.results import LISTS, Product
from ingest.copernica.api.values import count, entity, rest, taken, text
from ingest.copernica.event_types import EventType

#: What totals are called: as the lists of results are, and one that has no list.
TOTALS = {**LISTS, EventType.RETRY: "retries"}
ONE_DAY = timedelta(days=1)
_NUMBER = ("id", "ID")
_NAMED = (*_NUMBER, "timestamp", "template", "subject", "from_address", "destinations", "type", "target")


class Totals(NamedTuple):
    """How many results of one kind a mailing has, and of how many recipients; None: Copernica does not tell."""

    total: int | None
    unique: int | None


class Emailing(NamedTuple):
    """A mailing."""

    id: int
    #: When it was sent, as Copernica writes it.
    timestamp: str | None
    template: int | None
    subject: str | None
    from_address: str | None
    #: To how many it went.
    destinations: int | None
    type: str | None
    #: To what it was sent: a database, a view, a profile.
    target: Any
    #: All other fields, under Copernica's names.
    fields: dict[str, Any]


async def statistics(
    api: Calls, product: Product, mailing: int, begin: datetime | None = None, end: datetime | None = None
) -> dict[EventType, Totals]:
    """A mailing's totals after `begin` and before `end`, by kind; a kind that Copernica does not name is absent.

    Both are sent as their clocks show them, and without them the totals are those of all time.

    Raises:
        RestError: Copernica does not tell.
    """
    about = f"count the results of mailing {mailing}"
    params = {"begintime": begin, "endtime": end}
    answer = await api.get(f"/{product}/emailing/{mailing}/statistics", params, about)
    if not isinstance(answer, dict):
        raise unexpected_answer(about)
    return {kind: read_totals(answer[name]) for kind, name in TOTALS.items() if answer.get(name) is not None}


def read_totals(value: Any) -> Totals:
    """Totals from their JSON, `{"total": …, "unique": …}`; a number alone is the total."""
    if isinstance(value, dict):
        return Totals(count(value.get("total")), count(value.get("unique")))
    return Totals(count(value), None)


async def emailings(api: Calls, product: Product, first: date, last: date) -> AsyncIterator[list[Emailing]]:
    """The mailings of some days, page by page; those of the day before and the day after may come as well.

    A day more is requested on both sides because it is not documented whether `fromdate` and `todate` themselves
    belong to the period, and many a mailing is sent at midnight.

    Raises:
        RestError: the list cannot be read to its end.
    """
    params = {"fromdate": shifted(first, -ONE_DAY), "todate": shifted(last, ONE_DAY)}
    async for rows in api.pages_of(f"/{product}/emailings", params, about=f"list mailings ({product})"):
        if page := [one for values in rows if (one := read_emailing(values))]:
            yield page


def read_emailing(values: Any) -> Emailing | None:
    """A mailing from its JSON; None if it has no ID."""
    number = entity(taken(values, _NUMBER)) if isinstance(values, dict) else None
    if number is None:
        return None
    return Emailing(
        id=number,
        timestamp=text(values.get("timestamp")),
        template=entity(values.get("template")),
        subject=text(values.get("subject")),
        from_address=text(values.get("from_address")),
        destinations=count(values.get("destinations")),
        type=text(values.get("type")),
        target=values.get("target"),
        fields=rest(values, _NAMED),
    )
