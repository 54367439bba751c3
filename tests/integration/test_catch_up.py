"""Filling gaps from Copernica's results, with its side faked on a real socket and failing on demand."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus
from zoneinfo import ZoneInfo

import pytest

from ingest.copernica.events import REST
from ingest.errors import Interrupted, InvalidToken, Unavailable, Unreachable
from ingest.settings import Settings
from ingest.simulation.api_faults import Fault, Faults, Kind
from ingest.simulation.fake_api import FakeCopernica
from ingest.simulation.results_clock import Manner
from ingest.simulation.truth import Truth
from tests.support.cli import typed
from tests.support.fake_copernica import HASTY, TOKEN, fake_copernica
from tests.support.gaps import call, documented, found, happened, keep_gap, known, spread, told, truth_of
from tests.support.logs import no_progress
from tests.support.result_lists import list_server, row
from tests.support.sql import execute, is_a_sentence
from workers import gaps
from workers.catch_up import closing, look, messages
from workers.catch_up.asked import Asked
from workers.catch_up.clocks import wrong_by
from workers.catch_up.closing import Outcome, fill_due
from workers.catch_up.fetching import Period
from workers.catch_up.look import Context
from workers.catch_up.report import Look
from workers.gaps import State
from workers.operations.erase import erase
from workers.store import tables
from workers.store.store import Store

#: When the gap of these tests ended: long enough ago that nothing is late.
END = int(time.time()) - 1800
SINCE = END - 300


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "PAUSE", 0.0)
    monkeypatch.setattr(closing, "IN_FLIGHT", 0.0)


def connect(settings: Settings) -> Asked:
    return Asked.with_settings(settings, HASTY)


@contextmanager
def faked(
    database: str, truth: Truth, faults: str = "", now: Callable[[], float] = time.time, **manner: Any
) -> Iterator[tuple[FakeCopernica, Settings]]:
    fake = FakeCopernica(None, TOKEN, Faults(faults), truth=truth, results=Manner(**manner), now=now)
    with fake_copernica(fake) as environ:
        yield fake, Settings.read({"DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1", **environ})


def filled(settings: Settings, store: Store, **options: Any) -> list[Outcome]:
    return list(fill_due(Context(settings, store, no_progress, lambda: None, connect=connect, **options)))


def test_what_a_gap_lacks_is_inserted_once_and_the_gap_closed(store: Store, database: str) -> None:
    events = spread(SINCE - 500, END + 500, 60)
    store.add([call(at, one) for at, one in enumerate(events) if not SINCE <= one["time"] < END])
    missing = [one for one in events if SINCE <= one["time"] < END]
    keep_gap(store, SINCE, END)
    with faked(database, truth_of(events)) as (_, settings):
        (outcome,) = filled(settings, store)
        assert not outcome.open
        assert outcome.closed == 1
        assert outcome.look.recovered == len(missing)
        assert told(store) == known(events)
        assert not gaps.due(store)
        assert not filled(settings, store)
    recovered = [event for event in found(store) if event.source == REST]
    assert len(recovered) == len(missing)
    assert {event.recipient for event in recovered} == {None}
    assert {event.profile for event in recovered} == {one["profile"] for one in missing}


@pytest.mark.parametrize(
    ("zone", "offset", "after"),
    [
        ("Asia/Tokyo", -3, 0),
        pytest.param("America/New_York", 2, 500, marks=pytest.mark.slow),
        pytest.param("Europe/Amsterdam", 0, 0, marks=pytest.mark.slow),
        pytest.param("UTC", 37, 500, marks=pytest.mark.slow),
    ],
)
def test_the_clock_of_results_may_be_another(sqlite_url: str, zone: str, offset: int, after: int) -> None:
    now = int(time.time())
    end = now - 200 - after
    since = end - 300
    zone_apart = int((datetime.now(ZoneInfo(zone)).utcoffset() or timedelta()).total_seconds())
    events = spread(since - 600, now - 20, 120)
    # What goes on at the time that is asked for while nobody knows of the zone.
    events += [
        happened(1000 + at, one["time"] - zone_apart) for at, one in enumerate(events[:100]) if zone_apart > 0
    ]
    with Store.open(sqlite_url) as store:
        store.add([call(at, one) for at, one in enumerate(events) if not since <= one["time"] < end])
        keep_gap(store, since, end)
        with faked(sqlite_url, truth_of(events), zone=ZoneInfo(zone), offset=offset) as (
            _,
            settings,
        ):
            (outcome,) = filled(settings, store)
        assert not outcome.open
        assert told(store) == known(events)


@pytest.mark.slow
def test_a_product_that_the_account_does_not_have_is_told(sqlite_url: str) -> None:
    events = [one | {"product": "publisher"} for one in spread(SINCE, END, 10)]
    with Store.open(sqlite_url) as store:
        keep_gap(store, SINCE, END)
        with faked(sqlite_url, truth_of(events)) as (fake, settings):
            fake.absent = frozenset({"ms"})
            (outcome,) = filled(settings, store)
        assert not outcome.open
        assert outcome.look.notes == ["The account has no Marketing Suite."]
        assert told(store) == known(events)


@pytest.mark.parametrize("profiles", ["off", "on"])
def test_recipients_are_those_of_other_events_or_of_profiles(sqlite_url: str, profiles: str) -> None:
    around = [happened(at, SINCE - 100, "delivery") for at in range(4)]
    older = [happened(at, SINCE - 90_000, "delivery") for at in range(4, 6)]
    of_profile = happened(90, SINCE - 50, "delivery", profile=8)
    inside = [happened(at, SINCE + 10, "open") for at in range(10)]
    with Store.open(sqlite_url) as store:
        store.add([call(at, one) for at, one in enumerate([*around, *older, of_profile])])
        keep_gap(store, SINCE, END)
        with faked(sqlite_url, truth_of([*around, *older, of_profile, *inside])) as (_, settings):
            (outcome,) = filled(settings.model_copy(update={"catch_up_profiles": profiles}), store)
        assert not outcome.open
        recovered = {event.message_id: event.recipient for event in found(store) if event.source == REST}
    said = {one["id"]: one["recipient"] for one in inside}
    said[inside[7]["id"]] = of_profile["recipient"]
    if profiles == "off":
        said |= {one["id"]: None for one in inside[6:] if one is not inside[7]}
    assert recovered == said


def test_a_token_that_may_not_read_profiles_keeps_no_gap_open(sqlite_url: str) -> None:
    inside = [happened(1, SINCE + 10, "open")]
    with Store.open(sqlite_url) as store:
        keep_gap(store, SINCE, END)
        with faked(sqlite_url, truth_of(inside), "403*99@profile") as (_, settings):
            (outcome,) = filled(settings.model_copy(update={"catch_up_profiles": "on"}), store)
        assert not outcome.open
        assert "may not read profiles" in outcome.look.notes[0]
        assert told(store) == known(inside)


class Killed(BaseException):
    """What a process feels of being killed: nothing."""


@pytest.mark.parametrize(
    "at", [*(pytest.param(at, marks=pytest.mark.slow) for at in (0, 1, 2, 3, 4, 6, 9, 22, 35)), 14]
)
@pytest.mark.parametrize("kill", [True, False])
def test_an_attempt_that_ends_anywhere_leaves_nothing_wrong(
    sqlite_url: str, at: int, kill: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "BREATH", 0.001)
    events = spread(SINCE - 60, END + 60, 24)
    left = at

    def breathe() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed if kill else Interrupted("The worker was asked to stop.")

    with Store.open(sqlite_url) as store, faked(sqlite_url, truth_of(events)) as (_, settings):
        store.add([call(at, one) for at, one in enumerate(events) if not SINCE <= one["time"] < END])
        keep_gap(store, SINCE, END)
        with monkeypatch.context() as dying, suppress(Killed, Interrupted):
            if kill:
                dying.setattr(closing, "_failed", lambda *_, **__: None)
            list(fill_due(Context(settings, store, no_progress, breathe, connect=connect)))
        assert told(store) <= known(events)
        if kill:  # its lease ends by itself
            execute(store, "UPDATE gaps SET state = 'ended' WHERE state = 'catching-up'")
        assert all(outcome.closed for outcome in filled(settings, store))
        assert told(store) == known(events)
        assert {row.state for row in store.rows(tables.gaps)} == {State.CLOSED}


@pytest.mark.slow
def test_a_long_gap_is_filled_in_parts_and_goes_on_where_it_was(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "WINDOW", 100)
    look_at = look.look_at

    def once(context: Context, window: Period, before: Look | None = None) -> Look:
        if window.since > SINCE:
            raise Unreachable("Copernica does not answer.")
        return look_at(context, window, before)

    events = spread(SINCE, END, 12)
    with Store.open(sqlite_url) as store:
        keep_gap(store, SINCE, END)
        with faked(sqlite_url, truth_of(events)) as (_, settings), monkeypatch.context() as failing:
            failing.setattr(closing, "look_at", once)
            assert filled(settings, store)[0].open == "Copernica does not answer."
        (row,) = store.rows(tables.gaps)
        assert f'"filled_through":{(SINCE + 100) * 1_000_000}' in str(row.details).replace(" ", "")
        execute(store, f"UPDATE gaps SET details = '{str(row.details).replace('retry_at', 'x')}'")
        with faked(sqlite_url, truth_of(events)) as (fake, settings):
            (outcome,) = filled(settings, store)
            assert outcome.closed == 1
            assert not [path for path in fake.seen if _shown(SINCE - 605) in path]
        assert told(store) == known(events)


def _shown(second: int) -> str:
    return quote_plus(f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%S}")


def test_a_dry_run_tells_what_is_missing_and_stores_nothing(sqlite_url: str) -> None:
    events = spread(SINCE, END, 12)
    with Store.open(sqlite_url) as store:
        keep_gap(store, SINCE, END)
        with faked(sqlite_url, truth_of(events)) as (_, settings):
            (outcome,) = filled(settings, store, dry_run=True)
        assert outcome.look.recovered == 12
        assert not told(store)
        assert not list(store.rows(tables.destinations))
        assert gaps.due(store)


@pytest.mark.slow
def test_only_one_process_fills_a_gap(sqlite_url: str) -> None:
    events = spread(SINCE, END, 12)
    with Store.open(sqlite_url) as store, Store.open(sqlite_url) as other:
        keep_gap(store, SINCE, END)
        with faked(sqlite_url, truth_of(events)) as (_, settings):
            first = gaps.begin(other, gaps.due(other)[0])
            assert first
            assert not filled(settings, store)
            assert gaps.failed(other, first, "", 0)
            assert filled(settings, store)[0].closed == 1


def test_what_copernica_has_still_is_compared_once(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(context: Context, *others: Any) -> None:
        compared.append(context)
        _compare(context, *others)

    _compare = look._compare
    monkeypatch.setattr(look, "_compare", compare)
    events = spread(SINCE - 100, END + 100, 30)
    lost = [one for one in events if SINCE <= one["time"] < END]
    with Store.open(sqlite_url) as store:
        store.add([call(at, one) for at, one in enumerate(events) if one not in lost])
        keep_gap(store, SINCE, END)
        with faked(sqlite_url, truth_of(events)) as (fake, settings):
            (outcome,) = filled(settings, store)
        assert (outcome.closed, outcome.look.recovered, len(compared)) == (1, len(lost), 1)
        lists = [path.partition("&start")[0] for path in fake.seen if "/ms/impressions" in path]
        assert (len(lists), len(set(lists))) == (6, 2), "three calls for each look, the second for less"
        assert outcome.look.in_store + outcome.look.recovered == outcome.look.fetched == len(events)


def test_a_result_that_appears_between_two_looks_is_found(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = spread(SINCE - 100, END + 100, 30)
    late = next(one for one in events if one["time"] > SINCE)
    truth, appears = truth_of([one for one in events if one != late]), [late]

    def wait(*_: object) -> None:
        while appears:
            truth.event(late["type"], appears.pop())

    with Store.open(sqlite_url) as store, faked(sqlite_url, truth) as (_, settings):
        keep_gap(store, SINCE, END)
        monkeypatch.setattr(closing, "_pause", wait)
        (outcome,) = filled(settings, store)
        assert (outcome.closed, outcome.look.recovered) == (1, len(events))
        assert told(store) == known(events)


@pytest.mark.slow
def test_results_that_come_late_keep_a_gap_open(sqlite_url: str) -> None:
    now = int(time.time())
    since, end = now - 260, now - 140
    events = spread(since - 300, now - 16, 60)
    with Store.open(sqlite_url) as store:
        store.add([call(at, one) for at, one in enumerate(events) if not since <= one["time"] < end])
        keep_gap(store, since, end)
        with faked(sqlite_url, truth_of(events), now=lambda: float(now), late=200.0) as (fake, settings):
            (outcome,) = filled(settings, store)
            assert outcome.open.startswith("Copernica has no results yet of ")
            assert told(store) < known(events)
            fake.results.manner = Manner()
            execute(store, "UPDATE gaps SET details = '{}'")
            assert filled(settings, store)[0].closed == 1
        assert told(store) == known(events)


@pytest.mark.slow
def test_no_look_closes_a_gap_that_ended_just_now(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "SETTLED", time.time() - END + 3)
    events = spread(SINCE, END, 12)
    with Store.open(sqlite_url) as store, faked(sqlite_url, truth_of(events)) as (_, settings):
        keep_gap(store, SINCE, END)
        assert filled(settings, store)[0].closed == 1
    assert time.time() - END >= closing.SETTLED


@pytest.mark.slow
def test_the_command_fills_any_period_and_says_what_it_did(sqlite_url: str) -> None:
    events = spread(SINCE, END, 12)
    with Store.open(sqlite_url) as store:
        keep_gap(store, SINCE + 10, END - 10)
        with faked(sqlite_url, truth_of(events)) as (fake, settings):
            environ = {
                "DATABASE_URL": sqlite_url,
                "REDIS_URL": "redis://127.0.0.1:1",
                "COPERNICA_TOKEN": TOKEN,
                "COPERNICA_API_URL": settings.copernica_api_url,
                "COPERNICA_AUTH_URL": settings.copernica_auth_url,
            }
            between = ("--since", f"{since_text(SINCE - 1)}", "--until", f"{since_text(END)}")
            dry = typed("catch-up", *between, "--dry-run", environ=environ)
            assert "missing" in dry.stdout
            assert not told(store)
            done = typed("catch-up", *between, "--json", environ=environ)
            assert done.exit_code == 0
            said = json.loads(done.stdout)
            assert said.keys() == documented()[2]
            assert (said["recovered"], said["gaps_closed"], said["open"]) == (12, 1, None)
            assert "0 gaps are closed" in typed("catch-up", *between, environ=environ).stdout
            assert "No gap is due" in typed("catch-up", environ=environ).stdout
            fake.token = "another"  # of a fake
            fake.access.clear()
            refused = typed("catch-up", *between, environ=environ)
            assert refused.exit_code == 1
            assert is_a_sentence(Exception(refused.stderr.strip().removeprefix("ingest: ")))
        del environ["COPERNICA_TOKEN"]
        missing = typed("catch-up", environ=environ)
        assert (missing.exit_code, missing.stderr.count("\n")) == (2, 1)
        assert "COPERNICA_TOKEN" in missing.stderr
        assert typed("catch-up", "--until", "1h", environ=environ).exit_code == 2
        assert typed("catch-up", "--since", "1h", "--until", "2h", environ=environ).exit_code == 2
        assert "--since: it is still to come" in typed("catch-up", "--since", "tomorrow", environ=environ).stderr
        environ["COPERNICA_TOKEN"] = TOKEN
        assert "more than 7 days" in typed("catch-up", "--since", "400d", "--dry-run", environ=environ).stderr


def test_a_gap_by_a_clock_that_is_wrong_is_not_closed() -> None:
    unreachable = Settings.read({"REDIS_URL": "redis://127.0.0.1:1"})
    assert wrong_by(unreachable, None) == 0
    look = Look(wrong_by=wrong_by(unreachable, 7200.0))
    assert "7,200 s apart" in closing.unsettled(look, 0, first=False, age=closing.LATE)
    assert not closing.unsettled(Look(wrong_by=wrong_by(unreachable, -1.5)), 0, first=False, age=closing.LATE)


def since_text(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}+00:00"


#: What can be wrong with each kind of request that a look makes, once or for good; what is asked about events, in
#: turns.
PLANS = [
    f"{fault}{times}@{kind}"
    for kind in (Kind.RESULTS, Kind.DESTINATIONS, Kind.DESTINATION, Kind.EMAILINGS)
    for turn, fault in enumerate(Fault)
    for lasts, times in enumerate(("", "*99"))
    if fault not in (Fault.OK, Fault.SLOW) and (kind is Kind.RESULTS or turn % 2 == lasts)
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "plan", [*PLANS, "slow@results", "500*99@token", "401*99@token", "expired*2", "html*2@token"]
)
def test_whatever_goes_wrong_a_gap_is_not_closed_while_something_is_missing(
    sqlite_url: str, plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not plan.endswith(f"@{Kind.DESTINATION}"):
        monkeypatch.setattr(messages, "FEW", 0)
    events = spread(SINCE - 60, END + 60, 24)
    with Store.open(sqlite_url) as store:
        store.add([call(at, one) for at, one in enumerate(events) if not SINCE <= one["time"] < END])
        keep_gap(store, SINCE, END)
        with faked(sqlite_url, truth_of(events), plan) as (_, settings):
            try:
                (outcome,) = filled(settings, store)
            except InvalidToken as error:
                said = str(error)
            else:
                said = outcome.open
        stored, truth = told(store), known(events)
        assert stored <= truth
        (row,) = store.rows(tables.gaps)
        if row.state == State.CLOSED:
            assert stored == truth
            assert not said
        else:
            assert is_a_sentence(Exception(said))
            assert said in str(row.details)


@pytest.mark.slow
@pytest.mark.parametrize("error", [TypeError("a5@example.nl"), Unavailable("The disk is full.")])
def test_what_fails_each_time_waits_and_keeps_no_other_gap_waiting(sqlite_url: str, error: Exception) -> None:
    with Store.open(sqlite_url) as store:
        keep_gap(store, SINCE - 9000, END - 9000)
        keep_gap(store, SINCE, END)

        def fails(_settings: Settings) -> Asked:
            raise error

        with faked(sqlite_url, truth_of([])) as (_, settings):
            with pytest.raises(type(error)):
                list(fill_due(Context(settings, store, no_progress, lambda: None, connect=fails)))
            (outcome,) = filled(settings, store)
        first, second = store.rows(tables.gaps)
    assert outcome.since == datetime.fromtimestamp(SINCE, UTC)
    assert (first.state, second.state) == (State.ENDED, State.CLOSED)
    assert "a5@example.nl" not in str(first.details)


def test_results_of_another_time_are_left_out_and_keep_a_gap_open(sqlite_url: str) -> None:
    with Store.open(sqlite_url) as store, list_server() as server:
        keep_gap(store, SINCE, END)
        server.lists.disguise = lambda _page, _number: [row(4711, -9 * 366 * 86_400)]
        settings = Settings.read(
            {"DATABASE_URL": sqlite_url, "REDIS_URL": "redis://127.0.0.1:1", **server.environ}
        )
        (outcome,) = filled(settings, store)
        assert outcome.look.unmatched == outcome.look.fetched == 12
        assert "of another period" in outcome.open
        assert not list(found(store))


@pytest.mark.slow
def test_nothing_is_left_or_comes_back_of_who_was_erased(store: Store, database: str) -> None:
    known_before = call(1, happened(3, SINCE - 50, "delivery", database=7))
    events = [happened(3, SINCE - 50, "delivery"), happened(3, SINCE + 10, "open")]
    events += [happened(70, SINCE + 20, "open", profile=4), happened(5, SINCE + 30, "open")]
    store.add([known_before])
    keep_gap(store, SINCE, END)
    with faked(database, truth_of(events)) as (_, settings):
        assert not filled(settings, store)[0].open
        assert {event.profile for event in found(store)} == {4, 6}
        erase(store, "a3@example.nl", dry_run=False)
        assert {event.profile for event in found(store)} == {6}
        assert {row.profile for row in store.rows(tables.destinations)} == {6}
        keep_gap(store, SINCE, END)
        (outcome,) = filled(settings, store)
    assert outcome.look.erased == 3
    assert not outcome.open
    assert {event.profile for event in found(store)} == {6}
