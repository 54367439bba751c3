"""What is written into profiles, by the fixtures that come with the program: run `pytest` in this folder."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import write_back

from ingest import testing
from ingest.copernica.api import RetryPolicy

NINE = datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.fixture(autouse=True)
def jan(copernica_api: testing.FakeApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A profile, and a client that was made for this test and does not wait long."""
    copernica_api.add_profile(1, Email="jan@example.nl")
    monkeypatch.setattr(write_back, "POLICY", RetryPolicy(attempts=2, first_pause=0.001))
    write_back.client.cache_clear()
    yield
    write_back.client.cache_clear()


def test_the_latest_click_stays_whatever_the_order(
    copernica: testing.Workbench, copernica_api: testing.FakeApi
) -> None:
    copernica.use(write_back)
    copernica.give(testing.click(profile=1, at=NINE))
    copernica.give(testing.click(profile=1, at=NINE - timedelta(days=1)))
    assert copernica_api.fields_of(1)["LastClick"] == "2026-11-20 09:00:00"


def test_while_copernica_is_away_clicks_wait(copernica: testing.Workbench, copernica_api: testing.FakeApi) -> None:
    copernica.use(write_back)
    copernica_api.fail("503*9@profile")
    copernica.give(testing.click(profile=1, at=NINE), testing.click(profile=2))
    assert [len(one.events) for one in copernica.waiting] == [2]
    copernica_api.fail("ok")
    copernica.wait_out()
    assert copernica_api.fields_of(1)["LastClick"] == "2026-11-20 09:00:00"
    assert copernica.dead_letters == []


def test_what_copernica_declines_is_a_dead_letter_at_once(
    copernica: testing.Workbench, copernica_api: testing.FakeApi
) -> None:
    copernica.use(write_back)
    copernica_api.fail("ok@profile,elsewhere@profile")
    copernica.give(testing.click(profile=1))
    (letter,) = copernica.dead_letters
    assert letter.attempts == 1
