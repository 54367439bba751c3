"""With pseudonyms, no table has an address, and people are found, matched and erased all the same."""

import io
import json
from datetime import UTC, datetime
from functools import partial
from urllib.parse import quote

import pytest

from ingest.batch import Record
from ingest.copernica.events import LOGFILE, Event, EventType
from ingest.copernica.logfiles.kinds import KINDS
from ingest.errors import OtherKey, SettingsError
from ingest.settings import Settings
from tests.support.builders import FORM_BYTES, NINE, SECOND, decoded, delivery_id, event
from tests.support.cli import findings, found, typed
from tests.support.logs import csv_of, no_progress
from tests.support.privacy import KEY, OTHER_KEY, everything_written
from tests.support.sql import everything
from workers.operations.erase import erase
from workers.operations.pseudonymise import pseudonymise
from workers.reconcile.logfile import LogFile
from workers.reconcile.recovery import Recovery, RecoveryOptions
from workers.reconcile.report import DayReport, KindReport
from workers.records import Quarantined
from workers.store.filters import Filter
from workers.store.pseudonyms import Pseudonyms
from workers.store.store import Store

JAN, IP = "jan@example.nl", "192.0.2.77"
BOTH = Pseudonyms([KEY], ["recipient", "ip"])
ROTATED = Pseudonyms([OTHER_KEY, KEY], ["recipient", "ip"])


def settings_for(store: Store, **others: str) -> Settings:
    url = store.engine.url.render_as_string(hide_password=False)
    return Settings.read({"DATABASE_URL": url} | others)


@pytest.fixture
def hidden(store: Store) -> Store:
    """The store, with pseudonyms."""
    store.use_pseudonyms(BOTH)
    return store


