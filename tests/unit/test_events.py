"""From a call to an event and back: whole bodies as Copernica writes them, and everything odd about them."""

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.copernica.bodies import parse
from ingest.copernica.events import (
    LOGGED_ONLY,
    NUMBER_COLUMNS,
    TEXT_COLUMNS,
    WIRE_NAMES,
    WITH_COLUMN,
    Event,
    EventType,
    decode,
)
from ingest.errors import Undecodable
from tests.support.has import assert_has
from tests.support.php import leaves, php, written

PAYLOADS = Path(__file__).parents[2] / "ingest" / "simulation" / "payloads"
SIGNED_CALLS = Path(__file__).parents[1] / "support" / "signed_calls.json"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
RECEIVED = 1_795_170_000_123_456
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KINDS = [kind for kind in EventType if kind not in {*LOGGED_ONLY, EventType.UNKNOWN}]
ABOUT_PROFILES = [kind for kind in KINDS if "profile" in kind]


def read(body: bytes | str, path: str = "/copernica", content_type: str = FORM) -> Event:
    return decode(body.encode() if isinstance(body, str) else body, content_type, path, RECEIVED)


def read_json(fields: Mapping[str, object], path: str = "/copernica") -> Event:
    return read(json.dumps(fields), path, JSON)


def read_file(name: str) -> Event:
    return read((PAYLOADS / f"{name}.form").read_bytes())


# --- whole bodies ---

TAGS = ["nieuwsbrief", "november 2026", "café & zo"]
JAN = {"message_id": "5fd2c1aa90bb", "recipient": "jan.de.vries+nieuws@example.nl", "mailing": 90210}
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15"
DESKTOP = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"
SHOP = "https://shop.example.nl/actie/winterjas"
REJECTED = "<weg@example.org>: Recipient address rejected: User unknown in virtual mailbox table — café"
JOHNY = {"name": "Johny d'Été", "email": "johny+newemail@example.com", "birthday": "0000-00-00"}
JOHNY_NOW = {**JOHNY, "address": {"city": "Den Haag"}}
ORDER = {"product": "Winterjas, blauw", "order": "2026-00317"}

#: What a file gives: every column that is not empty, and the payload but for `mime`.
EXPECTED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "open": (
        {
            **JAN,
            "ip": "2001:db8::7:1a2b",
            "user_agent": f"{PHONE} (KHTML, like Gecko) Mobile/15E148",
            "referer": "",
            "tags": TAGS,
        },
        {"timestamp": "2026-11-20 09:12:44"},
    ),
    "click": (
        {
            **JAN,
            "ip": "198.51.100.7",
            "url": f"{SHOP}?ref=mail&kleur=blauw%20groen&utm_source=nieuwsbrief#bestellen",
            "user_agent": f"{DESKTOP} (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
            "referer": "https://mail.example.nl/inbox?view=1",
            "tags": TAGS,
        },
        {"timestamp": "2026-11-20 09:13:02"},
    ),
    "bounce": (
        {"message_id": "5fd2c1aa90c4", "recipient": "chantal.de.vries@example.org", "tags": TAGS},
        {"timestamp": "2026-11-20 09:14:31", "envelope": "bounce-5fd2c1aa90c4@example.copernica.net"},
    ),
    "failure": (
        {
            "message_id": "5fd2c1aa90d0",
            "recipient": "weg@example.org",
            "mailing": 90210,
            "code": 550,
            "extended": "5.1.1",
            "state": "rcptto",
            "description": REJECTED,
            "tags": TAGS,
        },
        {"timestamp": "2026-11-20 09:12:51", "action": "failed"},
    ),
    "delivery": (
        {**JAN, "code": 250, "extended": "2.0.0", "description": "Ok: queued as 4XyZ0K3dQpz1", "tags": TAGS},
        {"timestamp": "2026-11-20 09:11:08"},
    ),
    "abuse": (
        {"message_id": "5fd2c1aa90bb", "mailing": 90210},
        {"emailfrom": "jan.de.vries+nieuws@example.nl", "time": None},
    ),
    "unsubscribe": (
        {"message_id": "5fd2c1aa90bb", "database": 7, "profile": 4711, "mailing": 90210},
        {"timestamp": "2026-11-20 10:41:09"},
    ),
    "profile-create": (
        {"profile": 123, "database": 1},
        {
            "id": "123",
            **dict.fromkeys(["timestamp", "created", "modified"], "2026-11-20 10:00:01"),
            "parameters": {"name": JOHNY["name"], "email": "johny@example.com"},
            "fields": {**JOHNY_NOW, "email": "johny@example.com"},
            "interests": {"blue": "1", "red": "0"},
        },
    ),
    "profile-update": (
        {"profile": 123, "database": 1},
        {
            "id": "123",
            **dict.fromkeys(["timestamp", "modified"], "2026-11-20 10:00:00"),
            "created": "2019-02-12 12:49:23",
            "parameters": {"email": JOHNY["email"]},
            "fields": JOHNY_NOW,
            "interests": {"blue": "1", "red": "0"},
        },
    ),
    "profile-delete": (
        {"profile": 123, "database": 1},
        {"id": "123", "timestamp": "2026-11-20 10:00:07", "fields": JOHNY_NOW},
    ),
    "subprofile-create": (
        {"subprofile": 88, "profile": 123, "collection": 5, "database": 1},
        {
            "id": "88",
            **dict.fromkeys(["timestamp", "created", "modified"], "2026-11-20 10:00:11"),
            "parameters": ORDER,
            "fields": {**ORDER, "amount": "89,95"},
        },
    ),
    "subprofile-update": (
        {"subprofile": 88, "profile": 123, "collection": 5, "database": 1},
        {
            "id": "88",
            **dict.fromkeys(["timestamp", "modified"], "2026-11-20 10:00:12"),
            "created": "2026-11-20 10:00:11",
            "parameters": {"amount": "89,95"},
            "fields": {**ORDER, "amount": "89,95"},
        },
    ),
    "subprofile-delete": (
        {"subprofile": 88, "profile": 123, "collection": 5, "database": 1},
        {"timestamp": "2026-11-20 10:00:13", "fields": {**ORDER, "amount": "89,95"}},
    ),
}


