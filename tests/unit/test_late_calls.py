"""Which recovered events late calls are: the rest of it is in tests/integration/test_three_sources.py."""

import pytest

from ingest.copernica.events import MICROS, Event
from tests.support.builders import event
from workers.store import late_calls
from workers.store.late_calls import Known, pair


def test_each_call_is_held_against_each_event_once_however_alike_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes an event from the one before, and so on: twenty calls were held against the events 210 times."""
    compared, fits = [], late_calls.fits

    def counting(call: Event, known: Known) -> bool:
        compared.append(call)
        return fits(call, known)

    monkeypatch.setattr(late_calls, "fits", counting)
    calls = [event(1)._replace(occurred_at=1_000_000_000 * MICROS)] * 20
    assert len(pair(calls, [Known(call, 1_000_000_000, 2) for call in calls])) == 20
    assert len(compared) == 20 * 20
