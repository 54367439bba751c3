"""Events that users' tests make: as Copernica sends them."""

from datetime import UTC, datetime

import pytest

from ingest import testing
from ingest.copernica.bodies import parse
from ingest.copernica.events import EventType
from ingest.simulation.calls import FORM, TYPES, payload
from workers.records import read, record_of


@pytest.mark.parametrize("kind", list(EventType))
def test_there_is_a_factory_for_each_type_of_event(kind: EventType) -> None:
    event = getattr(testing, kind.name.lower())()
    assert event.type is kind
    assert read(record_of(event)) == event, "a handler gets what a call would bring"
    assert event.delivery_id != testing.event(kind).delivery_id


@pytest.mark.parametrize("kind", TYPES)
def test_defaults_are_those_of_the_simulator(kind: str) -> None:
    assert testing.event(kind).fields == parse(payload(kind), FORM)[0]


def test_fields_have_copernicas_names_or_ours_and_values_as_python_has_them() -> None:
    event = testing.click(url="https://example.nl/", mailing=7, tags=["a"], referer=None, extra={"new": True})
    assert (event.url, event.mailing, event.tags, event.referer) == ("https://example.nl/", 7, ["a"], None)
    assert event.payload["new"] == "1"
    assert testing.click(original="https://example.nl/").url == "https://example.nl/"
    assert testing.profile_update(fields={"age": 7}).payload["fields"] == {"age": "7"}
    assert testing.profile_update().payload["fields"]["email"], "the defaults are still whole"


@pytest.mark.parametrize("kind", ["open", "abuse", "unknown", "bot-click"])
def test_an_event_happens_when_the_test_says(kind: str) -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    event = testing.event(kind, at=at)
    assert 0 <= event.occurred_at / 1e6 - at.timestamp() <= 1
    assert int.from_bytes(event.delivery_id[:4], "big") == event.received_at // 1_000_000
    assert testing.event(kind, at=at.timestamp()).occurred_at == event.occurred_at


def test_what_there_is_not_is_refused_with_what_was_meant() -> None:
    with pytest.raises(TypeError, match=r"'opne' is not a type of event\. Did you mean open"):
        testing.event("opne")
    with pytest.raises(TypeError, match=r"no field 'recipent'\. Did you mean recipient"):
        testing.open(recipent="jan@example.nl")
    with pytest.raises(TypeError, match="needs a time zone"):
        testing.open(at=datetime(2026, 3, 1, 12))