def test_each_type_has_a_file() -> None:
    assert {file.stem for file in PAYLOADS.glob("*.form")} == set(EXPECTED) == set(KINDS)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_body_fills_its_columns_and_the_payload_keeps_the_rest(name: str) -> None:
    event = read_file(name)
    columns, payload = EXPECTED[name]
    timestamp = payload.get("timestamp")
    occurred = datetime.fromisoformat(f"{timestamp}+00:00").timestamp() * 1_000_000 if timestamp else RECEIVED
    always = {"delivery_id": b"\0" * 12, "received_at": RECEIVED, "path": "/copernica", "source": "webhook"}
    event.payload.pop("mime", None)
    found = {column: value for column, value in event._asdict().items() if value not in (None, [])}
    assert found == {**always, "type": name, "occurred_at": occurred, **columns, "payload": payload}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_body_can_be_restored_from_its_event(name: str) -> None:
    body = (PAYLOADS / f"{name}.form").read_text()
    event = read(body)
    assert event.fields == php(parse_qsl(body, keep_blank_values=True, strict_parsing=True))
    assert (event.raw, event.raw_type) == (None, None)


def test_a_bounce_keeps_its_whole_message() -> None:
    mime = read_file("bounce").payload["mime"]
    assert mime.startswith("Return-Path: <>\r\nReceived: from mx1.example.org")
    assert "postvak is vol (100%)" in mime
    assert mime.endswith("\r\n--4XyZ12.1795166070/mx1.example.org--\r\n")


def test_a_complaint_keeps_its_whole_message() -> None:
    mime = read_file("abuse").payload["mime"]
    assert mime.startswith("Return-Path: <feedback@isp.example.net>\r\n")
    assert "\r\n\r\nBeste Jan, …\r\n" in mime
    assert mime.endswith("\r\n--arf-7f3a91--\r\n")


