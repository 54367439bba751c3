"""Copernica's totals beside the store: what agrees, what differs and why, and what that costs."""

import random
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from ingest.copernica.api.client import Copernica
from ingest.copernica.api.results import Product
from ingest.copernica.event_types import EventType
from ingest.copernica.events import LOGFILE, MICROS, REST, WEBHOOK
from ingest.errors import Forbidden
from ingest.simulation.api_faults import Kind
from ingest.simulation.results_clock import Manner
from tests.support.builders import delivery_id
from tests.support.fake_copernica import HASTY, TOKEN
from tests.support.logs import DAY, START, no_progress
from tests.support.sql import execute, rows
from tests.support.totals import (
    CLICK,
    DELIVERY,
    NOON,
    OPEN,
    Told,
    add_destinations,
    asked,
    call,
    calls,
    compared,
    connect,
    log_files_are_there,
    on_sqlite,
    some,
    truth_of,
)
from workers.reconcile import history as reconciled
from workers.reconcile.report import DayReport, KindReport
from workers.store.store import Store
from workers.totals import history, theirs
from workers.totals.audit import audit
from workers.totals.report import Cause, DayTotals


def differences(found: DayTotals) -> dict[tuple[str, int, str], tuple[int | None, set[Cause]]]:
    return {
        (line.product, line.mailing, line.kind.value): (line.difference, set(line.causes))
        for line in found.lines
        if line.difference or line.causes
    }


def test_totals_agree_where_the_store_has_what_copernica_counts(store: Store, database: str) -> None:
    told = [
        *some(5),
        *some(3, kind=CLICK),
        Told("ms-77-0", second=NOON + 50),
        *some(2, product="publisher", mailing=5),
        *some(2, kind=EventType.FAILURE, mailing=2000),
    ]
    store.add(calls(told))
    log_files_are_there(store)
    found = compared(database, truth_of(told))
    assert (found.agrees, found.error, differences(found)) == (True, None, {})
    numbers = {(one.mailing, one.kind.value): (one.theirs, one.ours) for one in found.lines}
    assert numbers[77, "open"] == ((6, 5), (6, 5)), "all, and different messages"
    assert {one.product for one in found.lines} == {"ms", "publisher"}
    assert history.verdicts(store)[DAY].agrees is True
    kept = rows(store, "SELECT mailing, kind, theirs, theirs_unique, ours, ours_unique FROM mailing_totals")
    assert (77, "open", 6, 5, 6, 5) in kept
    assert len(kept) == len(found.lines) == 4


@on_sqlite
def test_what_is_missing_or_too_many_differs_and_says_so(store: Store, database: str) -> None:
    told = [*some(5), *some(3, kind=CLICK, mailing=78)]
    store.add(calls(told[1:]))
    store.add(calls([Told("more", 78, CLICK)], 100))
    log_files_are_there(store)
    found = compared(database, truth_of(told))
    assert found.agrees is False
    assert found.why == "the totals of 2 mailings differ (open: 1 missing; click: 1 too many)"
    assert differences(found) == {("ms", 77, "open"): (1, set()), ("ms", 78, "click"): (-1, set())}
    verdict = history.verdicts(store)[DAY]
    assert (verdict.agrees, verdict.why, verdict.attempts) == (False, found.why, 1)
    store.add(calls(told[:1], 200, LOGFILE))
    store.erase([delivery_id(100, (START + NOON) * MICROS)], (), (), ())
    assert compared(database, truth_of(told)).agrees
    assert history.verdicts(store)[DAY][:3] == (True, "", 2)
    store.erase([one.delivery_id for one in calls(told[1:3], 0)][:1], (), (), ())
    assert compared(database, truth_of(told)).agrees is False
    assert history.verdicts(store)[DAY].agrees is True, "once a day agrees it stays so"


@on_sqlite
def test_a_mailing_of_which_nothing_came_is_found_if_it_was_sent_just_then(store: Store, database: str) -> None:
    log_files_are_there(store)
    found = compared(database, truth_of(some(4, mailing=2000)))
    assert differences(found) == {("ms", 2000, "open"): (4, {Cause.NOT_REGISTERED})}


