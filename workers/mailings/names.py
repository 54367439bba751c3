"""What Copernica calls its mailings: kept when it lists them anyway, so that no page ever waits for it."""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, select

from ingest.copernica.api.results import Product
from ingest.copernica.api.statistics import Emailing
from ingest.copernica.columns import fitting
from workers.store.mailing_tables import mailing_names
from workers.store.store import Store

#: Characters of a subject that are kept.
LONGEST = 500
#: Mailings of one statement.
TOGETHER = 500

_NAMES = mailing_names.c


@dataclass(frozen=True, slots=True)
class Name:
    """A mailing as Copernica lists it; `sent_at` as Copernica writes it."""

    product: str
    subject: str | None
    template: int | None
    sent_at: str | None
    destinations: int | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def keep(store: Store, product: Product, mailings: Iterable[Emailing]) -> None:
    """Keep what Copernica tells of some mailings.

    Raises:
        Unavailable: the database cannot be used now.
    """
    rows = {
        one.id: (
            product.value,
            one.id,
            _short(one.subject),
            one.template,
            _short(one.timestamp),
            one.destinations,
            int(time.time()),
        )
        for one in mailings
    }
    numbers = sorted(rows)
    for at in range(0, len(numbers), TOGETHER):
        some = numbers[at : at + TOGETHER]
        with store.writing() as connection:
            these = and_(_NAMES.product == product.value, _NAMES.mailing.in_(some))
            connection.execute(delete(mailing_names).where(these))
            store.insert(connection, mailing_names, [rows[number] for number in some])


def _short(text: str | None) -> str | None:
    return None if text is None else fitting(text)[:LONGEST]


def names_of(connection: Connection, mailings: Collection[int]) -> dict[int, list[Name]]:
    """What is known of some mailings."""
    columns = _NAMES.mailing, _NAMES.product, _NAMES.subject, _NAMES.template, _NAMES.sent_at, _NAMES.destinations
    query = select(*columns).where(_NAMES.mailing.in_(sorted(mailings))).order_by(_NAMES.product)
    found: defaultdict[int, list[Name]] = defaultdict(list)
    for mailing, *name in connection.execute(query):
        found[mailing].append(Name(*name))
    return found
