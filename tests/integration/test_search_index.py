"""Searches in SQLite: the runs of `finder` give what a full scan gives, and forget what was deleted."""

import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import event as listeners

from ingest.copernica.events import Event
from tests.support.builders import LONG, NINE, SECOND, delivery_id, event
from tests.support.sql import explained, rows
from workers.operations.erase import erase
from workers.store import search_index, sqlite, tables
from workers.store.filters import Filter
from workers.store.rows import event_row
from workers.store.schema import upgrade
from workers.store.store import Store

pytestmark = pytest.mark.slow

#: Events of one run in these tests.
RUN = 5
RECIPIENTS = (
    None,
    "",
    "jan@example.nl",
    "JAN@Example.nl",
    "eva@example.nl",
    "5fd2",
    "ZOË@x",
    LONG + "1",
    LONG + "2",
)
MESSAGES = (None, None, "", "5fd2", "5fd3", "eva@example.nl")
SEARCHES = [
    *[
        Filter(recipient=recipient)
        for recipient in {*RECIPIENTS, "Jan@example.nl", "nobody"}
        if recipient is not None
    ],
    *[Filter(message_id=message) for message in {*MESSAGES, "nothing"} if message is not None],
    Filter(recipient="jan@example.nl", message_id="5fd2"),
    Filter(recipient="", message_id="5fd2"),
]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(search_index, "RUN_ROWS", RUN)
    upgrade(f"sqlite:///{tmp_path}/events.db")
    with closing(Store.open(f"sqlite:///{tmp_path}/events.db")) as store:
        yield store


def runs(store: Store) -> int:
    return int(rows(store, "SELECT count(*) FROM finder_runs")[0][0])


def check(store: Store, there: list[Event], searches: Sequence[Filter] = SEARCHES) -> None:
    """Every search finds what is there, and no entry is about anything else."""
    there = sorted(there, key=lambda e: e.delivery_id)
    assert list(store.find(Filter())) == there
    for wanted in searches:
        assert list(store.find(wanted)) == [e for e in there if wanted.fits(e)], wanted
    for table, entry in (("finder", "term"), ("finder_hashes", "hash")):
        terms = "message_id, lower(substr(recipient, 1, 320))"
        for found, *about in rows(store, f"SELECT {entry}, {terms} FROM {table} LEFT JOIN events USING (row)"):
            said = [term for term in about if term is not None]
            assert found in (said if entry == "term" else map(search_index.term_hash, said))


def without_jan(events: list[Event]) -> list[Event]:
    """What an erasure leaves of these."""
    return [
        e._replace(url=e.url and "https://example.nl/?for=[erased]")
        for e in events
        if (e.recipient or "").lower() != "jan@example.nl"
    ]


@pytest.mark.parametrize("seed", range(5))
def test_a_search_finds_what_a_full_scan_finds(store: Store, seed: int) -> None:
    luck, number, there, most, erased = random.Random(seed), count(), list[Event](), 0, False
    for _ in range(40):
        match luck.choice(["add", "add", "add", "add", "tidy", "tidy", "expire", "erase"]):
            case "add":
                new = [
                    event(
                        delivery_id=delivery_id(next(number), NINE + luck.randrange(1000) * SECOND),
                        recipient=luck.choice(RECIPIENTS),
                        message_id=luck.choice(MESSAGES),
                        profile=None,
                        url=luck.choice([None, "https://example.nl/?for=jan@example.nl"]),
                    )
                    for _ in range(luck.randrange(3 * RUN))
                ]
                store.add(new)
                there += without_jan(new) if erased else new  # what is older than an erasure is erased on arrival
            case "tidy":
                store.tidy()
            case "expire":
                before = NINE // SECOND + luck.randrange(300)
                store.expire(before)
                there = [e for e in there if e.delivery_id >= before.to_bytes(4, "big")]
            case "erase" if luck.random() < 0.5:
                erase(store, "jan@example.nl", dry_run=False)
                there, erased = without_jan(there), True
        most = max(most, runs(store))
        check(store, there, luck.sample(SEARCHES, 4))
    check(store, there)
    assert most > 3


def test_an_event_may_name_its_message_after_its_recipient(store: Store) -> None:
    events = [event(n, recipient="JAN@example.nl", message_id="jan@example.nl") for n in range(RUN)]
    store.add(events)
    store.tidy()
    assert runs(store) == 1
    assert list(store.find(Filter(message_id="jan@example.nl"))) == events