@on_sqlite
def test_only_the_day_is_compared(store: Store, database: str) -> None:
    other = [Told("a", second=-5000), Told("b", second=86_400 + 5000), Told("c", second=86_400 + 9000)]
    told = some(3)
    store.add(calls(told))
    log_files_are_there(store)
    assert compared(database, truth_of([*told, *other])).agrees
    assert compared(database, truth_of([*told, *other]), manner=Manner(edges="[]")).agrees


@on_sqlite
def test_an_event_at_midnight_may_be_of_either_day(store: Store, database: str) -> None:
    seconds = {81: (86_399, 86_400), 82: (-1, 0), 83: (0, -1), 84: (86_400, 86_399)}
    at = {mailing: (Told(f"x{mailing}", mailing, second=one), other) for mailing, (one, other) in seconds.items()}
    told = [*some(3), *(Told(f"y{mailing}", mailing) for mailing in at)]
    store.add(calls([*told, *(one._replace(second=other) for one, other in at.values())]))
    log_files_are_there(store)
    found = compared(database, truth_of([*told, *(one for one, _ in at.values())]))
    assert found.agrees
    differ = {mailing: difference for (_, mailing, _), (difference, _) in differences(found).items()}
    assert differ == {81: 1, 82: -1, 83: 1, 84: -1}
    assert {cause for _, causes in differences(found).values() for cause in causes} == {Cause.MIDNIGHT}


@pytest.mark.slow
def test_events_without_a_mailing_count_as_far_as_their_messages_are_known(store: Store, database: str) -> None:
    told = [*some(4), *some(2, mailing=78, kind=CLICK)]
    store.add(calls(told[:1]) + calls(told[1:], 1, LOGFILE, named=False))
    log_files_are_there(store)
    found = compared(database, truth_of(told))
    assert found.agrees
    assert differences(found) == {("ms", 77, "open"): (3, {Cause.UNNAMED})}, "clicks name no mailing of that day"
    add_destinations(store, [("ms", n, f"ms-77-{n}", 77) for n in range(4)])
    found = compared(database, truth_of([*told[:4]]))
    assert differences(found) == {}
    (line,) = [one for one in found.lines if one.kind is OPEN]
    assert line.ours == (4, 4)
    store.erase([call(3, told[3]).delivery_id], (), (), ())
    assert differences(compared(database, truth_of(told[:4]))) == {("ms", 77, "open"): (1, set())}


@on_sqlite
def test_what_log_files_have_found_out_accounts_for_differences(store: Store, database: str) -> None:
    told = [*some(5), *some(5, kind=CLICK)]
    store.add(calls(told[2:]) + calls([Told("bot", kind=CLICK)], 100))
    kinds = KindReport("open", erased=2), KindReport("click", suspected=1)
    log_files_are_there(store, *kinds)
    found = compared(database, truth_of(told))
    assert found.agrees
    assert {key[2]: causes for key, (_, causes) in differences(found).items()} == {
        "open": {Cause.ERASED},
        "click": {Cause.ONLY_HERE},
    }
    store.erase([call(1, told[3]).delivery_id], (), (), ())
    found = compared(database, truth_of(told))
    assert found.agrees is False, "one more is missing than was left out"
    assert differences(found)["ms", 77, "open"] == (3, set())


@on_sqlite
def test_a_number_that_both_products_have_is_compared_together(store: Store, database: str) -> None:
    told = [*some(5), *some(3, product="publisher"), *some(2, product="publisher", mailing=9)]
    store.add(calls(told))
    log_files_are_there(store)
    found = compared(database, truth_of(told))
    assert found.agrees
    assert {(one.product, one.mailing) for one in found.lines} == {("both", 77), ("publisher", 9)}


@on_sqlite
def test_zones_that_are_hours_apart_are_measured(store: Store, database: str) -> None:
    told = [
        one._replace(second=hour * 3600 + 1800)
        for mailing in (77, 78, 79)
        for hour, one in enumerate(some(40, mailing))
    ]
    store.add(calls(told))
    log_files_are_there(store)
    amsterdam = Manner(zone=ZoneInfo("Europe/Amsterdam"))
    found = compared(database, truth_of(told), manner=amsterdam)
    assert (found.agrees, found.offset) == (True, -3600)
    assert any("INGEST_LOGFILE_TZ" in note for note in found.notes)
    found = compared(database, truth_of(told), manner=amsterdam, INGEST_LOGFILE_TZ="Europe/Amsterdam")
    assert (found.agrees, found.offset, found.notes) == (True, 0, [])


