"""Pages of events, the newest first, by anything: the same as going through all events, on both databases."""

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice

import pytest
from sqlalchemy import text

from ingest.copernica.events import EPOCH, MICROS, Event, EventType
from ingest.errors import TookTooLong
from tests.support.builders import NINE, delivery_id, event
from workers.store import event_counts, hours, search, search_index
from workers.store.filters import Filter
from workers.store.patience import within
from workers.store.search import Place
from workers.store.store import Store

HOUR = 3600 * MICROS
SINCE, UNTIL = (EPOCH + timedelta(microseconds=NINE + hour * HOUR) for hour in (2, 30))
FILTERS = [
    Filter(),
    Filter(types=("open", "abuse")),
    Filter(recipient="Jan@Example.nl"),
    Filter(recipient="zoë@example.nl", types=("click",)),
    Filter(message_id="m1"),
    Filter(message_id="m1", since=SINCE, until=UNTIL),
    Filter(mailing=2, since=SINCE),
    Filter(mailing=3, until=UNTIL),
    Filter(profile=7, source="rest"),
    Filter(tag='ni"eu%'),
    Filter(text="AANBIEDING"),
    Filter(text='i"eu'),
    Filter(text="100%"),
    Filter(text="é"),
    Filter(mailing=99),
]


def some_events(number: int, seed: int) -> list[Event]:
    """Events of some bursts in two days, many of them of the same moment."""
    draw = random.Random(seed)
    bursts = [NINE + draw.randrange(48) * HOUR + draw.randrange(HOUR) for _ in range(6)]
    made = []
    for at in range(number):
        moment = draw.choice(bursts) + draw.choice((0, 0, draw.randrange(HOUR)))
        made.append(
            event(
                delivery_id=delivery_id(at, draw.choice((moment, moment + HOUR))),
                type=EventType(draw.choice(("open", "open", "open", "click", "abuse"))),
                occurred_at=moment,
                recipient=draw.choice(("jan@example.nl", "JAN@example.nl", "Zoë@example.nl", None)),
                message_id=draw.choice(("m1", "m2", None)),
                mailing=draw.choice((1, 1, 1, 2, None)) if draw.random() < 0.95 else 3,
                profile=draw.choice((7, 8, None)),
                source=draw.choice(("webhook", "webhook", "rest")),
                url=draw.choice((None, "https://example.nl/Aanbieding", "https://example.nl/100%25é")),
                tags=draw.choice(([], ["a"], ['ni"eu%', "a"], ["nieu"])),
            )
        )
    return made


@pytest.fixture
def filled(store: Store, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, list[Event]]:
    """A store in which a window is a few rows, and its events, the newest first."""
    monkeypatch.setattr(hours, "FIRST_ROWS", 2)
    monkeypatch.setattr(hours, "MOST_ROWS", 20)
    monkeypatch.setattr(hours, "HOURS", 3)
    events = some_events(200, 1)
    store.add(events)
    return store, sorted(events, key=lambda one: (one.occurred_at, one.delivery_id), reverse=True)


def pages(store: Store, wanted: Filter, size: int, budget: float) -> Iterator[bytes]:
    place: Place | None = None
    for _ in range(1000):
        found = search.search(store, wanted, place, size, budget=budget)
        assert (found.reached is None) or len(found.lines) < size
        yield from (line.delivery_id for line in found.lines)
        place = found.further and Place.read(str(found.further))
        if place is None:
            return
    raise AssertionError("there is no end of pages")


@pytest.mark.slow
@pytest.mark.parametrize("budget", [10.0, 0.0], ids=["in time", "never in time"])
def test_pages_have_what_fits_the_newest_first(filled: tuple[Store, list[Event]], budget: float) -> None:
    store, events = filled
    for wanted in FILTERS:
        fitting = [one.delivery_id for one in events if wanted.fits(one)]
        assert list(pages(store, wanted, 7, budget)) == fitting, wanted


