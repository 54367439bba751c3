"""The list of mailings, the newest first, and of tags: some at a time, by where the last page ended."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import func, select, tuple_

from workers.mailings.figures import Numbers
from workers.mailings.names import Name, names_of
from workers.mailings.part import KINDS
from workers.mailings.refresh import stale_mailings
from workers.store.mailing_tables import mailing_figures, mailing_tags
from workers.store.store import Store

#: Mailings on one page.
PAGE = 50
#: Mailings of a tag that are shown and summed up: a tag such as `newsletter` is of every mailing.
MOST_OF_TAG = 500

_FIGURES, _TAGS = mailing_figures.c, mailing_tags.c
_ORDER = {kind.value: at for at, kind in enumerate(KINDS)}


class Place(NamedTuple):
    """Where a page of the list ends: the first hour and the number of its last mailing."""

    first_hour: str
    mailing: int

    @classmethod
    def read(cls, text: str) -> "Place | None":
        """What `str` made of one; None for anything else."""
        hour, _, number = text.rpartition(".")
        if len(hour) != len("2026-11-20.09") or not number.isdecimal() or len(number) > 18:
            return None
        return cls(f"{hour[:10]} {hour[11:]}", int(number))

    def __str__(self) -> str:
        return f"{self.first_hour[:10]}.{self.first_hour[11:]}.{self.mailing}"


@dataclass(frozen=True, slots=True)
class Listed:
    """A mailing in the list: its numbers are as of `as_of`, µs since 1970."""

    mailing: int
    first_hour: str
    last_hour: str
    kinds: dict[str, Numbers]
    names: Sequence[Name]
    as_of: int

    @property
    def place(self) -> Place:
        """Where it is in the list."""
        return Place(self.first_hour, self.mailing)

    def of(self, kind: str) -> Numbers:
        """The numbers of a type."""
        return self.kinds.get(kind, Numbers())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "mailing": self.mailing,
            "names": [name.as_dict() for name in self.names],
            "first_hour": self.first_hour,
            "last_hour": self.last_hour,
            "as_of": self.as_of / 1_000_000,
            "events": {
                kind: {"total": numbers.total, "unique": numbers.unique}
                for kind, numbers in sorted(self.kinds.items(), key=lambda item: _ORDER.get(item[0], len(_ORDER)))
            },
        }


class Listing(NamedTuple):
    """A page of the list; `more` if there are older ones; `waiting` mailings whose figures are being made."""

    mailings: list[Listed]
    more: bool
    waiting: int


def mailings(store: Store, after: Place | None = None, limit: int = PAGE) -> Listing:
    """Mailings that come after a place in the list: older ones.

    Raises:
        Unavailable: the database cannot be used now.
    """
    query = select(mailing_figures).where(_FIGURES.mailing > 0, _FIGURES.first_hour > "")
    if after is not None:
        query = query.where(tuple_(_FIGURES.first_hour, _FIGURES.mailing) < tuple(after))
    query = query.order_by(_FIGURES.first_hour.desc(), _FIGURES.mailing.desc()).limit(limit + 1)
    with store.reading() as connection:
        rows = connection.execute(query).all()
        names = names_of(connection, [row.mailing for row in rows])
    found = [
        Listed(
            row.mailing,
            row.first_hour,
            row.last_hour,
            {kind: Numbers(*numbers) for kind, numbers in json.loads(row.kinds).items()},
            names.get(row.mailing, ()),
            row.as_of,
        )
        for row in rows
    ]
    waiting = sum(mailing > 0 for mailing in stale_mailings(store))
    return Listing(found[:limit], len(found) > limit, waiting)


@dataclass(slots=True)
class Tagged:
    """Events with a tag: of all mailings together by type, and by mailing, the highest number first."""

    tag: str
    kinds: Counter[str]
    mailings: dict[int, Counter[str]]
    names: dict[int, list[Name]]
    #: Whether there are more mailings than were summed up.
    cut: bool


def tags(store: Store, limit: int = PAGE) -> list[tuple[str, int]]:
    """The tags of the last mailings, those of most events first, with the number of these."""
    last = select(_FIGURES.mailing).where(_FIGURES.mailing > 0, _FIGURES.first_hour > "")
    last = last.order_by(_FIGURES.first_hour.desc(), _FIGURES.mailing.desc()).limit(PAGE)
    with store.reading() as connection:
        numbers = list(connection.execute(last).scalars())
        summed = select(_TAGS.tag, func.sum(_TAGS.number).label("events")).where(_TAGS.mailing.in_(numbers))
        query = summed.group_by(_TAGS.tag).order_by(func.sum(_TAGS.number).desc(), _TAGS.tag).limit(limit)
        return [(row.tag, int(row.events)) for row in connection.execute(query)]


def tagged(store: Store, tag: str) -> Tagged:
    """What is known of a tag, of its last mailings by number."""
    query = (
        select(_TAGS.mailing).where(_TAGS.tag == tag, _TAGS.mailing > 0).distinct().order_by(_TAGS.mailing.desc())
    )
    by_mailing: defaultdict[int, Counter[str]] = defaultdict(Counter)
    with store.reading() as connection:
        numbers = list(connection.execute(query.limit(MOST_OF_TAG + 1)).scalars())
        cut, numbers = len(numbers) > MOST_OF_TAG, numbers[:MOST_OF_TAG]
        rows = select(mailing_tags).where(_TAGS.tag == tag, _TAGS.mailing.in_(numbers))
        for row in connection.execute(rows):
            by_mailing[row.mailing][row.type] += row.number
        names = names_of(connection, numbers)
    kinds: Counter[str] = Counter()
    for found in by_mailing.values():
        kinds.update(found)
    return Tagged(tag, kinds, {number: by_mailing[number] for number in numbers}, names, cut)
