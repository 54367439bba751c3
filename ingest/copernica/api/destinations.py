"""Destinations: a message of a mailing to one recipient, by its number and by the message's ID, a hash.

Webhooks and log files name the hash, results the number. The facts come from the articles of REST v4 on
`/ms/destinations`, `/ms/destination`, `/ms/emailing/$id/destinations` and their twins in Publisher, where `id` is
the hash and `internal` the number.
"""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any, NamedTuple

from ingest.copernica.api.calls import Calls
from ingest.copernica.api.request import Params, shifted
from ingest.copernica.api.results import Product
from ingest.copernica.api.values import entity, rest, taken, text

_NUMBER = ("internal", "ID", "id")
_MESSAGE = ("messageID", "messageId", "messageid")
_MAILING = ("mailing", "emailing")
_NAMED = (*_NUMBER, *_MESSAGE, *_MAILING, "timestampsent", "profile", "subprofile")


class Destination(NamedTuple):
    """A message of a mailing to one recipient. Its address is the profile's: it is not told here."""

    #: Its number, which results name.
    id: int
    #: The message's ID, which webhooks and log files name; `mailing_destinations` does not tell it.
    message: str | None
    mailing: int | None
    profile: int | None
    subprofile: int | None
    #: When it was sent, as Copernica writes it.
    timestamp: str | None
    #: All other fields, under Copernica's names.
    fields: dict[str, Any]


async def destinations(api: Calls, product: Product, first: date, last: date) -> AsyncIterator[list[Destination]]:
    """The destinations of some days, page by page; those of the day after may come as well.

    One day more is requested because it is not documented whether `to` belongs to the period. Nor is it for
    `from`, where a day more might bring a million: what was sent at that very midnight may be missing here, and
    `destination` tells of it.

    Raises:
        RestError: the list cannot be read to its end.
    """
    params = {"from": first, "to": shifted(last, timedelta(days=1))}
    async for page in _listed(api, f"/{product}/destinations", params, f"list destinations ({product})"):
        yield page


async def mailing_destinations(api: Calls, product: Product, mailing: int) -> AsyncIterator[list[Destination]]:
    """All destinations of one mailing, page by page, without their messages' IDs.

    Raises:
        RestError: the list cannot be read to its end.
    """
    about = f"list the destinations of mailing {mailing}"
    async for page in _listed(api, f"/{product}/emailing/{mailing}/destinations", {}, about):
        yield [one if one.mailing else one._replace(mailing=mailing) for one in page]


async def destination(api: Calls, product: Product, number: int | str) -> Destination | None:
    """A destination by its number or by its message's ID; None if Copernica says that there is none.

    Raises:
        RestError: Copernica does not tell.
    """
    about = f"show destination {number}"
    values = await api.get_if_there(f"/{product}/destination/{number}", about=about)
    return None if values is None else read_destination(values)


def read_destination(values: Any) -> Destination | None:
    """A destination from its JSON; None if it has no number."""
    if not isinstance(values, dict):
        return None
    number = next((found for name in _NUMBER if (found := entity(values.get(name)))), None)
    if number is None:
        return None
    message = text(taken(values, _MESSAGE))
    if message is None and isinstance(hashed := values.get("id"), str) and entity(hashed) != number:
        message = hashed or None
    return Destination(
        id=number,
        message=message,
        mailing=entity(taken(values, _MAILING)),
        profile=entity(values.get("profile")),
        subprofile=entity(values.get("subprofile")),
        timestamp=text(values.get("timestampsent")),
        fields=rest(values, _NAMED),
    )


async def _listed(api: Calls, path: str, params: Params, about: str) -> AsyncIterator[list[Destination]]:
    async for rows in api.pages_of(path, params, about=about):
        if page := [one for values in rows if (one := read_destination(values))]:
            yield page