def test_calls_signed_by_the_published_signer_are_read() -> None:
    calls = json.loads((SIGNED_CALLS).read_text())["calls"]
    bodies = [(base64.b64decode(call["body_base64"]).decode(), call["headers"]["Content-Type"]) for call in calls]
    events = [read(body, content_type=content_type) for body, content_type in bodies]
    assert [event.type for event in events] == ["open", "click", "profile-update", "failure", "delivery", "bounce"]
    tags = [["nieuwsbrief", "november"], ["nieuwsbrief"], [], [], ["a;b", "c"], ["x"]]
    assert [event.tags for event in events] == tags
    times = [1795165964, 1795165982, 1795168800, 1795168860, 1795168920, 1795168980]
    assert [event.occurred_at for event in events] == [second * 1_000_000 for second in times]
    assert events[3].description == "User unknown — café"
    for event, (body, content_type) in zip(events, bodies, strict=True):
        sent = json.loads(body) if content_type == JSON else php(parse_qsl(body, keep_blank_values=True))
        assert (event.fields, event.raw) == (sent, None)


# --- there and back ---


def is_clean(text: str) -> bool:
    return not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text)


def assert_columns_can_be_stored(event: Event) -> None:
    texts = [getattr(event, column) for column in TEXT_COLUMNS.values()]
    assert all(is_clean(text) for text in [*texts, *event.tags] if text is not None)
    numbers = [getattr(event, column) for column in NUMBER_COLUMNS]
    assert all(type(number) is int and 0 <= number < 2**63 for number in numbers if number is not None)
    assert event.occurred_at == RECEIVED or 0 < event.occurred_at < 4_102_444_800_000_000


names = [*sorted(WITH_COLUMN), "timestamp", "action", "mime", "created", "fields", "parameters", "interests", "x"]
kinds = st.sampled_from([*EventType, *WIRE_NAMES.values(), "failed", "Open", " click ", "novel", ""])
times = st.sampled_from(
    [
        "1795165964",
        "0123",
        "0",
        "1e9",
        "4102444800",
        "17951659640",
        "2026-11-20 09:12:44",
        "2026-11-20T09:12:44+01:00",
    ]
)
numbers = st.integers(0, 10**20).map(str) | st.integers(0, 999).map("{:04}".format)
odd_texts = st.binary(max_size=6).map(lambda noise: noise.decode("utf-8", "surrogateescape"))
texts = st.text(max_size=8) | odd_texts | kinds | times | numbers
keys = st.sampled_from(["email", "a b", "é", "x.y", "1", "%41"])
form_values = (
    texts | st.lists(texts, min_size=1, max_size=3) | st.dictionaries(keys, texts, min_size=1, max_size=3)
)
paths = st.sampled_from(["/copernica", "/copernica/click", "/update?x=1", "/", ""])


