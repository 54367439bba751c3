"""From a call to an event: whole bodies as Copernica writes them, and everything odd about them."""

import base64
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.copernica.events import Event, EventType, decode

PAYLOADS = Path(__file__).parent / "payloads"
FORM = "application/x-www-form-urlencoded"
RECEIVED = 1_795_170_000_123_456

#: Fields that have a column of their own, and which.
COLUMNS = {"id": "message_id", "original": "url", "useragent": "user_agent"}
COLUMNS |= {name: name for name in ("recipient", "ip", "referer")}


def read(body: bytes | str, path: str = "/copernica", content_type: str = FORM) -> Event:
    return decode(body.encode() if isinstance(body, str) else body, content_type, path, RECEIVED)


def read_json(fields: Mapping[str, object], path: str = "/copernica") -> Event:
    return read(json.dumps(fields), path, "application/json")


def read_file(name: str) -> Event:
    return read((PAYLOADS / f"{name}.form").read_bytes())


TAGS = ["nieuwsbrief", "november 2026", "café & zo"]


def test_an_open_fills_its_columns() -> None:
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15"
    event = read_file("open")
    assert event.user_agent == f"{phone} (KHTML, like Gecko) Mobile/15E148"
    assert event._replace(user_agent=None) == Event(
        b"\0" * 12, EventType.OPEN, "5fd2c1aa90bb", 1_795_165_964_000_000, RECEIVED,
        "jan.de.vries+nieuws@example.nl", "2001:db8::7:1a2b", None, None, "",
        TAGS, {"timestamp": "2026-11-20 09:12:44"}, "/copernica", "webhook",
    )  # fmt: skip


def test_a_click_tells_where_it_led() -> None:
    event = read_file("click")
    assert (event.type, event.ip, event.tags) == (EventType.CLICK, "198.51.100.7", TAGS)
    shop = "https://shop.example.nl/actie/winterjas"
    assert event.url == f"{shop}?ref=mail&kleur=blauw%20groen&utm_source=nieuwsbrief#bestellen"
    assert event.referer == "https://mail.example.nl/inbox?view=1"
    assert event.payload == {"timestamp": "2026-11-20 09:13:02"}


def test_a_bounce_keeps_its_whole_message() -> None:
    event = read_file("bounce")
    assert (event.type, event.recipient, event.tags) == (EventType.BOUNCE, "chantal.de.vries@example.org", TAGS)
    assert event.payload.keys() == {"timestamp", "envelope", "mime"}
    assert event.payload["mime"].startswith("Return-Path: <>\r\nReceived: from mx1.example.org")
    assert "postvak is vol (100%)" in event.payload["mime"]
    assert event.payload["mime"].endswith("\r\n--4XyZ12.1795166070/mx1.example.org--\r\n")


def test_a_failure_says_why() -> None:
    event = read_file("failure")
    assert (event.type, event.recipient) == (EventType.FAILURE, "weg@example.org")
    why = "<weg@example.org>: Recipient address rejected: User unknown in virtual mailbox table — café"
    answer = {"code": "550", "extended": "5.1.1", "description": why}
    assert event.payload == {"timestamp": "2026-11-20 09:12:51", "action": "failed", "state": "rcptto"} | answer


def test_a_delivery_keeps_the_answer_of_the_server() -> None:
    event = read_file("delivery")
    assert (event.type, event.message_id, event.tags) == (EventType.DELIVERY, "5fd2c1aa90bb", TAGS)
    answer = {"code": "250", "extended": "2.0.0", "description": "Ok: queued as 4XyZ0K3dQpz1"}
    assert event.payload == {"timestamp": "2026-11-20 09:11:08"} | answer


def test_a_type_that_we_do_not_know_keeps_everything() -> None:
    event = read_file("profile_update")
    mail = "johny+newemail@example.com"
    fields = {"name": "Johny d'Été", "email": mail, "birthday": "0000-00-00"}
    assert (event.type, event.occurred_at) == (EventType.UNKNOWN, 1_795_168_800_000_000)
    assert event.payload == {
        "type": "update", "profile": "123", "database": "1", "timestamp": "2026-11-20 10:00:00",
        "created": "2019-02-12 12:49:23", "modified": "2026-11-20 10:00:00", "parameters[email]": mail,
        **{f"fields[{name}]": value for name, value in fields.items()},
        "fields[address][city]": "Den Haag", "interests[blue]": "1", "interests[red]": "0",
    }  # fmt: skip