def call(number: int, kind: str = "open", **fields: str) -> Record:
    given = {"type": kind, "id": f"m{number}", "time": str(NINE // SECOND), "recipient": JAN, "ip": IP} | fields
    body = "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items()).encode()
    return Record(delivery_id(number), NINE, b"/copernica?for=jan%40example.nl", FORM_BYTES, body, b"X-Signature")


CALLS = [
    call(1, url="https://x.nl/?e=Jan@Example.nl", useragent="Mozilla/5.0"),
    call(
        2, "bounce", description="550 5.1.1 <JAN@example.nl> unknown", mime=f"To: {JAN}\r\nSubject: Beste Jan\r\n"
    ),
    call(3, "delivery", **{"tags[0]": JAN, "tags[1]": "nieuwsbrief"}),
    Record(
        delivery_id(4),
        NINE,
        b"/copernica",
        b"application/json",
        b'{"type":"abuse","emailfrom":"jan@example.nl","n":1.0}',
    ),
]


def add(store: Store) -> None:
    """Calls of all kinds, one of which cannot be read, as drains bring them, with handlers."""
    unreadable = Quarantined(
        Record(
            delivery_id(9), NINE, b"/jan%40example.nl", b"x/y", f"who={quote(JAN)}&ip={IP}&mime=Beste".encode()
        ),
        f"not a form: {JAN}",
    )
    events = [decoded(one) for one in CALLS]
    store.add(events, [unreadable], hand_on={one.delivery_id: one for one in CALLS})


def test_no_row_of_any_table_has_the_address_or_the_ip(hidden: Store) -> None:
    add(hidden)
    written = everything_written(hidden)
    assert [one for one in (JAN, "jan%40", IP, "beste") if one in written] == []
    assert [one for one in (BOTH.address(JAN), BOTH.ip(IP)) if one not in written] == []


def test_a_person_is_found_by_the_address_and_by_the_pseudonym(hidden: Store) -> None:
    add(hidden)
    for written in ("JAN@example.nl", BOTH.address(JAN)):
        assert hidden.count(Filter(recipient=written)) == 3
        assert len(list(hidden.find(Filter(recipient=written)))) == 3
    assert [one.recipient for one in hidden.find(Filter(recipient=JAN))] == [BOTH.address(JAN)] * 3


def test_what_was_stored_before_is_found_beside_what_came_since(store: Store) -> None:
    store.add([event(1, recipient=JAN)])
    store.use_pseudonyms(BOTH)
    store.add([event(2, recipient=JAN)])
    store.use_pseudonyms(ROTATED)
    store.add([event(3, recipient=JAN)])
    assert sorted(store.ids(Filter(recipient=JAN))) == [delivery_id(1), delivery_id(2), delivery_id(3)]


def test_what_is_there_is_converted_and_a_second_time_changes_nothing(store: Store) -> None:
    add(store)
    counted = store.counts(Filter(), "hour")
    settings = settings_for(store, INGEST_PSEUDONYMISE="recipient,ip", INGEST_PSEUDONYM_KEY=KEY)
    store.use_pseudonyms(BOTH)
    would = pseudonymise(settings, store, dry_run=True)
    assert JAN in everything_written(store)
    done = pseudonymise(settings, store, dry_run=False)
    assert (would.events, done.events, done.quarantined) == (4, 4, 1)
    written = everything_written(store)
    assert [one for one in (JAN, IP, "beste") if one in written] == []
    assert pseudonymise(settings, store, dry_run=False).as_dict() == dict.fromkeys(done.as_dict(), 0)
    assert store.counts(Filter(), "hour") == counted
    assert store.count(Filter(recipient=JAN)) == 3


def test_a_person_is_erased_however_they_are_stored_and_does_not_come_back(store: Store) -> None:
    store.add([event(1, recipient=JAN)])
    store.use_pseudonyms(BOTH)
    piet = event(3, recipient="piet@example.nl", profile=12, description=f"forwarded to {JAN}")
    store.add([event(2, recipient=JAN), piet])
    store.use_pseudonyms(ROTATED)
    store.add([event(4, recipient=JAN)])
    erased = erase(store, "Jan@Example.nl", dry_run=False)
    assert (len(erased.deleted), len(erased.blanked)) == (3, 1)
    assert BOTH.address(JAN) not in everything_written(store)
    store.add([event(5, recipient=JAN), event(6, recipient=BOTH.address(JAN))])
    assert [one.delivery_id for one in everything(store)] == [delivery_id(3)]


def test_who_is_erased_by_the_pseudonym_does_not_come_back_either(hidden: Store) -> None:
    hidden.add([event(1, recipient=JAN)])
    assert len(erase(hidden, BOTH.address(JAN), dry_run=False).deleted) == 1
    hidden.add([event(2, recipient=JAN)])
    assert everything(hidden) == []


def test_handlers_get_pseudonyms_unless_they_are_to_get_addresses(hidden: Store) -> None:
    hidden.use_pseudonyms(Pseudonyms([KEY], ["recipient", "ip"], for_handlers=False))
    add(hidden)
    assert JAN in everything_written(hidden)
    assert JAN not in repr(everything(hidden))


def test_a_late_call_is_known_for_its_event_that_was_recovered_before_pseudonyms(store: Store) -> None:
    recovered = event(7, recipient=JAN, ip=IP, source=LOGFILE, occurred_at=NINE)
    with store.comparing("open", range(NINE // SECOND, NINE // SECOND + 1)) as comparison:
        store.recover([recovered], comparison, 0)
    store.use_pseudonyms(BOTH)
    added = store.add([event(8, recipient=JAN, ip=IP, occurred_at=NINE)])
    assert (added.new, added.upgraded) == (0, 1)
    assert [one.recipient for one in everything(store)] == [BOTH.address(JAN)]


def test_what_is_recovered_or_filled_in_has_pseudonyms(hidden: Store) -> None:
    with hidden.comparing("click", range(NINE // SECOND, NINE // SECOND + 1)) as comparison:
        hidden.recover([click(1, JAN)], comparison, None)
    hidden.add([click(2, "")])
    hidden.fill_in([click(2, JAN, source=LOGFILE)])
    assert [one.recipient for one in everything(hidden)] == [BOTH.address(JAN)] * 2
    assert JAN not in everything_written(hidden)


def click(number: int, recipient: str, **changes: object) -> Event:
    return event(number, type=EventType.CLICK, recipient=recipient, url=f"https://x.nl/?e={recipient}", **changes)


@pytest.mark.parametrize(
    ("key", "parts", "why"),
    [
        (OTHER_KEY, "recipient,ip", "another one than that of the pseudonyms in this database"),
        (KEY, "recipient", "does not name ip here"),
        ("", "", "This database has pseudonyms"),
    ],
)
def test_another_key_stores_nothing_and_finds_nobody(hidden: Store, key: str, parts: str, why: str) -> None:
    add(hidden)
    with Store.of(settings_for(hidden, INGEST_PSEUDONYMISE=parts, INGEST_PSEUDONYM_KEY=key)) as other:
        with pytest.raises(OtherKey, match=why):
            other.add([event(11)])
        with pytest.raises(OtherKey, match=why):
            other.count(Filter(recipient=JAN))
        assert other.count(Filter(types=["open"])) == 1


def test_without_the_key_of_what_runs_here_all_is_seen_and_nothing_stored(sqlite_url: str) -> None:
    environ = {"DATABASE_URL": sqlite_url, "INGEST_PSEUDONYMISE": "recipient,ip"}
    with Store.of(Settings.read(environ, withheld=frozenset({"INGEST_PSEUDONYM_KEY"}))) as store:
        assert store.stored() == 0
        with pytest.raises(SettingsError, match="set it here as well"):
            store.add([event(1)])
        with pytest.raises(SettingsError, match="set it here as well"):
            store.count(Filter(recipient=JAN))


def test_a_worker_with_another_key_does_not_start(sqlite_url: str, redis_url: str) -> None:
    with Store.open(sqlite_url) as store:
        store.use_pseudonyms(BOTH)
        store.require_key()
    environ = {"DATABASE_URL": sqlite_url, "REDIS_URL": redis_url, "INGEST_ALLOW_ROOT": "1"}
    done = typed("worker", "--burst", environ=environ)
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert "This database has pseudonyms: set INGEST_PSEUDONYMISE" in done.output


def test_a_rotation_is_taken_from_whoever_has_both_keys_and_never_back(hidden: Store) -> None:
    add(hidden)
    hidden.use_pseudonyms(ROTATED)
    hidden.add([event(11)])
    for keys in ([KEY], [KEY, OTHER_KEY]):
        hidden.use_pseudonyms(Pseudonyms(keys, ["recipient", "ip"]))
        with pytest.raises(OtherKey):
            hidden.add([event(12)])
    hidden.use_pseudonyms(Pseudonyms([OTHER_KEY], ["recipient", "ip"]))  # the old one is destroyed
    hidden.add([event(13)])
    assert hidden.count(Filter(recipient=JAN)) == 2


def test_the_command_converts_tells_how_much_and_stops(store: Store) -> None:
    add(store)
    environ = {"DATABASE_URL": store.engine.url.render_as_string(hide_password=False)}
    assert typed("db", "pseudonymise", "--yes", environ=environ).exit_code == 2
    keyed = environ | {"INGEST_PSEUDONYMISE": "recipient,ip", "INGEST_PSEUDONYM_KEY": KEY}
    assert "4 events, 1 call in quarantine" in typed("db", "pseudonymise", "--yes", environ=keyed).output
    assert "Addresses may be stored again" in typed("db", "pseudonymise", "--stop", "--yes", environ=keyed).output
    store.add([event(11)])


def test_check_tells_of_another_key_and_of_addresses_from_before(sqlite_url: str) -> None:
    keyed = {"INGEST_PSEUDONYMISE": "recipient,ip", "INGEST_PSEUDONYM_KEY": KEY}
    environ = {"DATABASE_URL": sqlite_url, "REDIS_URL": "redis://127.0.0.1:1/0", "INGEST_SPOOL_DIR": "off"}
    with Store.open(sqlite_url) as store:
        add(store)
        store.use_pseudonyms(BOTH)
        store.require_key()
    assert "pseudonym-key" in found(environ)
    assert found(environ | keyed)["pseudonyms-partial"][0] == "risk"
    typed("db", "pseudonymise", "--yes", environ=environ | keyed)
    assert findings(environ | keyed)[1]["pseudonyms"] == (
        "ok",
        f"recipient and ip by the key {BOTH.fingerprints[0]}",
    )


def compared(store: Store, kept_days: int = 0, at: int = NINE) -> KindReport:
    """The report of a log file with a click of each of two people."""
    day = datetime.fromtimestamp(at / SECOND, UTC).date()
    kind = KINDS["cdm-click"]
    lines = [
        {
            "id": f"m{number}",
            "time": f"{day} 09:00:00",
            "email": who,
            "ip": IP,
            "linkinfo": f"https://x.nl/?e={who}",
        }
        for number, who in enumerate((JAN.upper(), "piet@example.nl"))
    ]
    content = csv_of(kind.columns, [{**dict.fromkeys(kind.columns, ""), **line} for line in lines])
    report = DayReport(day, whole=True)
    options = RecoveryOptions(kept_days=lambda _kind: kept_days)
    file = LogFile(f"cdm-click.{day}.log", kind, day, partial(io.BytesIO, content), len(content))
    Recovery(store, options, no_progress).day(report, [file])
    (found,) = report.kinds
    return found


@pytest.mark.parametrize(
    ("was", "now"), [(None, BOTH), (None, ROTATED), (BOTH, BOTH), (BOTH, ROTATED), (ROTATED, ROTATED)]
)
def test_a_log_file_brings_nothing_twice_whatever_the_store_knows_people_by(
    store: Store, was: Pseudonyms | None, now: Pseudonyms
) -> None:
    store.use_pseudonyms(was)
    store.add([click(0, JAN, message_id="m0", ip=IP), click(1, "piet@example.nl", message_id="m1", ip=IP)])
    store.use_pseudonyms(now)
    found = compared(store)
    assert (found.in_log, found.in_store, found.recovered, found.only_in_store) == (2, 2, 0, 0)


def test_what_a_log_file_brings_is_there_for_the_next_run_and_after_a_rotation(hidden: Store) -> None:
    assert compared(hidden).recovered == 2
    assert (compared(hidden).in_store, hidden.stored()) == (2, 2)
    hidden.use_pseudonyms(ROTATED)
    assert (compared(hidden).in_store, hidden.stored()) == (2, 2)
    assert JAN not in everything_written(hidden)


def test_what_is_older_than_its_type_is_kept_is_not_brought_back_every_night(store: Store) -> None:
    long_past = 1_600_000_000 * SECOND
    found = compared(store, 1000, long_past)
    assert (found.in_log, found.expired, found.recovered, found.unmatched, store.stored()) == (2, 2, 0, 0, 0)
    assert compared(store, at=long_past).recovered == 2


def test_the_audit_knows_of_an_erasure_who_it_was_only_by_the_address(sqlite_url: str) -> None:
    environ = {"DATABASE_URL": sqlite_url, "INGEST_SPOOL_DIR": "off"}
    keyed = environ | {"INGEST_PSEUDONYMISE": "recipient,ip", "INGEST_PSEUDONYM_KEY": KEY}
    with Store.open(sqlite_url) as store:
        store.add([event(1, recipient=JAN), event(2, recipient="piet@example.nl", profile=12)])
    typed("erase", "--recipient", "JAN@example.nl", "--yes", environ=environ)
    with Store.open(sqlite_url) as store:
        store.use_pseudonyms(BOTH)
        store.add([event(3, recipient="piet@example.nl")])
        typed("erase", "--recipient", BOTH.address("piet@example.nl"), "--yes", environ=keyed)
        assert JAN not in everything_written(store)
    told = {
        who: [json.loads(line)["what"] for line in typed(*ASKED, who, environ=keyed).output.splitlines()]
        for who in (JAN, "piet@example.nl", "eva@example.nl")
    }
    assert [len(entries) for entries in told.values()] == [1, 1, 0]
    assert told[JAN][0]["events"] == 1


ASKED = ("audit", "--limit", "1", "--action", "erase", "--json", "--recipient")
