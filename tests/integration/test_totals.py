"""Copernica's totals beside the store: what agrees, what differs and why, and what that costs."""

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest

from ingest.copernica.api.client import Copernica
from ingest.copernica.api.results import Product
from ingest.copernica.event_types import EventType
from ingest.copernica.events import LOGFILE, MICROS, REST, WEBHOOK, Event
from ingest.errors import Forbidden
from ingest.settings import Settings
from ingest.simulation.api_faults import Faults, Kind
from ingest.simulation.fake_api import FakeCopernica
from ingest.simulation.results_clock import Manner
from ingest.simulation.truth import Truth
from tests.support.builders import delivery_id, event
from tests.support.cli import typed
from tests.support.fake_copernica import HASTY, TOKEN, fake_copernica
from tests.support.logs import DAY, START, no_progress
from tests.support.sql import execute, rows
from workers.operations import shared_figures, status
from workers.reconcile import history as reconciled
from workers.reconcile.report import DayReport, KindReport
from workers.store import tables
from workers.store.store import Store
from workers.totals import daily, history, theirs
from workers.totals.audit import audit
from workers.totals.report import Cause, DayTotals

NOON = 12 * 3600
OPEN, CLICK, DELIVERY = EventType.OPEN, EventType.CLICK, EventType.DELIVERY


#: For what does not depend on the database.
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class Told(NamedTuple):
    """Something that happened, as Copernica knows it."""

    message: str
    mailing: int = 77
    kind: EventType = OPEN
    second: int = NOON
    product: str = "ms"


def some(number: int, mailing: int = 77, kind: EventType = OPEN, product: str = "ms") -> list[Told]:
    """One of each of some messages, a second after the other."""
    return [Told(f"{product}-{mailing}-{n}", mailing, kind, NOON + n, product) for n in range(number)]


def truth_of(told: Sequence[Told]) -> Truth:
    return Truth.of(
        (
            one.kind,
            {
                "id": one.message,
                "time": START + one.second,
                "mailing": one.mailing,
                "product": one.product,
                "sent": START - 5 * 86_400 if one.mailing < 1000 else START,
            },
        )
        for one in told
    )


def call(number: int, told: Told, source: str = WEBHOOK, named: bool = True) -> Event:
    """The event of it."""
    at = (START + told.second) * MICROS
    return event(
        delivery_id=delivery_id(number, at),
        type=told.kind,
        message_id=told.message,
        occurred_at=at,
        mailing=told.mailing if named else None,
        source=source,
    )


def calls(told: Sequence[Told], first: int = 0, source: str = WEBHOOK, named: bool = True) -> list[Event]:
    return [call(first + number, one, source, named) for number, one in enumerate(told)]


def log_files_are_there(store: Store, *kinds: KindReport) -> None:
    reconciled.save(store, DayReport(DAY, list(kinds), whole=True), reconciled.API)


@contextmanager
def asked(
    database: str, truth: Truth, faults: str = "", manner: Manner | None = None, **settings: str
) -> Iterator[tuple[FakeCopernica, "Settings"]]:
    fake = FakeCopernica(None, TOKEN, Faults(faults), truth=truth, results=manner)
    with fake_copernica(fake) as environ:
        yield fake, Settings.read({**environ, "DATABASE_URL": database, **settings})


def connect(settings: Settings) -> Copernica:
    return Copernica(settings.token, settings.copernica_api_url, settings.copernica_auth_url, policy=HASTY)


def compared(
    database: str,
    truth: Truth,
    faults: str = "",
    manner: Manner | None = None,
    day: date = DAY,
    **settings: str,
) -> DayTotals:
    with asked(database, truth, faults, manner, **settings) as (_, read):
        (found,) = audit(read, [day], no_progress, connect=connect)
    return found


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