def bodies(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    likely = dict.fromkeys(names, values) | {"type": kinds | values, "time": times | values, "timestamp": times}
    return st.fixed_dictionaries({}, optional=likely)


@given(bodies(form_values), paths)
def test_any_fields_are_read_back_from_a_form(sent: dict[str, Any], path: str) -> None:
    body = urlencode(written(sent), errors="surrogateescape").encode()
    event = read(body, path)
    assert event.fields == sent
    clean = all(map(is_clean, leaves(sent)))
    assert (event.raw, event.raw_type) == ((None, None) if clean else (body, FORM))
    assert_columns_can_be_stored(event)


scalars = st.text(max_size=8) | st.sampled_from(["\ud83d", "a\0"]) | kinds | times | numbers
scalars |= st.integers() | st.integers(0, 2**33) | st.floats(allow_nan=False, allow_infinity=False)
scalars |= st.booleans() | st.none()
json_values = scalars | st.lists(scalars | st.lists(scalars, max_size=2), max_size=3)
json_values |= st.dictionaries(st.text(max_size=4), scalars, max_size=3)


@given(bodies(json_values), paths)
@example({"x": None}, "/")
def test_any_fields_are_read_back_from_json(sent: dict[str, Any], path: str) -> None:
    body = json.dumps(sent).encode()
    event = read(body, path, JSON)
    if event.raw is None:
        assert event.raw_type is None
        assert json.dumps(event.fields, sort_keys=True) == json.dumps(sent, sort_keys=True)
    else:
        assert (event.raw, event.raw_type) == (body, JSON)
    assert_columns_can_be_stored(event)


pair_names = st.sampled_from(
    [*names, "tags[]", "tags[0]", "tags[1]", "fields[a]", "fields[a][b]", "type[x]", "id[]"]
)


@given(st.lists(st.tuples(pair_names | st.text(max_size=6), texts), max_size=12), paths)
@example([("tags[0]", "a"), ("tags[]", "\0"), ("tags", "b"), ("tags[0]", "c")], "/")
@example([("type", "failed"), ("type", "open"), ("time", "1"), ("time", "2")], "/")
def test_no_field_of_a_form_is_ever_lost(pairs: list[tuple[str, str]], path: str) -> None:
    body = urlencode(pairs, errors="surrogateescape").encode()
    event = read(body, path)
    assert event.fields == parse(body, FORM).values
    assert_columns_can_be_stored(event)


content_types = st.sampled_from([FORM, JSON, "", f"{FORM}; charset=windows-1252"]) | st.text(max_size=20)


@given(st.binary(max_size=60), content_types, st.text(max_size=12))
def test_any_bytes_are_read_or_refused(noise: bytes, content_type: str, path: str) -> None:
    form = b"time=%b&timestamp=%b&type=%b&tags[]=%b" % (noise, noise, noise, noise)
    text = b'{"time": "%b", "id": "%b", "tags": ["%b"]}' % (noise, noise, noise)
    for body in (noise, form, text, b'{"type": %b}' % noise, b"{%b" % noise):
        with suppress(Undecodable):
            assert_columns_can_be_stored(read(body, path, content_type))


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"id=1&id=2", FORM),
        (b"a[0]=1&a[0]=2", ""),
        (b"id=%FF", f"{FORM}; charset=utf-8"),
        (b"x=%00", FORM),
        (b'{"time": 1.50}', JSON),
        (b'{"id": 1, "id": 1}', JSON),
        (b'{"x": null}', JSON),
        (b'{"id": null}', f"{JSON}; charset=utf-8"),
        (b"", ""),
        (b'{"time": 1795165964, "x": {"y": null}, "tags": []}', JSON),
        (b"id=%FF", f"{FORM}; charset=latin1"),
    ],
)
def test_a_body_is_kept_where_its_fields_cannot_say_it_all(body: bytes, content_type: str) -> None:
    event = read(body, content_type=content_type)
    exact = not body or b"tags" in body or "latin1" in content_type
    assert (event.raw, event.raw_type) == ((None, None) if exact else (body, content_type))


def test_a_null_without_a_column_is_given_back() -> None:
    assert read_json({"x": None, "id": None}).fields == {"x": None}


# --- types ---


@pytest.mark.parametrize(
    ("body", "kind"),
    [(f"type={kind}", kind) for kind in EventType]
    + [
        ("type=create", EventType.PROFILE_CREATE),
        ("type=create&subprofile=5", EventType.SUBPROFILE_CREATE),
        ("type=update&profile=1", EventType.PROFILE_UPDATE),
        ("type=update&collection=5&profile=1", EventType.SUBPROFILE_UPDATE),
        ("type=Delete", EventType.PROFILE_DELETE),
        ("type=Delete&subprofile=5&collection=6", EventType.SUBPROFILE_DELETE),
        ("type=profile-update&subprofile=5", EventType.SUBPROFILE_UPDATE),
        ("type=open&subprofile=5&collection=6", EventType.OPEN),
        ("type=failed", EventType.FAILURE),
        ("action=failed&code=550", EventType.FAILURE),
        ("action=failure", EventType.FAILURE),
        ("type=&action=failed", EventType.FAILURE),
        ("type=open&action=failed", EventType.OPEN),
        ("action=relayed", EventType.UNKNOWN),
        ("action[]=failed", EventType.UNKNOWN),
        ("type[]=open", EventType.UNKNOWN),
        ("type=novel", EventType.UNKNOWN),
        ("type=+open+", EventType.OPEN),
        ("type=OPEN", EventType.OPEN),
        ("type=open&code=250", EventType.DELIVERY),
        ("type=Open&code=", EventType.DELIVERY),
        ("type=open&code=250&ip=192.0.2.1", EventType.OPEN),
        ("type=open&code=250&useragent=", EventType.OPEN),
        ("type=click&code=250", EventType.CLICK),
    ],
)
def test_a_body_tells_its_type_and_how_that_was_spelt(body: str, kind: EventType) -> None:
    event = read(body)
    assert (event.type, event.raw) == (kind, None)
    assert event.fields == php(parse_qsl(body, keep_blank_values=True))
    assert read_json(event.fields).type is kind


