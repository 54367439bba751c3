"""Times as people type them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import click
import pytest

from ingest.cli import times
from ingest.cli.times import Moment, in_order

AMSTERDAM = "Europe/Amsterdam"
#: Wednesday evening in UTC, and Thursday already in Amsterdam.
NOW = datetime(2026, 11, 25, 23, 30, tzinfo=UTC)


class Clock(datetime):
    """One that stands still."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return NOW.astimezone(tz)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "datetime", Clock)


def read(text: str, zone: str = "UTC", ahead: bool = False) -> str:
    ctx = click.Context(click.Command("x"))
    ctx.meta["ingest.zone"] = ZoneInfo(zone)
    return Moment(ahead).convert(text, None, ctx).isoformat().removesuffix("+00:00")


@pytest.mark.parametrize(
    ("text", "in_utc", "in_amsterdam"),
    [
        ("today", "2026-11-25T00:00:00", "2026-11-25T23:00:00"),
        ("Yesterday", "2026-11-24T00:00:00", "2026-11-24T23:00:00"),
        ("2026-11-20", "2026-11-20T00:00:00", "2026-11-19T23:00:00"),
        ("2026-11-25T10:00", "2026-11-25T10:00:00", "2026-11-25T09:00:00"),
        ("2026-07-01T10:00", "2026-07-01T10:00:00", "2026-07-01T08:00:00"),
        ("2026-11-25T10:00:00Z", "2026-11-25T10:00:00", "2026-11-25T10:00:00"),
        ("2026-11-25T10:00+02:00", "2026-11-25T08:00:00", "2026-11-25T08:00:00"),
        ("9:05", "2026-11-25T09:05:00", "2026-11-26T08:05:00"),
        ("2h", "2026-11-25T21:30:00", "2026-11-25T21:30:00"),
        ("1H30m", "2026-11-25T22:00:00", "2026-11-25T22:00:00"),
        ("1w1d", "2026-11-17T23:30:00", "2026-11-17T23:30:00"),
        ("now", "2026-11-25T23:30:00", "2026-11-25T23:30:00"),
    ],
)
def test_a_time_is_what_people_mean_by_it_where_they_are(text: str, in_utc: str, in_amsterdam: str) -> None:
    assert (read(text), read(text, AMSTERDAM)) == (in_utc, in_amsterdam)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", "2026-11-26T01:30:00"),
        ("tomorrow", "2026-11-26T23:00:00"),
        ("18:00", "2026-11-26T17:00:00"),
        ("00:15", "2026-11-26T23:15:00"),
    ],
)
def test_a_time_to_come_is_the_next_of_its_kind(text: str, expected: str) -> None:
    assert read(text, AMSTERDAM, ahead=True) == expected


@pytest.mark.parametrize(
    "text", ["", "h", "²h", "-2h", "99:00", "2026-13-01", "1e3", "9999999999d", "999999999w", "x"]
)
def test_what_is_no_time_is_said_to_be_none(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no time: write 2026-11-20"):
        read(text)


@pytest.mark.parametrize("text", ["yesterday", "2026-11-25T23:00", "now"])
def test_what_is_over_cannot_be_waited_for(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is over already"):
        read(text, ahead=True)


def test_a_span_must_end_after_it_begins() -> None:
    in_order(NOW, NOW + timedelta(seconds=1))
    in_order(None, NOW)
    with pytest.raises(click.BadParameter, match="--since"):
        in_order(NOW, NOW)