def test_calls_signed_by_the_published_signer_are_read() -> None:
    calls = json.loads((PAYLOADS / "signed_calls.json").read_text())["calls"]
    bodies = [(base64.b64decode(call["body_base64"]), call["headers"]["Content-Type"]) for call in calls]
    events = [read(body, content_type=content_type) for body, content_type in bodies]
    types = [EventType.OPEN, EventType.CLICK, EventType.UNKNOWN, EventType.FAILURE]
    assert [event.type for event in events] == [*types, EventType.DELIVERY, EventType.BOUNCE]
    tags = [["nieuwsbrief", "november"], ["nieuwsbrief"], [], [], ["a;b", "c"], ["x"]]
    assert [event.tags for event in events] == tags
    times = [1795165964, 1795165982, 1795168800, 1795168860, 1795168920, 1795168980]
    assert [event.occurred_at for event in events] == [second * 1_000_000 for second in times]
    assert events[3].payload["description"] == "User unknown — café"


@pytest.mark.parametrize(
    "body",
    [
        "tags[]=a&tags[]=b+c",
        "tags[0]=a&tags[1]=b+c",
        "tags=a&tags=b+c",
        "tags%5B%5D=a&tags%5b%5d=b+c",
        "tags%5B0%5D=a&tags%5B1%5D=b%20c",
        '{"tags": ["a", "b c"]}',
    ],
)
def test_tags_are_found_in_every_spelling(body: str) -> None:
    event = read(body)
    assert (event.tags, event.payload) == (["a", "b c"], {})


@pytest.mark.parametrize("name", ["tagsx", "tags[x]", "tags[0][1]", "tag", "xtags[]"])
def test_what_is_only_named_like_tags_stays_in_the_payload(name: str) -> None:
    event = read(f"{name}=a")
    assert (event.tags, event.payload) == ([], {name: "a"})


def test_time_is_preferred_to_timestamp() -> None:
    event = read("time=1795165964&timestamp=2001-01-01+00:00:00")
    assert event.occurred_at == 1_795_165_964_000_000
    assert event.payload == {"timestamp": "2001-01-01 00:00:00"}
    assert read_json({"time": 1795165964}).occurred_at == 1_795_165_964_000_000


@pytest.mark.parametrize(
    "time", ["", "0", "-1", "soon", "4102444800", "99999999999999999999", "1e9", "1795165964.5", "\u0661", " 17"]
)
def test_a_time_that_cannot_be_believed_stays_in_the_payload(time: str) -> None:
    alone = read(urlencode({"time": time}))
    assert (alone.occurred_at, alone.payload) == (RECEIVED, {"time": time})
    beside = read(urlencode({"time": time, "timestamp": "2026-11-20 09:12:44"}))
    assert beside.occurred_at == 1_795_165_964_000_000
    assert beside.payload == {"time": time, "timestamp": "2026-11-20 09:12:44"}


@pytest.mark.parametrize(
    "timestamp",
    ["", "0000-00-00 00:00:00", "2026-13-01 00:00:00", "9999-01-01 00:00:00", "yesterday", "1960-01-01"],
)
def test_a_timestamp_that_cannot_be_believed_stays_in_the_payload(timestamp: str) -> None:
    event = read(urlencode({"timestamp": timestamp}))
    assert (event.occurred_at, event.payload) == (RECEIVED, {"timestamp": timestamp})


@pytest.mark.parametrize("odd", [True, None, 1.5, [1795165964], {}, 2**70, -5, 0])
def test_json_times_of_another_kind_do_no_harm(odd: object) -> None:
    event = read_json({"time": odd, "timestamp": odd})
    assert event.occurred_at == RECEIVED
    assert event.payload.keys() == {"time", "timestamp"}


@pytest.mark.parametrize("action", ["failed", "failure"])
def test_a_failure_may_only_say_so_by_its_action(action: str) -> None:
    event = read(f"id=77aa&action={action}&code=550", "/copernica/open")
    assert (event.type, event.payload) == (EventType.FAILURE, {"action": action, "code": "550"})


def test_other_actions_make_no_failure() -> None:
    assert read("type=open&action=failed").type is EventType.OPEN
    assert read("action=relayed").type is EventType.UNKNOWN