segments: dict[str, EventType] = {**{kind.value: kind for kind in EventType}, "failed": EventType.FAILURE}
segments |= {name: EventType(f"profile-{name}") for name in ("create", "update", "delete")}


@pytest.mark.parametrize("path", ["/copernica/{}", "/{}/", "/open/{}?type=bounce", "/a/b/{}?x=/click", "{}"])
@pytest.mark.parametrize(("segment", "kind"), segments.items())
def test_the_path_names_the_type_when_the_body_does_not(path: str, segment: str, kind: EventType) -> None:
    path = path.format(segment)
    for spelling in (path, path.replace(segment, segment.capitalize())):
        event = read("id=1", spelling)
        assert (event.type, event.fields, event.path) == (kind, {"id": "1"}, spelling)
        assert read("type=delivery", spelling).type is EventType.DELIVERY
        assert read("type=novel", spelling).type is EventType.UNKNOWN
        assert read("action=failed", spelling).type is EventType.FAILURE


def test_a_path_is_about_subprofiles_if_the_body_is() -> None:
    assert read("id=1&collection=2", "/hooks/update").type is EventType.SUBPROFILE_UPDATE


@pytest.mark.parametrize("kind", ABOUT_PROFILES)
def test_the_id_of_a_profile_is_no_message(kind: EventType) -> None:
    event = read(f"type={kind}&id=123")
    assert (event.message_id, event.payload["id"], event.fields["id"]) == (None, "123", "123")


@pytest.mark.parametrize("action", ["create", "update", "delete"])
@pytest.mark.parametrize(
    ("path", "column"),
    [
        ("/copernica", "profile"),
        ("/copernica/publisher?x=subprofile", "profile"),
        ("/copernica/open", "profile"),
        ("/copernica/subprofile", "subprofile"),
        ("/copernica/Subprofiles/12/?x=1", "subprofile"),
        ("/copernica/subprofile-update", "subprofile"),
    ],
)
def test_a_callback_of_the_publisher_is_about_the_profile_that_its_id_names(
    action: str, path: str, column: str
) -> None:
    body = f"id=123&action={action}&fields[email]=a@example.nl&interests[]=tennis&interests[]=golf"
    event = read(body, path)
    assert (event.type, event.message_id) == (f"{column}-{action}", None)
    assert {name: getattr(event, name) for name in ("profile", "subprofile")} == {
        "profile": None,
        "subprofile": None,
        column: 123,
    }
    assert event.payload["interests"] == ["tennis", "golf"]
    assert event.fields == php(parse_qsl(body))
    for again in (read_json(event.fields, path), read(body.replace(action, action.upper() + "+"), path)):
        assert (again.type, getattr(again, column)) == (event.type, 123)
    assert read_json({"id": 123, "action": action}, path)[:2] == (event.delivery_id, event.type)


@pytest.mark.parametrize(
    ("body", "profile", "subprofile"),
    [
        ("type=create&id=7", 7, None),
        ("type=create&id=7&profile=8", 8, None),
        ("type=update&id=7&subprofile=5", 7, 5),
        ("type=update&id=7&collection=5", 7, None),
        ("action=update&id=7&collection=5", None, 7),
        ("action=update&id=7&collection=5&profile=6", 6, 7),
        ("action=update&id=7&subprofile=5", None, 5),
        ("action=update&id=7&profile=", None, None),
        ("action=delete&id=abc", None, None),
        ("action=delete", None, None),
        ("type=unknown&action=create&id=7", None, None),
    ],
)
def test_an_id_stands_for_a_profile_only_where_nothing_else_does(
    body: str, profile: int | None, subprofile: int | None
) -> None:
    event = read(body)
    assert (event.profile, event.subprofile) == (profile, subprofile)
    assert event.fields == php(parse_qsl(body, keep_blank_values=True))


@pytest.mark.parametrize("kind", ["open", "click", "failure", "abuse"])
def test_events_of_messages_may_name_a_profile_and_a_mailing(kind: str) -> None:
    event = read(f"type={kind}&id=5fd2&profile=12&mailing=34&interests[sport][tennis]=1")
    assert_has(event, type=kind, message_id="5fd2", profile=12, mailing=34)
    assert event.ip is None
    assert event.payload["interests"] == {"sport": {"tennis": "1"}}


