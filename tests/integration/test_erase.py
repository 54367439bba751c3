"""Erasing a person: what is about them goes, what mentions them elsewhere is blanked, and no more is touched."""

import json
import random
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest
from sqlalchemy import event as listeners
from sqlalchemy import inspect

from ingest.batch import Record
from ingest.copernica.events import Event, EventType, decode
from ingest.errors import Unavailable
from tests.support.builders import FORM, NINE, SECOND, delivery_id, event, failure, handler, record
from tests.support.sql import add, counts, dead, everything, rows, settle
from workers.handlers.work_queue import WorkQueue
from workers.operations import erase as erase_module
from workers.operations.erase import erase
from workers.person import BLANK, Person
from workers.records import Quarantined
from workers.store import search_index, sqlite
from workers.store.database import FETCH_SIZE
from workers.store.filters import Filter
from workers.store.schema import upgrade
from workers.store.store import Store
from workers.store.tombstones import KEPT

pytestmark = pytest.mark.slow

JAN = "jan@example.nl"
#: Addresses that hold it, and are somebody else's.
OTHERS = (
    "bertjan@example.nl",
    "bert.jan@example.nl",
    "bert-jan@example.nl",
    "jan@example.nl.org",
    "jan@example.nlx",
)


def spellings(address: str) -> set[str]:
    return {
        written.lower() for written in (address, quote(address), quote_plus(address), quote(address, safe="@"))
    }


def nowhere(store: Store, address: str) -> bool:
    """Whether no table holds an address in any spelling."""
    texts = [
        (part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part)).lower()
        for table in inspect(store.engine).get_table_names()
        for row in rows(store, f"SELECT * FROM {table}")
        for part in row
    ]
    return not any(written in text for written in spellings(address) for text in texts)


def in_files(store: Store, address: str) -> int:
    """How often the bytes of an SQLite database hold an address."""
    path = Path(store.shown)
    read = b"".join(file.read_bytes().lower() for file in path.parent.glob(f"{path.name}*"))
    return sum(read.count(written.encode()) for written in spellings(address))


def form(number: int, fields: dict[str, str], extra: str = "", path: str = "/copernica") -> Event:
    return decode((urlencode(fields) + extra).encode(), FORM, path, NINE, delivery_id(number))


def call(number: int, body: str) -> Record:
    return Record(
        delivery_id(number, NINE + 60 * SECOND), NINE, b"/copernica", FORM.encode(), body.encode(), b"Date: x"
    )


def about(address: str) -> list[dict[str, str]]:
    """Calls about a person; the first three say which profile is theirs."""
    profile = {"database": "1", "profile": "123"}
    return [
        {"type": "create", **profile, "fields[email]": address.upper()},
        {"type": "update", "database": "2", "profile": "9", "parameters[email]": f" {address} "},
        {"type": "open", "recipient": address, "database": "3", "profile": "9"},
        {"type": "open", "recipient": address.upper()},
        {"type": "click", "recipient": address.title(), "original": "https://example.nl/"},
        {"type": "update", **profile, "fields[name]": "Jan"},
        {"type": "update", **profile, "subprofile": "5", "collection": "7", "fields[product]": "coat"},
        {"type": "delete", "database": "2", "profile": "9"},
        {"type": "unsubscribe", "database": "3", "profile": "9", "mailing": "4"},
        {"type": "abuse", "id": "5fd2", "emailfrom": address, "mime": "..."},
        {"type": "unheard-of", "to[0][mail]": address},
        {"type": "open", "tags[]": address},
    ]


def mentions(address: str) -> list[dict[str, str]]:
    """Calls about others that mention a person."""
    other = {"recipient": "eva@example.nl", "database": "1", "profile": "124"}
    return [
        {"type": "failure", **other, "description": f"550 <{address}>: no such user, {address.upper()}!"},
        {"type": "click", **other, "original": f"https://example.nl/?to={address}&a=1"},
        {"type": "click", **other, "original": f"https://example.nl/?to={quote(address)}&a=1"},
        {"type": "click", **other, "original": f"https://example.nl/?to=mailto:{quote_plus(address).lower()}"},
        {"type": "open", **other, "referer": f"https://example.nl/?to=%3C{address}%3E"},
        {"type": "bounce", **other, "mime": f"To: {address}\r\nCc: Jan <{address}>\r\n"},
        {"type": "update", **other, "fields[friends][0]": f"{address},piet@example.nl"},
        {"type": "open", **other, "tags[]": f"friend-of {address}"},
        {"type": "open", **other, f"seen {address}": "yes"},
    ]


