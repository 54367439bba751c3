"""How the days stand that the console shows."""

from datetime import UTC, date, datetime

from ingest.copernica.events import LOGFILE, MICROS, REST, WEBHOOK, Event
from tests.support.builders import delivery_id, event
from tests.support.gaps import keep_gap
from tests.support.sql import execute
from workers.operations.calendar import MOST_DAYS, DayStanding, DayState, Span, spans, standings
from workers.reconcile import history
from workers.reconcile.report import DayReport
from workers.store.store import Store

#: 2026-11-20 04:00 UTC.
NOW = datetime(2026, 11, 20, 4, tzinfo=UTC)


def on(day: int, number: int, source: str = WEBHOOK) -> Event:
    """An event at eight on a day of November."""
    at = int(datetime(2026, 11, day, 8, tzinfo=UTC).timestamp()) * MICROS
    return event(number)._replace(
        delivery_id=delivery_id(number, at), occurred_at=at, received_at=at + 1, source=source
    )


def look(store: Store, first: int = 10) -> dict[int, DayStanding]:
    found = standings(store, date(2026, 11, first), date(2026, 12, 31), NOW)
    return {one.day.day: one for one in found}


def test_nothing_is_known_of_a_day_before_anything_happened(store: Store) -> None:
    found = look(store)
    assert list(found) == [*range(10, 21)], "what is still to come is left out"
    assert {one.state for one in found.values()} == {DayState.UNKNOWN, DayState.TODAY}
    assert spans(store, NOW) == [Span(NOW.date(), NOW.date())]


def test_each_day_is_in_one_state(store: Store) -> None:
    store.add([on(11, 1), on(12, 2), on(12, 3, source=LOGFILE), on(15, 4, source=REST)])
    for day, report in {
        11: DayReport(date(2026, 11, 11), whole=True),
        12: DayReport(date(2026, 11, 12), whole=True),
        13: DayReport(date(2026, 11, 13), whole=True),
        14: DayReport(date(2026, 11, 14), error="no file"),
        15: DayReport(date(2026, 11, 15), error="gone", gone=True),
    }.items():
        assert report.day.day == day
        history.save(store, report, history.API)
    execute(
        store,
        "INSERT INTO day_totals VALUES ('2026-11-13', '2026-11-14 00:00:00.000000', '2026-11-14 00:00:00.000000', "
        "1, FALSE, 'the totals of 1 mailing differ', '{}')",
    )
    begin = int(datetime(2026, 11, 16, 23, tzinfo=UTC).timestamp())
    keep_gap(store, begin, begin + 7200)
    found = look(store)
    assert {day: one.state.value for day, one in found.items()} == {
        10: "unknown", 11: "complete", 12: "recovered", 13: "differing", 14: "incomplete", 15: "gone",
        16: "incomplete", 17: "incomplete", 18: "incomplete", 19: "unknown", 20: "today",
    }  # fmt: skip  # a list to be read across
    assert (found[12].webhook, found[12].recovered, found[15].rest) == (1, 1, 1)
    assert [day for day, one in found.items() if one.gaps] == [16, 17]
    assert spans(store, NOW) == [Span(date(2026, 11, 11), NOW.date())]


def test_an_event_of_years_ago_makes_no_years_of_unknown_days(store: Store) -> None:
    old = int(datetime(2019, 3, 5, 8, tzinfo=UTC).timestamp()) * MICROS
    store.add([on(3, 1), on(3, 2)._replace(delivery_id=delivery_id(9, old), occurred_at=old)])
    stray = Span(date(2019, 3, 5), date(2019, 3, 31))
    assert spans(store, NOW) == [stray, Span(date(2026, 11, 3), NOW.date())]
    # A gap in spring, and a day that was compared in the month before the events began: one period.
    begin = int(datetime(2026, 2, 27, tzinfo=UTC).timestamp())
    keep_gap(store, begin, begin + 40 * 86_400)
    history.save(store, DayReport(date(2026, 10, 20), whole=True), history.API)
    spring = Span(date(2026, 2, 27), date(2026, 4, 30))
    assert spans(store, NOW) == [stray, spring, Span(date(2026, 10, 20), NOW.date())]
    later = int(datetime(2031, 1, 1, tzinfo=UTC).timestamp()) * MICROS
    store.add([on(3, 3)._replace(delivery_id=delivery_id(8, later), occurred_at=later)])
    assert spans(store, NOW)[-1].last == NOW.date(), "what a clock that was ahead has said"


def test_no_more_days_are_looked_at_than_a_page_shows(store: Store) -> None:
    assert len(standings(store, date(1, 1, 1), date(2026, 12, 31), NOW)) == MOST_DAYS
