"""Figures of mailings: always those of the events, whatever happens to these."""

import random
from collections.abc import Iterator
from itertools import count

import pytest
from sqlalchemy import Connection

from ingest.copernica.events import DAY, LOGFILE, REST, WEBHOOK, Event, EventType
from tests.support import views
from tests.support.builders import NINE, SECOND, delivery_id, event
from tests.support.mailings import counted, kept
from workers.mailings import hours
from workers.mailings.figures import figures_of
from workers.mailings.merging import different
from workers.mailings.part import packed, unpacked
from workers.mailings.refresh import refresh, stale_mailings
from workers.operations.erase import erase
from workers.store import event_counts, tables
from workers.store.event_counts import DESTINATIONS
from workers.store.filling import fill
from workers.store.filters import Filter
from workers.store.store import Store

HOUR = 3600 * SECOND
KINDS = [EventType.DELIVERY, EventType.OPEN, EventType.CLICK, EventType.FAILURE, EventType.PROFILE_UPDATE]
MAILINGS = (7, 8)


def some(luck: random.Random, number: Iterator[int]) -> list[Event]:
    return [
        event(
            delivery_id=delivery_id(next(number), NINE + luck.randrange(70) * DAY * SECOND),
            type=luck.choice(KINDS),
            occurred_at=NINE + luck.randrange(40) * HOUR + luck.randrange(HOUR),
            message_id=luck.choice([None, *(f"m{n}" for n in range(12)), "<M3>"]),
            mailing=luck.choice([None, 0, 7, 7, 8]),
            source=luck.choice([WEBHOOK, WEBHOOK, LOGFILE, REST]),
            recipient=luck.choice(["jan@example.nl", "eva@example.nl"]),
            profile=None,
            user_agent=luck.choice([None, "Mozilla/5.0", "x (iPhone; y)", "x (Windows NT 10.0)"]),
            url=luck.choice([None, "https://a.example/x?to=jan@example.nl", "https://a.example/y/1"]),
            tags=luck.choice([[], ["a"], ["a", "b\0"], ["b"]]),
            code=luck.choice([550, 421]),
            description=luck.choice(["<jan@example.nl> unknown", "full"]),
        )
        for _ in range(luck.choice([1, 3, 40]))
    ]


def know(store: Store, luck: random.Random) -> None:
    """As catching up does with what Copernica tells of messages."""
    number = luck.randrange(12)
    with store.writing() as connection:
        store.insert(
            connection, tables.destinations, [("ms", number, f"m{number}", luck.choice(MAILINGS), None, None, 1)]
        )
        store.note_change(connection, DESTINATIONS)


def do(store: Store, luck: random.Random, number: Iterator[int]) -> None:
    there = [one.delivery_id for one in store.find(Filter())]
    match luck.choice(
        ["add", "add", "add", "know", "delete", "change", "erase", "expire", "anew", "some", "some", "all"]
    ):
        case "add":
            store.add(some(luck, number))
        case "know":
            know(store, luck)
        case "delete":
            store.erase(luck.sample(there, min(4, len(there))), (), (), ())
        case "change":  # as many events as before, but not the same
            chosen = luck.sample(there, min(4, len(there)))
            store.erase((), chosen, (), (), lambda one: one._replace(message_id="m5", tags=["c"], code=1))
        case "erase":
            erase(store, "jan@example.nl", dry_run=False)
        case "expire":
            store.expire(NINE // SECOND + luck.choice([1, 20, 45]) * DAY)
        case "anew":
            store.count_anew()
            fill(store)
        case "some":
            refresh(store, 0)
        case "all":
            refresh(store, 60)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))])
def test_they_are_those_of_the_events(store: Store, seed: int) -> None:
    luck, number = random.Random(seed), count(seed * 100_000)
    for _ in range(14):
        do(store, luck, number)
        for mailing in MAILINGS:  # so that hours are kept, and are out of date next time
            figures_of(store, mailing)
    while refresh(store, 60).left:
        pass
    for mailing in MAILINGS:
        expected = counted(store, mailing)
        if not expected["kinds"]:
            assert figures_of(store, mailing) is None or not kept(store, mailing)["kinds"]
            continue
        assert kept(store, mailing) == expected
        views.agree(store, mailing)
    assert views.told(store) == views.counted(store)
    assert stale_mailings(store) == {}


def test_hours_are_read_again_only_after_a_change(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add([event(1, mailing=7), event(2, mailing=8)])
    read, asked = hours._read, list[int]()

    def noted(connection: Connection, mailing: int) -> hours.Hours:
        asked.append(mailing)
        return read(connection, mailing)

    monkeypatch.setattr(hours, "_read", noted)
    for mailing in (7, 8, 7, 8):
        figures_of(store, mailing)
    assert asked == [7, 8]
    store.add([event(3, mailing=7)])
    again, _ = (figures_of(store, mailing) for mailing in (7, 8))
    assert asked == [7, 8, 7]
    assert again is not None
    assert again.of("open").total == 2


def test_what_is_added_meanwhile_is_told_in_totals_and_makes_the_rest_out_of_date(store: Store) -> None:
    store.add([event(1, mailing=7, message_id="a"), event(2, mailing=7, message_id="a")])
    new = figures_of(store, 7)
    assert new is not None
    assert (new.of("open"), new.is_fresh) == ((2, None), False)
    assert refresh(store, 9) == (1, 1, 0, None)
    made = figures_of(store, 7)
    assert made is not None
    assert (made.of("open"), made.is_fresh) == ((2, 1), True)
    store.add([event(3, mailing=7, message_id="b")])
    later = figures_of(store, 7)
    assert later is not None
    assert (later.of("open"), later.is_fresh, later.as_of) == ((3, 1), False, made.as_of)


def test_numbers_that_were_forgotten_and_made_anew_are_not_taken_for_those_before(store: Store) -> None:
    store.add([event(1, mailing=7, message_id="a")])
    refresh(store, 9)
    store.erase([delivery_id(1)], (), (), ())
    event_counts.forget_zeros(store.writing, store._backend)
    store.add([event(2, mailing=7, message_id="b", tags=["new"])])
    assert refresh(store, 9).mailings == 1
    assert kept(store, 7) == counted(store, 7)


@pytest.mark.slow
def test_however_fast_events_come_in_it_gets_on(store: Store) -> None:
    store.add([event(n, mailing=n % 3 + 1, occurred_at=NINE + n * HOUR) for n in range(12)])
    rounds = 0
    while refresh(store, 0).left:
        rounds += 1
        store.add([event(100 + rounds, mailing=1, occurred_at=NINE + 12 * HOUR)])
        assert rounds < 20
    assert kept(store, 2) == counted(store, 2)


def test_different_hashes_are_counted_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    luck = random.Random(1)
    lists = [[luck.getrandbits(64) - 2**63 for _ in range(500)] for _ in range(4)] + [[-(2**63), 2**63 - 1, 0]]
    lists.append(lists[0][:99])
    expected = len({one for each in lists for one in each})
    hashes = [unpacked(packed(each)) for each in lists]
    for at_once in (1, 7, 250_000):
        monkeypatch.setattr("workers.mailings.merging.AT_ONCE", at_once)
        assert different(hashes) == expected
    assert different([]) == 0
