"""Times that are typed into a page."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from ingest.console.dates import time_from

HERE = ZoneInfo("Europe/Amsterdam")


@pytest.mark.parametrize("text", ["2026-11-20T10:00", "2026-11-20T10:00:00", "2026-11-20T10:00:00.000"])
def test_a_time_is_that_of_the_zone_as_any_browser_writes_it(text: str) -> None:
    assert time_from(text, HERE) == datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["", "2026-11-20", "2026-02-31T10:00", "0001-01-01T00:00", "2026-11-20T10:00Z", "\uff12026-11-20T10:00"],
)
def test_what_is_no_such_time_is_none(text: str) -> None:
    assert time_from(text, HERE) is None