def add_destinations(store: Store, found: Sequence[tuple[str, int, str, int]]) -> None:
    execute(
        store,
        *(
            "INSERT INTO destinations (product, destination, message_id, mailing, kept_at) "
            f"VALUES ('{product}', {number}, '{message}', {mailing}, 0)"
            for product, number, message, mailing in found
        ),
    )


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
def test_a_day_that_is_not_over_or_was_deleted_or_lacks_its_log_files_is_not_decided(
    store: Store, database: str
) -> None:
    told = some(3)
    store.add(calls(told))
    assert compared(database, truth_of(told)).undecided is Cause.LOG_FILES
    log_files_are_there(store)
    assert compared(database, truth_of(told), INGEST_RETENTION_DAYS="3").undecided is Cause.RETENTION
    today = datetime.now(UTC).date()
    assert compared(database, truth_of(told), day=today).undecided is Cause.DAY_NOT_OVER
    assert {verdict.agrees for verdict in history.verdicts(store).values()} == {None}


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


def test_totals_expire(store: Store, database: str) -> None:
    told = some(3)
    store.add(calls(told))
    log_files_are_there(store)
    compared(database, truth_of(told))
    assert history.expire(store, DAY + timedelta(days=9), 30) == 0
    assert history.expire(store, DAY + timedelta(days=9), 5) == 2
    compared(database, truth_of(told))
    assert history.expire(store, DAY + timedelta(days=70), 0) == 1
    assert set(history.verdicts(store)) == {DAY}


@on_sqlite
def test_the_command_shows_both_sides_and_ends_with_1_if_they_differ(store: Store, database: str) -> None:
    told = [*some(5), *some(1200, kind=CLICK, mailing=90210)]
    store.add(calls(told[1:]))
    log_files_are_there(store)
    with fake_copernica(FakeCopernica(None, TOKEN, truth=truth_of(told))) as environ:
        here = {**environ, "DATABASE_URL": database}
        shown = typed("audit-mailings", str(DAY), environ=here)
        assert shown.exit_code == 1
        assert max(map(len, shown.stdout.splitlines()[1:-1])) <= 80
        assert "2026-11-20  the totals of 1 mailing differ (open: 1 missing)" in shown.stdout
        assert ["ms", "90210", "click", "1,200", "1,200", "1,200", "1,200"] in [
            line.split() for line in shown.stdout.splitlines()
        ]
        (told_day,) = map(
            json.loads, typed("audit-mailings", str(DAY), "--json", environ=here).stdout.splitlines()
        )
        assert told_day["agrees"] is False
        assert told_day["totals"][0] == {
            "product": "ms",
            "mailing": 77,
            "kind": "open",
            "copernica": {"total": 5, "unique": 5},
            "store": {"total": 4, "unique": 4},
            "difference": 1,
            "agrees": False,
            "causes": [],
        }
        store.add(calls(told[:1], 9000))
        assert typed("audit-mailings", str(DAY), environ=here).exit_code == 0
        future = typed("audit-mailings", "2126-11-20", environ=here)
        assert (future.exit_code, future.stderr.count("\n")) == (2, 1)


# --- each day, and what is said of days ---


def compare(settings: Settings, day: date = DAY) -> int:
    return daily.compare_due(settings, day + timedelta(days=1), lambda: None)


@pytest.mark.slow
def test_days_are_compared_once_their_log_files_are_there_and_again_until_they_agree(
    store: Store, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daily, "audit", partial(audit, connect=connect))
    told = some(3)
    store.add(calls(told[1:]))
    with asked(database, truth_of(told)) as (fake, settings):
        assert compare(settings) == 0
        assert not fake.seen, "nothing is complete yet"
        log_files_are_there(store)
        assert compare(settings) == 0
        assert history.verdicts(store)[DAY].agrees is False
        requests = len(fake.seen)
        assert compare(settings) == 0
        assert len(fake.seen) == requests, "not again at once"
        store.add(calls(told[:1], 9))
        with store.writing() as connection:
            earlier = datetime.now(UTC) - timedelta(hours=21)
            connection.execute(tables.day_totals.update().values(checked_at=earlier))
        assert compare(settings) == 1
        with store.writing() as connection:
            connection.execute(tables.day_totals.update().values(checked_at=earlier))
        requests = len(fake.seen)
        assert compare(settings) == 0
        assert len(fake.seen) == requests, "it agrees"
        assert daily.due(store, DAY + history.AGAIN_FOR + timedelta(days=2)) == []