@pytest.mark.parametrize(
    "body", ["", "test=1", "type=", "type=&id=", "anything[goes]=%F0%9F%98%80", "{}", '{"a": []}']
)
def test_a_test_call_without_any_known_field_is_kept(body: str) -> None:
    event = read(body)
    sent = json.loads(body) if body.startswith("{") else php(parse_qsl(body, keep_blank_values=True))
    assert (event.type, event.fields, event.raw) == (EventType.UNKNOWN, sent, None)


# --- times ---

MOMENT = 1_795_165_964_000_000


def test_time_is_preferred_to_timestamp() -> None:
    event = read("time=1795165964&timestamp=2001-01-01+00:00:00")
    assert (event.occurred_at, event.payload) == (MOMENT, {"timestamp": "2001-01-01 00:00:00"})
    assert read_json({"time": 1795165964, "timestamp": 1}).occurred_at == MOMENT
    assert read("time=2026-11-20T09:12:44Z&timestamp=2001-01-01+00:00:00").occurred_at == MOMENT


@pytest.mark.parametrize("name", ["time", "timestamp"])
@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20 09:12:44",
        " 2026-11-20T09:12:44 ",
        "2026-11-20T09:12:44Z",
        "2026-11-20T09:12:44.000+00:00",
        "2026-11-20 10:12:44+01:00",
        "20261120T041244-0500",
    ],
)
def test_a_written_time_is_utc_unless_it_names_a_zone(name: str, text: str) -> None:
    for event in (read(urlencode({name: text})), read_json({name: text})):
        assert (event.occurred_at, event.fields, event.raw) == (MOMENT, {name: text}, None)


zones: list[tzinfo | None] = [None, UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=9))]


@given(st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 30)), st.sampled_from(zones))
@example(datetime(2004, 3, 29, 6, 34, 1, 635_378), UTC)
def test_a_written_time_is_read_to_the_microsecond(moment: datetime, zone: tzinfo | None) -> None:
    text = moment.replace(tzinfo=zone).isoformat()
    micros = (moment.replace(tzinfo=zone or UTC) - EPOCH) // timedelta(microseconds=1)
    assert [read_json({name: text}).occurred_at for name in ("time", "timestamp")] == [micros, micros]


@pytest.mark.parametrize(
    "time",
    ["", "0", "-1", "soon", "4102444800", "9" * 20, "9" * 5000, "1e9", "1795165964.5", "\u0661", " 17", "\udcff"],
)
def test_a_time_that_cannot_be_believed_stays_in_the_payload(time: str) -> None:
    alone = read(urlencode({"time": time}, errors="surrogateescape"))
    assert (alone.occurred_at, alone.payload) == (RECEIVED, {"time": time})
    beside = read(urlencode({"time": time, "timestamp": "2026-11-20 09:12:44"}, errors="surrogateescape"))
    assert (beside.occurred_at, beside.payload) == (MOMENT, {"time": time, "timestamp": "2026-11-20 09:12:44"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0000-00-00 00:00:00",
        "2026-13-01 00:00:00",
        "2100-01-01 00:00:00",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        "1969-12-31 23:59:59",
        "1970-01-01 00:00:00",
        "1970-01-01T00:00:01+01:00",
        "yesterday",
    ],
)
def test_a_written_time_that_cannot_be_believed_stays_in_the_payload(text: str) -> None:
    for sent in ({"timestamp": text}, {"time": text}, {"time": text, "timestamp": text}):
        event = read(urlencode(sent))
        assert (event.occurred_at, event.fields) == (RECEIVED, sent)


def test_a_call_without_any_time_happened_when_it_was_received() -> None:
    event = read("type=open")
    assert (event.occurred_at, event.fields) == (RECEIVED, {"type": "open"})


@pytest.mark.parametrize("odd", [True, None, 1.5, [1795165964], {}, 2**70, -5, 0, "\ud83d", ["2026-11-20"]])
def test_json_times_of_another_kind_do_no_harm(odd: object) -> None:
    event = read_json({"time": odd, "timestamp": odd})
    assert event.occurred_at == RECEIVED
    assert event.payload.keys() == {"time", "timestamp"}


# --- columns ---


