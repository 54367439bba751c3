"""One call to Copernica's REST API before it is made: where it goes, and what goes with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeVar

from yarl import URL

Moment = TypeVar("Moment", date, datetime)
#: What a parameter may be: None leaves it out, and a moment is written as its clock shows it, without its zone.
Value = str | int | float | date | datetime | None
#: Parameters by name; several values under one name, as in `fields[]`, are a list.
Params = Mapping[str, Value | Sequence[Value]]


@dataclass(frozen=True, slots=True)
class Request:
    """One call. `about` describes it in messages, as in "Copernica declines to list webhooks"."""

    method: str
    path: str
    about: str
    params: Sequence[tuple[str, str]] = ()
    #: Sent as JSON, if not None.
    body: object = None
    #: Whether making the call twice does no harm.
    repeatable: bool = True
    #: Whether the answer may be large: it then gets all the time it needs while something keeps arriving.
    large: bool = False
    #: What a refusal (400) says, in lower case, if everything is as it should be all the same.
    excuse: str = ""

    @property
    def changes(self) -> bool:
        """Whether it is more than a question."""
        return self.method != "GET"


def url_of(api_url: str, path: str) -> URL:
    """Where a call goes: `path`, such as `/profile/12`, below the API's URL and nowhere else.

    All of `path` is taken literally. A `?` or `%` in it is encoded, so that a value put into it stays one.

    Raises:
        ValueError: a part of it is empty, `.` or `..`: it would lead elsewhere, as a whole URL would.
    """
    parts = path.removeprefix("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(
            "no part of a path may be empty, . or ..; a path below the API's URL looks like /profile/12"
        )
    return URL(api_url).joinpath(*parts)


def params_of(params: Params | None) -> list[tuple[str, str]]:
    """Parameters as they are sent: `total=false`, `begintime=2026-11-20 09:00:00`, `fields[]=…&fields[]=…`."""
    pairs: list[tuple[str, str]] = []
    for name, given in (params or {}).items():
        values = given if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
        pairs += [(name, _written(value)) for value in values if value is not None]
    return pairs


def shifted(moment: Moment, by: timedelta) -> Moment:
    """A moment or a day earlier or later, but not beyond the calendar."""
    try:
        return moment + by
    except OverflowError:
        return moment


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.replace(tzinfo=None, microsecond=0).isoformat(" ")
    return str(value)