@on_sqlite
def test_a_token_without_the_right_ends_no_job_and_totals_can_be_left_out(
    store: Store, database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(daily, "audit", partial(audit, connect=connect))
    store.add(calls(some(2)))
    log_files_are_there(store)
    with asked(database, truth_of(some(2)), "403*9@statistics", INGEST_AUDIT_MAILINGS="off") as (fake, settings):
        assert compare(settings) == 0
        assert not fake.seen
        assert compare(settings.model_copy(update={"audit_mailings": "on"})) == 0
    assert "totals are not compared" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.slow
def test_status_says_of_each_day_what_came_from_where_and_whether_it_is_complete(
    store: Store, database: str, redis_url: str, tmp_path: Path
) -> None:
    today = datetime.now(UTC).date()
    yesterday, shift = today - timedelta(days=1), (today - DAY).days - 1
    told = some(6)
    moved = [one._replace(second=one.second + shift * 86_400) for one in told]
    store.add(calls(moved[:3]) + calls(moved[3:5], 3, LOGFILE) + calls(moved[5:], 5, REST))
    store.add(calls([one._replace(second=one.second + (shift + 1) * 86_400) for one in told[:2]], 50))
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": database, "INGEST_DATA_DIR": str(tmp_path)}

    def days() -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(typed("status", "--json", environ=environ).stdout)["days"]
        return found

    nothing = {"complete": None, "log_files": None, "totals": None, "differs": None}
    sources = {"webhook": 3, "logfile": 2, "rest": 1}
    assert days() == [
        {"day": str(today), **nothing, "webhook": 2, "logfile": 0, "rest": 0},
        {"day": str(yesterday), **nothing, **sources},
    ]
    reconciled.save(store, DayReport(yesterday, whole=True), reconciled.API)
    assert days()[1] == {**nothing, "day": str(yesterday), "complete": True, "log_files": True, **sources}
    compared(database, truth_of([*moved, Told("ms-77-9", second=moved[0].second)]), day=yesterday)
    why = "the totals of 1 mailing differ (open: 1 missing)"
    now = {"day": str(yesterday), "complete": False, "log_files": True, "totals": False, "differs": why, **sources}
    assert days()[1] == now
    figures = json.loads(typed("status", "--json", environ=environ).stdout)
    assert figures["reconciled"]["differing"] == figures["reconciled"]["incomplete"] == [str(yesterday)]
    assert figures["reconciled"]["complete_through"] is None
    assert "totals-differ" in [one["code"] for one in figures["warnings"]]
    assert f"{yesterday}" in typed("status", environ=environ).stdout
    with Store.open(database) as there:
        gauges = dict(shared_figures.of_store(status.of_store(there, for_people=False), today))
    assert gauges["ingest_day_complete", str(yesterday)] == 0
    compared(database, truth_of(moved), day=yesterday)
    assert days()[1] == {
        **nothing,
        "day": str(yesterday),
        "complete": True,
        "log_files": True,
        "totals": True,
        **sources,
    }


@on_sqlite
def test_what_reconcile_says_of_a_day_knows_its_totals(store: Store, database: str, tmp_path: Path) -> None:
    name = f"cdm-impression.{DAY}.log"
    lines = ["id,time,ip,email", *(f"ms-77-{n},{DAY} 12:00:0{n},192.0.2.1,jan@example.nl" for n in range(3))]
    (tmp_path / name).write_text("\n".join(lines) + "\n")

    def said() -> dict[str, object]:
        done = typed(
            "import", str(tmp_path / name), "--complete", "--wait", "0", "--json",
            environ={"DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1/0"},
        )  # fmt: skip
        told: dict[str, object] = json.loads(done.stdout)
        return {key: told[key] for key in ("complete", "log_files", "totals", "error")}

    assert said() == {"complete": True, "log_files": True, "totals": None, "error": None}
    add_destinations(store, [("ms", n, f"ms-77-{n}", 77) for n in range(4)])
    compared(database, truth_of([*some(3), Told("ms-77-3", second=NOON + 9)]))
    differs = {"agree": False, "why": "the totals of 1 mailing differ (open: 1 missing)"}
    assert said() == {"complete": False, "log_files": True, "totals": differs, "error": None}
    lines.append(f"ms-77-3,{DAY} 12:00:09,192.0.2.1,jan@example.nl")
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    assert said()["totals"] is None, "that was before something was recovered"
    compared(database, truth_of([*some(3), Told("ms-77-3", second=NOON + 9)]))
    assert said()["totals"] == {"agree": True, "why": ""}
