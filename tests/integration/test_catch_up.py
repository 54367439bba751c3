"""Filling gaps from Copernica's results, with its side faked on a real socket and failing on demand."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ingest.copernica.events import REST
from ingest.settings import Settings
from ingest.simulation.api_faults import Faults
from ingest.simulation.fake_api import FakeCopernica
from ingest.simulation.results_clock import Manner
from ingest.simulation.truth import Truth
from tests.support.fake_copernica import HASTY, TOKEN, fake_copernica
from tests.support.gaps import call, found, keep_gap, known, spread, told, truth_of
from tests.support.logs import no_progress
from workers import gaps
from workers.catch_up import closing
from workers.catch_up.closing import Outcome, fill_due
from workers.catch_up.look import Asked, Context
from workers.store.store import Store

#: When the gap of these tests ended: long enough ago that nothing is late.
END = int(time.time()) - 1800
SINCE = END - 300


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "PAUSE", 0.0)
    monkeypatch.setattr(closing, "IN_FLIGHT", 0.0)


def connect(settings: Settings) -> Asked:
    return Asked.with_settings(settings, HASTY)


@contextmanager
def faked(
    database: str, truth: Truth, faults: str = "", **manner: Any
) -> Iterator[tuple[FakeCopernica, Settings]]:
    fake = FakeCopernica(None, TOKEN, Faults(faults), truth=truth, results=Manner(**manner))
    with fake_copernica(fake) as environ:
        yield fake, Settings.read({"DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1", **environ})


def filled(settings: Settings, store: Store, **options: Any) -> list[Outcome]:
    return list(fill_due(Context(settings, store, no_progress, lambda: None, connect=connect, **options)))


def test_what_a_gap_lacks_is_inserted_once_and_the_gap_closed(store: Store, database: str) -> None:
    events = spread(SINCE - 500, END + 500, 150)
    store.add([call(at, one) for at, one in enumerate(events) if not SINCE <= one["time"] < END])
    missing = [one for one in events if SINCE <= one["time"] < END]
    keep_gap(store, SINCE, END)
    with faked(database, truth_of(events)) as (_, settings):
        (outcome,) = filled(settings, store)
        assert not outcome.open
        assert outcome.closed == 1
        assert outcome.look.recovered == len(missing)
        assert told(store) == known(events)
        assert not gaps.due(store)
        assert not filled(settings, store)
    recovered = [event for event in found(store) if event.source == REST]
    assert len(recovered) == len(missing)
    assert {event.recipient for event in recovered} == {None}
    assert {event.profile for event in recovered} == {one["profile"] for one in missing}