@pytest.mark.parametrize("path", ["/copernica/click", "/copernica/Click/", "/a/b/click?type=open", "/click"])
def test_the_path_names_the_type_when_the_body_does_not(path: str) -> None:
    assert read("id=1", path).type is EventType.CLICK
    assert read("id=1&type=delivery", path).type is EventType.DELIVERY
    assert read("id=1&type=update", path).type is EventType.UNKNOWN
    assert read("id=1", path).path == path


@pytest.mark.parametrize("spelling", ["Open", " open ", "OPEN"])
def test_a_type_spelt_otherwise_is_known_and_its_spelling_kept(spelling: str) -> None:
    event = read(urlencode({"type": spelling}))
    assert (event.type, event.payload) == (EventType.OPEN, {"type": spelling})


@pytest.mark.parametrize("body", ["", "test=1", "type=", "type=&id=", "anything[goes]=%F0%9F%98%80", "{}"])
def test_a_test_call_without_any_known_field_is_kept(body: str) -> None:
    assert read(body).type is EventType.UNKNOWN


@pytest.mark.parametrize("name", COLUMNS)
def test_what_no_column_can_hold_is_shown_replaced_and_kept_exactly(name: str) -> None:
    event = read(f"{name}=a%00b+caf%E9")
    assert getattr(event, COLUMNS[name]).replace("\ufffd\ufffd\ufffd", "\ufffd") == "a\ufffdb caf\ufffd"
    assert event.payload == {name: "a\0b caf\udce9"}
    event = read_json({name: "\ud83d?"})
    assert getattr(event, COLUMNS[name]).strip("\ufffd") == "?"
    assert event.payload == {name: "\ud83d?"}


def test_tags_that_no_column_can_hold_stay_in_the_payload() -> None:
    event = read("tags[0]=a&tags[1]=%FF&tags[2]=b%00&tags[]=c&tags[]=%FF")
    assert event.tags == ["a"]
    assert event.payload == {"tags[1]": "\udcff", "tags[2]": "b\0", "tags[]": ["c", "\udcff"]}


def test_of_a_repeated_field_the_last_is_shown_and_all_are_kept() -> None:
    event = read("recipient=a@example.nl&recipient=b@example.nl")
    assert event.recipient == "b@example.nl"
    assert event.payload == {"recipient": ["a@example.nl", "b@example.nl"]}


def test_json_values_of_another_kind_are_shown_if_they_can_be_and_kept() -> None:
    odd: dict[str, Any] = {"id": 77, "recipient": {"a": 1}, "ip": None, "useragent": True, "original": []}
    odd |= {"type": ["open"], "tags": ["a", 1]}
    event = read_json(odd)
    assert (event.message_id, event.recipient, event.ip, event.user_agent, event.url) == (
        "77",
        None,
        None,
        None,
        None,
    )
    assert event.payload == odd


names = st.sampled_from([*COLUMNS, "type", "time", "timestamp", "action", "tags", "tags[]", "tags[0]", "tags[1]"])
odd_texts = st.binary(max_size=6).map(lambda noise: noise.decode("utf-8", "surrogateescape"))
typical = st.sampled_from(["open", "Click", "failed", "1795165964", "0123", "0", "2026-11-20 09:12:44", ""])


@given(st.lists(st.tuples(names | st.text(max_size=6), st.text(max_size=8) | odd_texts | typical), max_size=12))
@example([("tags[0]", "a"), ("tags[]", "\0"), ("tags", "b"), ("tags[0]", "c")])
@example([("type", "failed"), ("time", "0123")])
@example([("type", "Open"), ("time", "1"), ("time", "2")])
def test_no_field_of_a_form_is_ever_lost(pairs: list[tuple[str, str]]) -> None:
    event = read(urlencode(pairs, errors="surrogateescape"))
    columns = {name: getattr(event, column) for name, column in COLUMNS.items()}
    columns |= {"type": str(event.type), "time": str(event.occurred_at // 1_000_000)}
    sent: dict[str, list[str]] = {}
    for name, value in pairs:
        sent.setdefault(name, []).append(value)
    tags: Counter[str] = Counter()
    for name, values in sent.items():
        if name in event.payload:
            kept = event.payload[name]
            assert (kept if len(values) > 1 else [kept]) == values
        elif name.startswith("tags"):
            tags.update(values)
        else:
            assert [columns[name]] == values
    assert Counter(event.tags) == tags
    assert event.payload.keys() <= sent.keys()