@on_sqlite
def test_a_loss_is_not_taken_for_a_difference_of_zones(store: Store, database: str) -> None:
    told = [one._replace(second=hour * 1800 + 900) for hour, one in enumerate(some(80))]
    store.add(calls([*told[:20], *told[21:]]))
    log_files_are_there(store)
    found = compared(database, truth_of(told))
    assert (found.agrees, found.offset, found.notes) == (False, 0, [])


@pytest.mark.parametrize("day", [date(2026, 10, 24), date(2026, 10, 25), date(2026, 3, 29)])
@on_sqlite
def test_a_day_on_which_clocks_are_changed_is_that_day(store: Store, database: str, day: date) -> None:
    first = (day - DAY).days * 86_400
    told = [one._replace(second=first + n * 600 + 300) for n, one in enumerate(some(300))]
    told = [one._replace(second=one.second - 86_400) for one in told]
    store.add(calls(told))
    reconciled.save(store, DayReport(day, whole=True), reconciled.API)
    amsterdam = Manner(zone=ZoneInfo("Europe/Amsterdam"))
    found = compared(database, truth_of(told), manner=amsterdam, day=day, INGEST_LOGFILE_TZ="Europe/Amsterdam")
    assert (found.agrees, differences(found), found.lines[0].theirs.total) == (True, {}, 144)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_day_agrees_if_and_only_if_the_store_has_what_happened(store: Store, database: str, seed: int) -> None:
    luck = random.Random(seed)
    kinds = OPEN, CLICK, EventType.FAILURE
    told = [
        Told(f"{mailing}-{n}", mailing, luck.choice(kinds), luck.randrange(-4000, 90_000) // 300 * 300 + 150)
        for n in range(60)
        for mailing in [luck.choice([77, 78, 2000])]
    ]
    store.add([call(n, one, luck.choice([WEBHOOK, LOGFILE, REST])) for n, one in enumerate(told)])
    log_files_are_there(store)
    with asked(database, truth_of(told)) as (_, settings):
        (found,) = audit(settings, [DAY], no_progress, connect=connect)
        assert (found.agrees, differences(found)) == (True, {})
        for _ in range(2):
            number = luck.randrange(len(told))
            gone = call(number, told[number])
            within = 0 <= told[number].second < 86_400
            store.erase([gone.delivery_id], (), (), ())
            (found,) = audit(settings, [DAY], no_progress, connect=connect)
            assert (found.agrees, [line.difference for line in found.differing]) == (not within, [1] * within)
            store.add([gone])


def test_a_mailing_that_is_listed_and_then_unknown_leaves_the_day_undecided() -> None:
    asking = theirs.Theirs(Copernica(TOKEN), datetime(2026, 11, 20), datetime(2026, 11, 21))
    assert asking.problem is None
    asking.unknown = {(Product.MARKETING_SUITE, 9)}
    assert asking.problem is None, "an older one may have been deleted"
    asking.sent = {(Product.MARKETING_SUITE, 9), (Product.PUBLISHER, 9)}
    assert asking.problem == "Copernica lists mailing 9 (ms), but does not know it when asked for totals."


@on_sqlite
def test_a_mailing_of_0_is_none(store: Store, database: str) -> None:
    told = some(3)
    store.add([*calls(told[:2]), call(2, told[2]._replace(mailing=0))])
    log_files_are_there(store)
    assert differences(compared(database, truth_of(told))) == {("ms", 77, "open"): (1, {Cause.UNNAMED})}
    add_destinations(store, [("ms", 1, told[2].message, 77)])
    assert differences(compared(database, truth_of(told))) == {}


@on_sqlite
def test_a_clock_that_was_measured_on_log_files_is_allowed_for(store: Store, database: str) -> None:
    told = [one._replace(second=hour * 3600 + 7) for hour, one in enumerate(some(24))]
    store.add([one._replace(occurred_at=one.occurred_at + 30 * MICROS) for one in calls(told)])
    log_files_are_there(store, KindReport("open", offset=30, pairs=24))
    assert (compared(database, truth_of(told)).offset, compared(database, truth_of(told)).agrees) == (30, True)


FAULTS = (
    "429@statistics",
    "500*2@statistics,cut@statistics",
    "strings*9",
    "expired@statistics",
    "empty@emailings",
)


@pytest.mark.parametrize("plan", FAULTS)
@on_sqlite
def test_whatever_passes_changes_nothing(store: Store, database: str, plan: str) -> None:
    told = [*some(5), *some(2, mailing=2000)]
    store.add(calls(told))
    log_files_are_there(store)
    assert compared(database, truth_of(told), plan).agrees


@on_sqlite
def test_what_copernica_does_not_tell_is_no_difference(store: Store, database: str) -> None:
    told = some(3)
    store.add(calls(told))
    log_files_are_there(store)
    found = compared(database, truth_of(told), "null*9@statistics")
    assert found.agrees is None
    assert differences(found) == {("ms", 77, "open"): (None, {Cause.NOT_TOLD})}
    gone = compared(database, truth_of(some(2, mailing=5000)))
    assert differences(gone)["", 77, "open"] == (None, {Cause.UNKNOWN_MAILING})


@on_sqlite
def test_a_mailing_that_cannot_be_asked_about_leaves_the_day_undecided(store: Store, database: str) -> None:
    told = [Told(f"m{n}", mailing=n + 1) for n in range(40)]
    store.add(calls(told))
    log_files_are_there(store)
    with asked(database, truth_of(told), "500*999@statistics") as (fake, settings):
        (found,) = audit(settings, [DAY], no_progress, connect=connect)
        assert fake.calls[Kind.STATISTICS] <= theirs.AT_ONCE * HASTY.attempts, "it gives up on the others soon"
    assert found.agrees is None
    assert found.error is not None
    assert found.error.endswith(".")
    assert history.verdicts(store)[DAY].agrees is None


@on_sqlite
def test_a_token_without_the_right_is_told_and_says_nothing_of_the_day(store: Store, database: str) -> None:
    store.add(calls(some(2)))
    log_files_are_there(store)
    with pytest.raises(Forbidden):
        compared(database, truth_of(some(2)), "403@statistics")
    assert history.verdicts(store) == {}


@on_sqlite
def test_one_request_tells_all_kinds_and_there_is_a_bound(
    store: Store, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [Told(f"m{n}", mailing=n + 1, kind=kind) for n in range(30) for kind in (OPEN, CLICK, DELIVERY)]
    store.add(calls(told))
    log_files_are_there(store)
    with asked(database, truth_of(told)) as (fake, settings):
        (found,) = audit(settings, [DAY], no_progress, connect=connect)
        assert (found.agrees, fake.calls[Kind.STATISTICS], found.mailings) == (True, 30, 30)
        monkeypatch.setattr(theirs, "MOST_REQUESTS", 20)
        (found,) = audit(settings, [DAY], no_progress, connect=connect)
        assert fake.calls[Kind.STATISTICS] <= 50
    assert found.agrees is None
    assert "left out" in (found.error or "")


@on_sqlite
def test_open_gaps_and_erasures_are_named(store: Store, database: str) -> None:
    told = some(3)
    store.add(calls(told[1:]))
    log_files_are_there(store)
    noon = (START + NOON) * MICROS
    execute(
        store,
        "INSERT INTO gaps (since, cause, until, state, changed_at, details) "
        f"VALUES ({noon}, 'answered-503', {noon + MICROS}, 'ended', {noon}, '{{}}')",
    )
    store.entomb(["jan@example.nl"])
    assert differences(compared(database, truth_of(told))) == {("ms", 77, "open"): (1, {Cause.GAP, Cause.ERASURE})}
    execute(store, "UPDATE gaps SET state = 'closed'")
    assert differences(compared(database, truth_of(told))) == {("ms", 77, "open"): (1, {Cause.ERASURE})}