def strangers() -> list[dict[str, str]]:
    """Calls that have nothing to do with Jan."""
    calls = [{"type": "open", "recipient": other} for other in OTHERS]
    calls += [{"type": "update", "database": "1", "profile": "124", "fields[email]": other} for other in OTHERS]
    calls += [{"type": "click", "original": f"https://example.nl/?to={quote(other)}"} for other in OTHERS]
    calls += [{"type": "failure", "description": f"550 <{other}>: no such user"} for other in OTHERS]
    return [
        *calls,
        {"type": "open", "recipient": "jan@example.com"},
        {"type": "delete", "database": "2", "profile": "123"},
        {"type": "unsubscribe", "database": "1", "profile": "9"},
        {"type": "unsubscribe", "profile": "123"},
    ]


def fill(store: Store, address: str) -> tuple[list[Event], list[Event]]:
    """Store all of these, each as it is and once more kept raw; the mentioning and the other events."""
    made: list[list[Event]] = [[], [], []]
    for kind, calls in enumerate((about(address), mentions(address), strangers())):
        for place, fields in enumerate(calls):
            for extra in ("", "&x=%00", "&a=1&a=2"):
                number = kind * 1000 + place * 10 + len(extra)
                made[kind].append(form(number, fields, extra))
                assert (made[kind][-1].raw is not None) == bool(extra)
    gone, blanked, others = made
    blanked.append(form(1990, {"type": "open"}, path=f"/copernica?to={quote(address)}"))
    gone.append(
        decode(f'{{"a": 1, "a": {json.dumps(address)}, "a": 2}}'.encode(), "", "/", NINE, delivery_id(990))
    )
    bodies = [
        urlencode({"email": address}),
        f'{{"email": "{address}"',
        f"email={address.upper()}",
        f"to=<{address}>&",
        f"email={quote(quote(address))}".replace("%25", "%"),
    ]
    bodies += ["nothing", *OTHERS, *map(quote, OTHERS)]
    waiting = [call(number, body) for number, body in enumerate(bodies)]
    assert store.add(gone + blanked + others, [Quarantined(each, "why") for each in waiting], waiting)
    return blanked, others


ADDRESSES = (JAN, "jan+news@example.nl", "j_n@example.nl", "o'neil\"a\\b@example.nl", "zoë@example.nl")
KEPT_CALLS = 1 + 2 * len(OTHERS)


@pytest.mark.parametrize("address", ADDRESSES)
def test_everything_about_a_person_goes_and_nothing_else(store: Store, address: str) -> None:
    blanked, others = fill(store, address)
    there = everything(store)
    before = counts(store)
    dry = erase(store, f" {address.title()}", dry_run=True).as_dict()
    assert (everything(store), counts(store)) == (there, before)
    assert erase(store, f" {address.title()}", dry_run=False).as_dict() == dry
    assert dry == {
        "events_deleted": 3 * len(about(address)) + 1,
        "events_blanked": len(blanked),
        "quarantine_deleted": 5,
        "unverified_deleted": 5,
        "handlers_deleted": 0,
        "events_unread": 0,
        "seconds_to_read_them": 0,
    }
    assert counts(store) == (len(blanked) + len(others), KEPT_CALLS, KEPT_CALLS)
    kept = everything(store)
    assert [e for e in kept if e.delivery_id in {o.delivery_id for o in others}] == others
    for was, now in zip(blanked, [e for e in kept if e not in others], strict=True):
        assert BLANK in f"{now.fields} {now.path}"
        assert now.raw is None
        assert (now[:6], now.type, now.profile) == (was[:6], was.type, was.profile)
    if address != JAN:  # whose letters others have in theirs
        assert nowhere(store, address)
    assert not any(erase(store, address, dry_run=False).as_dict().values())