def test_runs_of_the_releases_before_are_searched_too_and_forgotten(store: Store) -> None:
    events = [event(n, recipient=f"{n}@example.nl", message_id=f"{n}", profile=None) for n in range(3 * RUN)]
    with store.writing() as connection:
        store.insert(connection, tables.events, [event_row(each) for each in events])
        for table in ("finder", "finder_hashes"):  # the first run as it was made before, the second as it is today
            search_index.make_run(connection)
            if table == "finder":
                connection.exec_driver_sql("DELETE FROM finder_hashes")
                for term in ("message_id", "lower(substr(recipient, 1, 320))"):
                    connection.exec_driver_sql(
                        f"INSERT INTO finder SELECT 1, {term}, row FROM events WHERE row <= {RUN}"
                    )
    assert runs(store) == 2
    searches = [Filter(recipient=e.recipient) for e in events] + [Filter(message_id=e.message_id) for e in events]
    check(store, events, searches)
    erase(store, "1@example.nl", dry_run=False)
    erase(store, f"{RUN + 1}@example.nl", dry_run=False)
    check(store, [e for n, e in enumerate(events) if n not in {1, RUN + 1}], searches)
    store.expire(NINE // SECOND + 1)
    check(store, [], searches)
    assert runs(store) == 1


def test_runs_go_on_after_everything_expired(store: Store) -> None:
    for start in (0, 100, 200):
        events = [event(n) for n in range(start, start + 2 * RUN + 1)]
        store.add(events)
        store.tidy()
        check(store, events)
        assert store.expire(NINE // SECOND + 1) == len(events)
        check(store, [])
        assert rows(store, "SELECT count(*) FROM finder_hashes") == [(0,)]


@pytest.mark.parametrize("step", range(6))
def test_what_was_killed_while_it_expired_is_gone_after_the_next_time(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(sqlite, "DELETE_ROWS", 4)
    store.add([event(n) for n in range(3 * RUN)])
    store.tidy()
    begun = count()

    def kill(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("BEGIN") and next(begun) == step:
            raise KeyboardInterrupt

    listeners.listen(store.engine, "before_cursor_execute", kill)
    with pytest.raises(KeyboardInterrupt):
        store.expire(NINE // SECOND + 1)
    listeners.remove(store.engine, "before_cursor_execute", kill)
    store.expire(NINE // SECOND + 1)
    check(store, [])


def test_many_runs_are_made_by_one_tidy_and_none_of_too_few_events(store: Store) -> None:
    store.add([event(n, recipient=f"{n}@example.nl", message_id=None) for n in range(4 * RUN + RUN - 1)])
    store.tidy()
    assert rows(store, "SELECT first, last FROM finder_runs") == [(n * RUN + 1, (n + 1) * RUN) for n in range(4)]
    assert rows(store, "SELECT count(*) FROM finder_hashes") == [(4 * RUN,)]


@pytest.mark.parametrize("analysed", [False, True])
@pytest.mark.parametrize(
    "wanted",
    [
        Filter(recipient="1@example.nl"),
        Filter(message_id="5fd2"),
        Filter(recipient="1@example.nl", message_id="5fd2"),
        Filter(types=("open", "click"), recipient="1@example.nl"),
    ],
)
def test_a_search_does_not_read_all_events(store: Store, wanted: Filter, analysed: bool) -> None:
    for start in range(0, 500, 50):
        store.add([event(n, recipient=f"{n}@example.nl", message_id=f"{n}") for n in range(start, start + 50)])
        store.tidy()
    if analysed:
        with store.engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE")
    steps = explained(store, "EXPLAIN QUERY PLAN", wanted)
    assert not [step for step in steps if step.startswith(("SCAN events", "SCAN finder"))]
    reads = {step.partition(" USING ")[2] for step in steps if step.startswith("SEARCH events")}
    unusual = {"COVERING INDEX events_folded_recipient (folded_recipient=?)"} if wanted.recipient else set()
    assert reads == {"INTEGER PRIMARY KEY (rowid=?)", "INTEGER PRIMARY KEY (rowid>?)"} | unusual
    assert "SEARCH finder USING PRIMARY KEY (run=? AND term=?)" in steps
    assert "SEARCH finder_hashes USING PRIMARY KEY (run=? AND hash=?)" in steps
