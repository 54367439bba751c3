"""Profiles: what the account knows about a recipient.

The facts come from the article of REST v4 on `/profile/$id`.
"""

from typing import Any, NamedTuple

from ingest.copernica.api.calls import Calls, unexpected_answer
from ingest.copernica.api.values import entity, rest, taken

_NUMBER = ("ID", "id")
_NAMED = (*_NUMBER, "database", "fields")


class Profile(NamedTuple):
    """A profile of a database."""

    id: int
    database: int | None
    #: Its fields under the database's names. Which of them is the address, if any, is up to the database.
    fields: dict[str, Any]
    #: All the rest, under Copernica's names.
    others: dict[str, Any]


async def profile(api: Calls, number: int) -> Profile | None:
    """A profile; None if Copernica says that there is none, or no longer.

    Raises:
        RestError: Copernica does not tell.
    """
    about = f"show profile {number}"
    values = await api.get_if_there(f"/profile/{number}", about=about)
    if values is None:
        return None
    if not isinstance(values, dict):
        raise unexpected_answer(about)
    fields = values.get("fields")
    return Profile(
        id=entity(taken(values, _NUMBER)) or number,
        database=entity(values.get("database")),
        fields=fields if isinstance(fields, dict) else {},
        others=rest(values, _NAMED),
    )