def test_who_has_very_many_events_has_the_same_pages(
    filled: tuple[Store, list[Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, events = filled
    monkeypatch.setattr(search, "FREQUENT", 0)
    monkeypatch.setattr(search_index, "RUN_ROWS", 30)
    store.tidy()
    looked = list[bool]()
    whole = search._Looking.is_frequent

    def is_frequent(self: search._Looking) -> bool:
        looked.append(whole(self))
        return looked[-1]

    monkeypatch.setattr(search._Looking, "is_frequent", is_frequent)
    for address in ("jan@example.nl", "zoë@example.nl"):
        fitting = [one.delivery_id for one in events if Filter(recipient=address).fits(one)]
        assert list(pages(store, Filter(recipient=address), 7, 10)) == fitting
    assert set(looked) == {store.engine.dialect.name == "sqlite"}, "PostgreSQL finds them by its index"
    found = search.kinds(store, Filter(recipient="jan@example.nl"), limit=9)
    assert found is not None
    assert len(found.events) == 9


@pytest.mark.slow
def test_a_page_back_leads_to_the_page_before(filled: tuple[Store, list[Event]]) -> None:
    store, _ = filled
    for wanted in FILTERS:
        first = search.search(store, wanted, None, 5, budget=10)
        if (place := first.further) is None:
            continue
        second = search.search(store, wanted, place, 5, budget=10).lines
        begin = Place(second[0].occurred_at, second[0].delivery_id)
        assert search.search(store, wanted, begin, 5, older=False, budget=10).lines == first.lines, wanted


def test_before_all_events_are_counted_they_are_found_as_well(filled: tuple[Store, list[Event]]) -> None:
    store, events = filled
    event_counts.begin_anew(store.writing, store.backend)
    wanted = Filter(mailing=2)
    expected = [one.delivery_id for one in events if wanted.fits(one)]
    assert list(pages(store, wanted, 7, 10)) == expected
    oldest = search.search(store, Filter(), Place(0), 3, older=False, budget=10)
    assert [line.delivery_id for line in oldest.lines] == [one.delivery_id for one in events[-3:]]


def test_a_window_that_takes_too_long_is_read_in_smaller_ones(
    filled: tuple[Store, list[Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, events = filled
    monkeypatch.setattr(hours, "FIRST_ROWS", 1000)
    whole = search._Looking._read
    calls = iter([False, False, True])

    def slow(self: object, *args: object) -> object:
        if not next(calls, True):
            raise TookTooLong("too long")
        return whole(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(search._Looking, "_read", slow)
    assert list(pages(store, Filter(), 300, 10)) == [one.delivery_id for one in events]


def test_a_window_is_no_larger_than_there_is_time_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add([event(number, occurred_at=NINE + number * MICROS) for number in range(400)])
    monkeypatch.setattr(hours, "FIRST_ROWS", 10)

    def third(share: float) -> int:
        windows = hours.Windows(store, Filter(), None, older=True)
        windows.following(), windows.following()  # 10 rows, then 20
        windows.shrink(share)
        return sum(high - low for low, high in windows.following())

    assert third(0.0) < third(0.75) < third(2.0) == third(9.0)


def test_where_late_calls_would_take_too_long_a_page_does_without_them_and_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = event(delivery_id=delivery_id(2, NINE + 3 * HOUR))
    store.add([event(1), late])
    whole = search._Looking._read
    calls = iter([False])

    def slow(self: object, *args: object) -> object:
        if not next(calls, True):
            raise TookTooLong("too long")
        return whole(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(search._Looking, "_read", slow)
    found = search.search(store, Filter(), None, 10, budget=10)
    left_out = store.backend.on_time(0, 1) is not None  # where they make reading by time slow at all
    assert (len(found.lines), found.only_on_time) == ((1, True) if left_out else (2, False))
    assert len(search.search(store, Filter(), None, 10, budget=10, whole=True).lines) == 2


def test_all_events_come_in_portions(filled: tuple[Store, list[Event]]) -> None:
    store, events = filled
    found = [line.delivery_id for portion in search.each(store, Filter(mailing=1), 10) for line in portion]
    assert found == [one.delivery_id for one in events if one.mailing == 1]


def test_a_question_is_given_up_in_time_and_the_next_one_is_not(store: Store, endless: Callable[[], str]) -> None:
    store.hurry()
    with pytest.raises(TookTooLong), within(0.05), store.reading() as connection:
        connection.execute(text(endless())).all()
    with store.reading() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1


@pytest.fixture
def endless(database: str) -> Callable[[], str]:
    """A query without an end."""
    if database.startswith("sqlite"):
        return lambda: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    if database.startswith("mysql"):  # not by `sleep`, which gives 1 and no error when it is ended
        return lambda: "SELECT count(*) FROM seq_1_to_1000000 a, seq_1_to_1000000 b"
    return lambda: "SELECT pg_sleep(60)"


@pytest.mark.parametrize("written", ["", "1", "1-", "1-zz", "-1-", "1-" + "a" * 23, "9" * 17 + "-", "\uff11-"])
def test_only_a_place_is_read_as_one(written: str) -> None:
    place = Place.read(written)
    assert place is None or str(place) == written


def test_no_more_is_read_than_a_caller_takes(filled: tuple[Store, list[Event]]) -> None:
    store, events = filled
    first = next(islice(search.each(store, Filter(), 3), 1))
    assert [line.delivery_id for line in first] == [one.delivery_id for one in events[:3]]
