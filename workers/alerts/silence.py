"""Whether it has been quiet for longer than is usual at this hour of the week, by the numbers of its hours."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, or_, select

from ingest.shown import span
from workers.store.counting import HOUR, hour_of, name_of
from workers.store.store import Store
from workers.store.tables import event_counts

#: Weeks that are looked back on.
WEEKS = 8
#: Weeks with events without which nothing is known of what is usual.
LEAST_WEEKS = 3
#: Seconds of quiet below which nobody asks.
LEAST = 900.0
#: Hours that an earlier quiet is followed back: more than a weekend.
LONGEST = 72
#: Events in an hour from which on a quarter of an hour without any is unusual, rather than a whole hour.
BUSY = 2000

WEEK = timedelta(days=7)


def unusual(store: Store, last_at: float, now: float) -> str | None:
    """A sentence if there has been no call since `last_at` (Unix seconds) for longer than is usual; else None."""
    quiet = now - last_at
    if quiet < LEAST or not store.is_counted:
        return None
    allowed = allowed_seconds(numbers(store, now), now)
    if allowed is None or quiet <= allowed:
        return None
    usual = f"at this hour of the week it is usually {span(allowed)} at most"
    return f"No call has come in for {span(quiet)}: {usual}."


def numbers(store: Store, now: float) -> dict[datetime, int]:
    """How many events the hours had that are compared, by the beginning of the hour."""
    columns = event_counts.c
    here = _hour(now)
    spans = [(here - week * WEEK - LONGEST * HOUR, here - week * WEEK + 2 * HOUR) for week in range(1, WEEKS + 1)]
    within = or_(*(columns.hour.between(name_of(begin), name_of(end)) for begin, end in spans))
    query = select(columns.hour, func.sum(columns.number)).where(within).group_by(columns.hour)
    with store.reading() as connection:
        return {_moment(hour): int(number) for hour, number in connection.execute(query) if number}


def allowed_seconds(events: Mapping[datetime, int], now: float) -> float | None:
    """Seconds of quiet that are usual at this moment of the week; None if too little is known.

    By the weeks before, all but the quietest of them if there are enough: that may have been an outage. An hour
    earlier and later are looked at as well, for those who live by a clock that is put forward and back.
    """
    here = _hour(now)
    weeks = [here - week * WEEK for week in range(1, WEEKS + 1)]
    known = [week for week in weeks if any(week - LONGEST * HOUR <= hour <= week + 2 * HOUR for hour in events)]
    if len(known) < LEAST_WEEKS:
        return None
    quiet = sorted(max(_quiet_hours(events, week + shift * HOUR) for shift in (-1, 0, 1)) for week in known)
    longest = quiet[-2] if len(quiet) > LEAST_WEEKS else quiet[-1]
    if longest == 0:
        least = sorted(min(events.get(week + shift * HOUR, 0) for shift in (-1, 0, 1)) for week in known)
        return LEAST if least[1] >= BUSY else 3600.0
    return (longest + 1) * 3600.0


def _quiet_hours(events: Mapping[datetime, int], hour: datetime) -> int:
    """Hours without events up to the end of this one."""
    for back in range(LONGEST):
        if events.get(hour - back * HOUR):
            return back
    return LONGEST


def _hour(at: float) -> datetime:
    return hour_of(datetime.fromtimestamp(at, UTC))


def _moment(name: str) -> datetime:
    return datetime.fromisoformat(f"{name}:00:00+00:00")