def test_only_the_address_is_blanked_where_it_stands_plainly(store: Store) -> None:
    store.add(
        [event(1, profile=None, description=f"550 <{JAN.upper()}>: unknown", payload={"a": ["b", f"c {JAN}"]})]
    )
    erase(store, JAN, dry_run=False)
    assert everything(store) == []
    store.add(
        [event(2, recipient="x@y", description=f"550 <{JAN.upper()}>: unknown", payload={"a": ["b", f"c {JAN}"]})]
    )
    erase(store, JAN, dry_run=False)
    (kept,) = everything(store)
    assert kept == event(
        2, recipient="x@y", description="550 <[erased]>: unknown", payload={"a": ["b", "c [erased]"]}
    )
    assert list(store.find(Filter(recipient="X@y"))) == [kept]


def test_an_address_with_a_plus_before_the_same_letters_is_somebody_elses(store: Store) -> None:
    other = f"bert+{JAN}"
    fields = {
        "type": "update",
        "fields[email]": other,
        "recipient": other,
        "description": f"550 <{other}>: unknown",
    }
    events = [form(number, fields, extra) for number, extra in enumerate(("", "&x=%00"))]
    store.add(events, [], [call(3, urlencode(fields))])
    assert not any(erase(store, JAN, dry_run=False).as_dict().values())
    assert everything(store) == events


@pytest.mark.parametrize(
    "column",
    ["recipient", "message_id", "url", "user_agent", "referer", "extended", "state", "description", "path"],
)
def test_the_address_is_gone_from_every_column(store: Store, column: str) -> None:
    changes: dict[str, Any] = {"recipient": "eva@example.nl", column: f"Jan <{JAN}> and so on"}
    store.add([event(1, **changes), event(2, recipient="eva@example.nl")])
    erased = erase(store, JAN, dry_run=False)
    assert len(erased.deleted) + len(erased.blanked) == 1
    assert nowhere(store, JAN)


@pytest.mark.parametrize(
    "body", ['{"email": "jan\\u0040example.nl"}', "email=jan%40EXAMPLE%2Enl", "jan%40example.nl"]
)
def test_a_kept_call_that_writes_the_address_in_its_own_way_is_deleted(store: Store, body: str) -> None:
    store.add([], [Quarantined(call(1, body), "why")], [call(1, body)])
    erase(store, JAN, dry_run=False)
    assert counts(store) == (0, 0, 0)


def test_however_many_rows_are_erased_no_statement_has_more_parameters_than_may_be(store: Store) -> None:
    store.add([event(1), event(2)], [], [call(1, "")])
    names = [delivery_id(n) for n in range(2, 3 * FETCH_SIZE)]
    sizes: list[int] = []

    def note(_connection: Any, _cursor: Any, _statement: str, parameters: Any, *_: Any) -> None:
        sizes.append(len(parameters))

    listeners.listen(store.engine, "before_cursor_execute", note)
    store.erase(names, [], names, [(each, b"12345678") for each in names])
    listeners.remove(store.engine, "before_cursor_execute", note)
    assert max(sizes) == 2 * FETCH_SIZE  # SQLite has at most 32,766, PostgreSQL 65,535
    assert everything(store) == [event(1)]


# --- what is left in the files of SQLite ---


@pytest.fixture
def careless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """SQLite as it is built by most, where what is deleted stays in the file until it is written over."""
    monkeypatch.setattr(sqlite, "LOCK_TIMEOUT", 0.1)
    monkeypatch.setattr(search_index, "RUN_ROWS", 50)
    upgrade(f"sqlite:///{tmp_path}/events.db")
    with closing(Store.open(f"sqlite:///{tmp_path}/events.db")) as store:
        store.engine.dispose()
        forgetful = "PRAGMA secure_delete=OFF"
        listeners.listen(store.engine, "connect", lambda made, _: made.execute(forgetful), insert=True)
        yield store


