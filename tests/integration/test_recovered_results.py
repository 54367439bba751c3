"""Results over REST against the store: what is missing is recovered once, whatever is fetched again."""

import gc
from datetime import UTC, datetime

import pytest

from ingest.copernica.events import REST, Event, EventType
from tests.support.logs import START, a_day, no_progress
from tests.support.sql import everything
from workers.reconcile.recovery import Recovery, RecoveryOptions
from workers.reconcile.report import KindReport
from workers.reconcile.results import RESULT, Results, Told
from workers.store.recovered import with_ids
from workers.store.store import Store

CLICKS = [one for one in a_day(700) if one.prefix == "cdm-click"]
LINK = "https://example.nl/?id={$profile.id}"


def told(number: int, ahead: int = 0) -> Told:
    """The result of a click, by a clock that is so many seconds ahead."""
    one = CLICKS[number]
    moment = datetime.fromtimestamp(START + one.second + ahead, UTC)
    fields = {"id": one.message, "ip": one.ip, "original": LINK, "profile": 4711, "useragent": None}
    return Told("ms", 1000 + number, f"{moment:%Y-%m-%d %H:%M:%S}", fields)


def compared(store: Store, results: list[Told], dry_run: bool = False) -> KindReport:
    with Results(EventType.CLICK) as lines:
        lines.add(results)
        recovery = Recovery(store, RecoveryOptions(dry_run=dry_run), no_progress)
        return recovery.results(lines, range(START, START + 86_400))


def recovered(store: Store) -> list[Event]:
    return [event for event in everything(store) if event.source == REST]


def test_what_the_store_lacks_is_recovered_once_by_the_clock_of_the_webhooks(store: Store) -> None:
    store.add([one.call(number) for number, one in enumerate(CLICKS) if number % 3])
    results = [told(number, ahead=7200) for number in range(len(CLICKS))]
    missing = len(CLICKS[::3])
    dry = compared(store, results, dry_run=True)
    assert (dry.recovered, recovered(store)) == (missing, [])
    report = compared(store, [*results, *results[:5]])
    assert (report.in_log, report.in_store, report.recovered) == (len(CLICKS), len(CLICKS) - missing, missing)
    assert report.offset == -7200
    assert {(one.message_id, one.occurred_at) for one in recovered(store)} == {
        (one.message, (START + one.second) * 1_000_000) for one in CLICKS[::3]
    }
    one = recovered(store)[0]
    assert (one.profile, one.url, one.payload[RESULT]) == (4711, LINK, "ms 1000")
    again = compared(store, results[::-1])
    assert (again.recovered, again.in_store, again.only_in_store) == (0, len(CLICKS), 0)


def test_a_result_of_an_unknown_message_is_told_and_not_stored(store: Store) -> None:
    without = told(0)._replace(fields={"id": None})
    report = compared(store, [without, told(1), told(2)._replace(timestamp="soon")])
    assert (report.in_log, report.recovered, report.unmatched) == (3, 1, 2)
    assert "result 1000 of ms" in report.notes[0]


@pytest.mark.slow
def test_no_ids_of_what_was_recovered_are_left_to_the_garbage_collector(sqlite_url: str) -> None:
    with Store.open(sqlite_url) as store:
        compared(store, [told(number) for number in range(3)])
        ids = [event.delivery_id for event in recovered(store)]
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            compared(store, [told(number) for number in range(3, 9)])
            for _ in range(2):  # the first time, SQLAlchemy keeps the statement itself
                with store.reading() as connection:
                    assert len(with_ids(connection, ids)) == 3
            gc.collect()
            assert not [
                one for one in gc.garbage if isinstance(one, list) and any(type(id_) is bytes for id_ in one)
            ]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