@pytest.mark.parametrize(
    "body",
    [
        "tags[]=a&tags[]=b+c",
        "tags[0]=a&tags[1]=b+c",
        "tags%5B0%5D=a&tags%5B1%5D=b%20c",
        "tags=a&tags=b+c",
        '{"tags": ["a", "b c"]}',
    ],
)
def test_tags_are_found_in_every_spelling(body: str) -> None:
    event = read(body)
    assert (event.tags, event.fields) == (["a", "b c"], {"tags": ["a", "b c"]})
    assert "tags" not in event.payload


def test_tags_whose_places_have_gaps_are_tags() -> None:
    # As PHP writes a list from which it took something: array_unique() and array_filter() keep the places.
    event = read("tags[0]=a&tags[2]=b")
    assert (event.tags, event.fields) == (["a", "b"], {"tags": {"0": "a", "2": "b"}})


def test_one_plain_tag_is_a_tag() -> None:
    event = read("tags=a")
    assert (event.tags, event.fields, event.raw) == (["a"], {"tags": "a"}, None)


@pytest.mark.parametrize("name", ["tagsx", "tags[x]", "tags[0][1]", "tag", "xtags[]"])
def test_what_is_only_named_like_tags_stays_in_the_payload(name: str) -> None:
    event = read(f"{name}=a")
    assert (event.tags, event.payload) == ([], {**php([(name, "a")]), "time": None})


def test_tags_that_no_column_can_hold_are_shown_replaced_and_kept_exactly() -> None:
    event = read("tags[0]=a&tags[1]=%FF&tags[2]=b%00")
    assert [tag.replace("\ufffd\ufffd\ufffd", "\ufffd") for tag in event.tags] == ["a", "\ufffd", "b\ufffd"]
    assert event.fields == {"tags": ["a", "\udcff", "b\0"]}


@pytest.mark.parametrize("name", TEXT_COLUMNS)
def test_what_no_column_can_hold_is_shown_replaced_and_kept_exactly(name: str) -> None:
    event = read(f"{name}=a%00b+caf%E9")
    column = TEXT_COLUMNS[name]
    assert getattr(event, column).replace("\ufffd\ufffd\ufffd", "\ufffd") == "a\ufffdb caf\ufffd"
    assert event.fields == {name: "a\0b caf\udce9"}
    event = read_json({name: "\ud83d?"})
    assert getattr(event, column).strip("\ufffd") == "?"
    assert event.fields == {name: "\ud83d?"}


@pytest.mark.parametrize(
    ("sent", "column", "given_back"),
    [
        ("0", 0, True),
        ("123", 123, True),
        ("9" * 18, 10**18 - 1, True),
        ("0123", 123, False),
        ("9" * 19, None, False),
        ("", None, False),
        ("-1", None, False),
        ("1.5", None, False),
        (" 1", None, False),
        ("\uff11", None, False),
        (123, 123, False),
        (-1, None, False),
        (True, None, False),
        (1.0, None, False),
        (["1"], None, False),
    ],
)
@pytest.mark.parametrize("name", NUMBER_COLUMNS)
def test_a_whole_number_has_a_column_and_its_spelling_is_kept(
    name: str, sent: object, column: int | None, given_back: bool
) -> None:
    event = read_json({name: sent})
    assert (getattr(event, name), name in event.payload) == (column, not given_back)
    assert repr(event.fields) == repr({name: sent})


def test_of_a_repeated_field_the_last_is_shown_and_all_are_kept() -> None:
    event = read("recipient=a@example.nl&recipient=b@example.nl")
    assert event.recipient == "b@example.nl"
    assert event.fields == {"recipient": ["a@example.nl", "b@example.nl"]}


def test_json_values_of_another_kind_are_shown_if_they_can_be_and_kept() -> None:
    odd = {"id": 77, "recipient": {"a": 1}, "ip": None, "useragent": True, "original": [], "referer": [1, 2]}
    odd |= {"type": ["open"], "tags": ["a", 1]}
    event = read_json(odd)
    shown = [event.message_id, event.recipient, event.ip, event.user_agent, event.url, event.referer]
    assert shown == ["77", None, None, None, None, "2"]
    assert (event.type, event.tags) == (EventType.UNKNOWN, ["a", "1"])
    assert event.payload == odd | {"time": None}