def _live(store: Store) -> None:
    """What a store goes through in its days, with Jan in every tenth event."""
    luck = random.Random(1)
    for batch in range(30):
        numbers = range(batch * 50, batch * 50 + 50)
        events = [
            event(
                delivery_id=delivery_id(n, NINE + luck.randrange(100) * SECOND),
                recipient=luck.choice([JAN, JAN.upper(), *[f"{luck.randrange(99)}@example.nl"] * 18]),
                message_id=f"{n}",
                profile=None,
                description="." * luck.randrange(500) + luck.choice([f" {JAN}", *[""] * 20]),
                raw=luck.choice([f"to={JAN}&a=1&a=2".encode(), *[None] * 20]),
                raw_type=FORM,
            )
            for n in numbers
        ]
        waiting = [call(n, f"type=open&recipient={quote(JAN)}&a={'.' * luck.randrange(99)}") for n in numbers]
        store.add(events, [Quarantined(waiting[0], "why")], waiting)
        settle(store, *waiting[luck.randrange(9) :])
        store.tidy()
    store.expire(NINE // SECOND + 20)


def test_no_byte_of_the_address_is_left_in_the_files(careless: Store) -> None:
    _live(careless)
    assert in_files(careless, JAN)
    erased = erase(careless, JAN, dry_run=False)
    assert all((erased.deleted, erased.blanked, erased.quarantined, erased.unverified))
    assert nowhere(careless, JAN)
    assert in_files(careless, JAN) == 0


def test_what_the_retention_deletes_is_written_over(careless: Store) -> None:
    """But for scraps where pages were split while rows came in: only erasing a person rewrites the file."""
    kept = event(9999, recipient="eva@example.nl", profile=None)
    for batch in range(3):
        numbers = range(batch * 100 + 1, batch * 100 + 101)
        events = [
            event(delivery_id=delivery_id(n, 0), message_id=f"{n}", raw=f"to={JAN}".encode()) for n in numbers
        ]
        waiting = [call(n, f"recipient={quote(JAN)}")._replace(delivery_id=delivery_id(n, 0)) for n in numbers]
        careless.add(events, [Quarantined(each, "why") for each in waiting], waiting)
    careless.add([kept])
    before = in_files(careless, JAN)
    assert before > 900
    assert careless.expire(NINE // SECOND) == 900
    careless.empty_log()
    assert everything(careless) == [kept]
    assert in_files(careless, JAN) < before / 100


def test_files_that_others_read_are_cleaned_when_it_is_done_again(careless: Store) -> None:
    careless.add([event(1)])
    with careless.engine.connect() as reader:
        reader.exec_driver_sql("BEGIN")
        reader.exec_driver_sql("SELECT count(*) FROM events")
        with suppress(Unavailable):
            erase(careless, JAN, dry_run=False)
        assert in_files(careless, JAN)
    erase(careless, JAN, dry_run=False)
    assert in_files(careless, JAN) == 0


def test_what_waits_for_handlers_or_was_given_up_by_them_is_erased_too(store: Store) -> None:
    def to(number: int, address: str) -> Record:
        return record(number, body=f"type=open&recipient={quote(address)}".encode())

    handoffs, handlers = WorkQueue(store), {"h": handler()}
    add(store, to(1, JAN), to(2, "eva@example.nl"))
    handoffs.dispatch(handlers)
    claim = handoffs.claim(handlers["h"], 512, 1)
    assert claim is not None
    claim.failures = [failure(call, None) for call in claim.records]
    handoffs.settle(handlers["h"], claim, [], release=True)
    add(store, to(3, JAN), to(4, "eva@example.nl"))
    handoffs.dispatch(handlers)
    add(store, to(5, JAN), to(6, "eva@example.nl"))
    assert erase(store, JAN, dry_run=True).handed_on == 3
    assert erase(store, JAN, dry_run=False).handed_on == 3
    assert dead(store) == [2]
    assert handoffs.waiting() == {"h": 1, "": 1}
    assert erase(store, JAN, dry_run=False).handed_on == 0


#: One address with letters beyond ASCII, as people and programs write it.
ZOE = "Zoë.Šimůnek+test@exämple.nl"
ZOES = (
    ZOE,
    ZOE.upper(),
    "zoë.šimůnek+test@XN--exmple-cua.nl",
    unicodedata.normalize("NFD", ZOE),
    f"Zoë Šimůnek <{ZOE.lower()}>",
)


@pytest.mark.parametrize("asked", ZOES)
def test_an_address_with_other_letters_than_ascii_is_found_however_it_is_written(store: Store, asked: str) -> None:
    events = [form(place, {"type": "open", "recipient": written}) for place, written in enumerate(ZOES)]
    events += [
        form(10 + place, {"type": "update", "fields[email]": written}) for place, written in enumerate(ZOES)
    ]
    others = [
        form(20 + place, {"type": "open", "recipient": written})
        for place, written in enumerate(("zoe.simunek+test@exämple.nl", ZOE.replace("test", "tests"), JAN))
    ]
    mentions = [
        form(30 + place, {"type": "failure", "recipient": JAN, "description": f"550 ß <{written}>: Ünknown"})
        for place, written in enumerate(ZOES[:-1])
    ]
    others.append(form(40, {"type": "failure", "description": f"é{ZOE} is somebody else's"}))
    waiting = [call(50 + place, urlencode({"email": written})) for place, written in enumerate(ZOES)]
    waiting.append(call(60, json.dumps({"email": ZOE.upper()})))
    store.add(events + others + mentions, [Quarantined(each, "why") for each in waiting], waiting)
    assert {each.delivery_id for each in store.find(Filter(recipient=asked))} == {
        each.delivery_id for each in events[: len(ZOES)]
    }
    assert [Filter(recipient=asked).fits(each) for each in (*events[:5], *others)] == [True] * 5 + [False] * 4

    erased = erase(store, asked, dry_run=False)
    assert (len(erased.deleted), len(erased.blanked)) == (10, 4)
    assert (len(erased.quarantined), len(erased.unverified)) == (6, 6)
    there = {each.delivery_id: each for each in store.find(Filter())}
    assert there.keys() == {each.delivery_id for each in (*others, *mentions)}
    assert {there[each.delivery_id].description for each in mentions} == {f"550 ß <{BLANK}>: Ünknown"}


def test_an_address_with_a_double_s_is_that_with_a_sharp_one(store: Store) -> None:
    events = [
        form(1, {"type": "open", "recipient": "STRASSE@example.nl"}),
        form(2, {"type": "update", "fields[email]": "Straße@example.nl"}),
        form(3, {"type": "failure", "description": "<straße@example.nl>, <STRASSE@EXAMPLE.NL>"}),
    ]
    store.add(events)
    erased = erase(store, "strasse@example.nl", dry_run=False)
    assert (len(erased.deleted), [each.description for each in erased.blanked.values()]) == (
        2,
        [f"<{BLANK}>, <{BLANK}>"],
    )


# --- the quick ways to find a person, and the slow ones ---


def _written(luck: random.Random, address: str) -> str:
    """An address, or one that is nearly the same, in one of the ways in which it may be written."""
    address = luck.choice([address, address, address, f"x{address}", f"{address}.x", address.replace("n", "m")])
    letters = luck.choice([address, address.upper(), address.title(), unicodedata.normalize("NFD", address)])
    return luck.choice(
        ["{}", " {} ", "<{}>", "Jan <{}>", "550 <{}>: no", "https://x.nl/?to={}&b", "{}{}", "%{}", 'a"\\{}', ""]
    ).format(*[luck.choice([letters, quote(letters), quote_plus(letters), quote(letters, safe="@")])] * 2)


def _all_about(luck: random.Random, addresses: Sequence[str], number: int) -> Event:
    """An event with addresses in any of its fields."""
    text = {
        name: _written(luck, luck.choice(addresses))
        for name in luck.sample(["recipient", "url", "referer", "state", "description", "x", "y[0]", "tags[]"], 3)
    }
    return form(number, {"type": "unheard-of", **text}, luck.choice(["", "", "", "&x=%00"]))


@pytest.mark.parametrize("address", [*ADDRESSES, "Strasse@exämple.nl", "@", f"{'long' * 90}@example.nl"])
def test_what_is_found_quickly_is_what_is_found_by_looking_at_every_event(
    store: Store, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    luck, person = random.Random(address), Person(address)
    store.add([_all_about(luck, [address, *OTHERS, "straße@xn--exmple-cua.nl"], n) for n in range(150)])
    there = everything(store)
    subject = {each.delivery_id for each in there if person.is_subject_of(each)}
    blanked = {each.delivery_id for each in there if person.blanked(each) != each} - subject
    sent = {each.delivery_id for each in there if Filter(recipient=address).fits(each)}

    # The pieces leave nothing out that the patterns find.
    quick = list(store.mentioning(person.address, person.pieces, person.spellings))
    assert quick == list(store.mentioning(person.address, [""], person.spellings))
    whole = erase(store, address, dry_run=True)
    assert (whole.deleted, set(whole.blanked), whole.unread) == (subject, blanked, 0)

    monkeypatch.setattr(erase_module, "READ_AT_ONCE", 100)
    indexed = erase(store, address, dry_run=True)
    assert indexed.deleted == sent <= subject
    assert (indexed.unread, indexed.as_dict()["events_blanked"]) == (150, None)
    assert indexed.seconds > 0
    parts: list[float] = []
    thorough = erase(store, address, dry_run=True, thorough=True, progress=parts.append)
    assert thorough == whole
    assert parts == sorted(parts)
    assert 0 < parts[0] <= parts[-1] <= 1
    assert erase(store, address, dry_run=False).deleted == subject


# --- what arrives after the erasure, and is older ---


def test_nothing_of_a_person_that_is_older_than_the_erasure_is_stored_any_more(store: Store) -> None:
    first = [form(n, fields) for n, fields in enumerate(about(JAN)[:2])]
    store.add(first)
    erase(store, JAN, dry_run=False)
    late = [form(100 + n, fields, extra) for n, fields in enumerate(about(JAN)) for extra in ("", "&a=1&a=2")]
    waiting = [
        call(200, urlencode({"email": JAN})),
        call(201, f'{{"email": "{JAN.upper()}"'),
        call(202, quote(JAN)),
    ]
    # The subscription of database 3 is known only from an event that came too late.
    late = [event for event in late if event.database != 3 or event.recipient]
    known = event(300, recipient=OTHERS[0])
    assert store.add([known]) == (1, 0, 0)
    # What was erased is told from what was there already.
    added = store.add([*late, known], [Quarantined(each, "why") for each in waiting], waiting)
    assert added == (0, len(late) + 2 * len(waiting), 0)
    store.erase([known.delivery_id], [], [], [])
    assert counts(store) == (0, 0, 0)
    assert nowhere(store, JAN)


def test_what_mentions_an_erased_person_is_stored_and_handed_on_without_the_address(store: Store) -> None:
    erase(store, JAN, dry_run=False)
    calls = [record(n, body=urlencode(fields).encode()) for n, fields in enumerate(mentions(JAN))]
    assert add(store, *calls) == len(calls)
    assert nowhere(store, JAN)
    assert len(everything(store)) == len(calls)
    queue, one = WorkQueue(store), handler("h", *EventType)
    queue.dispatch({"h": one})
    while claim := queue.claim(one, 512, 1):
        assert not any(JAN.encode() in each.body.lower() for each in claim.records)
        queue.settle(one, claim, [], release=True)


def test_others_and_what_is_newer_than_the_erasure_are_stored_as_they_are(store: Store) -> None:
    erase(store, JAN, dry_run=False)
    others = [form(n, fields) for n, fields in enumerate(strangers())]
    later = time.time_ns() // 1000 + 60 * SECOND
    anew = [event(number, recipient=JAN, delivery_id=delivery_id(number, later)) for number in range(3)]
    waiting = [Quarantined(call(300 + n, urlencode({"email": other})), "why") for n, other in enumerate(OTHERS)]
    assert store.add([*others, *anew], waiting).new == len(others) + len(anew) + len(waiting)
    assert everything(store) == [*others, *anew]


def test_tombstones_name_nobody_and_are_kept_as_long_as_log_files(store: Store) -> None:
    erase(store, JAN, dry_run=True)
    assert rows(store, "SELECT * FROM tombstones") == []
    erase(store, JAN, dry_run=False)
    erase(store, JAN.upper(), dry_run=False)
    ((digest, key, erased_at),) = rows(store, "SELECT * FROM tombstones")
    assert (len(digest), len(key)) == (16, 16)
    store.expire_notes(erased_at + KEPT)
    assert len(rows(store, "SELECT * FROM tombstones")) == 1
    store.expire_notes(erased_at + KEPT + 1)
    assert rows(store, "SELECT * FROM tombstones") == []
