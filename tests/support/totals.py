"""What happened on a day, for tests of totals: told to the store by calls, and to the fake API."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import NamedTuple

import pytest

from ingest.copernica.api.client import Copernica
from ingest.copernica.event_types import EventType
from ingest.copernica.events import MICROS, WEBHOOK, Event
from ingest.settings import Settings
from ingest.simulation.api_faults import Faults
from ingest.simulation.fake_api import FakeCopernica
from ingest.simulation.results_clock import Manner
from ingest.simulation.truth import Truth
from tests.support.builders import delivery_id, event
from tests.support.fake_copernica import HASTY, TOKEN, fake_copernica
from tests.support.logs import DAY, START, no_progress
from tests.support.sql import execute
from workers.reconcile import history as reconciled
from workers.reconcile.report import DayReport, KindReport
from workers.store.store import Store
from workers.totals.audit import audit
from workers.totals.report import DayTotals

NOON = 12 * 3600
OPEN, CLICK, DELIVERY = EventType.OPEN, EventType.CLICK, EventType.DELIVERY

#: For what does not depend on the database.
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class Told(NamedTuple):
    """Something that happened, as Copernica knows it."""

    message: str
    mailing: int = 77
    kind: EventType = OPEN
    second: int = NOON
    product: str = "ms"


def some(number: int, mailing: int = 77, kind: EventType = OPEN, product: str = "ms") -> list[Told]:
    """One of each of some messages, a second after the other."""
    return [Told(f"{product}-{mailing}-{n}", mailing, kind, NOON + n, product) for n in range(number)]


def truth_of(told: Sequence[Told]) -> Truth:
    return Truth.of(
        (
            one.kind,
            {
                "id": one.message,
                "time": START + one.second,
                "mailing": one.mailing,
                "product": one.product,
                "sent": START - 5 * 86_400 if one.mailing < 1000 else START,
            },
        )
        for one in told
    )


def call(number: int, told: Told, source: str = WEBHOOK, named: bool = True) -> Event:
    """The event of it."""
    at = (START + told.second) * MICROS
    return event(
        delivery_id=delivery_id(number, at),
        type=told.kind,
        message_id=told.message,
        occurred_at=at,
        mailing=told.mailing if named else None,
        source=source,
    )


def calls(told: Sequence[Told], first: int = 0, source: str = WEBHOOK, named: bool = True) -> list[Event]:
    return [call(first + number, one, source, named) for number, one in enumerate(told)]


def log_files_are_there(store: Store, *kinds: KindReport) -> None:
    reconciled.save(store, DayReport(DAY, list(kinds), whole=True), reconciled.API)


@contextmanager
def asked(
    database: str, truth: Truth, faults: str = "", manner: Manner | None = None, **settings: str
) -> Iterator[tuple[FakeCopernica, Settings]]:
    fake = FakeCopernica(None, TOKEN, Faults(faults), truth=truth, results=manner)
    with fake_copernica(fake) as environ:
        yield fake, Settings.read({**environ, "DATABASE_URL": database, **settings})


def connect(settings: Settings) -> Copernica:
    return Copernica(settings.token, settings.copernica_api_url, settings.copernica_auth_url, policy=HASTY)


def compared(
    database: str,
    truth: Truth,
    faults: str = "",
    manner: Manner | None = None,
    day: date = DAY,
    **settings: str,
) -> DayTotals:
    with asked(database, truth, faults, manner, **settings) as (_, read):
        (found,) = audit(read, [day], no_progress, connect=connect)
    return found


def add_destinations(store: Store, found: Sequence[tuple[str, int, str, int]]) -> None:
    execute(
        store,
        *(
            "INSERT INTO destinations (product, destination, message_id, mailing, kept_at) "
            f"VALUES ('{product}', {number}, '{message}', {mailing}, 0)"
            for product, number, message, mailing in found
        ),
    )
